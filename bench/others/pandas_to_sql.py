"""Load a CSV file with pandas, the usual way for beginners in Python: read_csv in chunks, and to_sql."""

from __future__ import annotations

import sys

import pandas as pd
import sqlalchemy

path, url = sys.argv[1:]

engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
with engine.begin() as connection:
    for chunk in pd.read_csv(path, chunksize=50_000, parse_dates=["ordered_at", "ship_date"]):
        chunk.to_sql("orders", connection, schema="bench", if_exists="append", index=False)
