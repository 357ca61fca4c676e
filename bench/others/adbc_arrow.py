"""Load a CSV file with ADBC: Arrow record batches, handed to PostgreSQL's COPY in its binary format."""

from __future__ import annotations

import sys
from pathlib import Path

from adbc_driver_postgresql import dbapi
from arrow import reader

path, url = sys.argv[1:]

with dbapi.connect(url) as connection, connection.cursor() as cursor:
    cursor.adbc_ingest("orders", reader(Path(path)), mode="append", db_schema_name="bench")
    connection.commit()
