"""Load a CSV file with dlt in its fastest documented way: Arrow tables, handed to PostgreSQL's COPY as CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import dlt
from arrow import reader
from dlt_postgres import postgres

path, url = sys.argv[1:]


@dlt.resource(name="orders", write_disposition="replace")
def orders() -> Iterator[object]:
    """Yield the file's record batches."""
    yield from reader(Path(path))


pipeline = dlt.pipeline("bench_arrow", destination=postgres(url), dataset_name="bench")
pipeline.run(orders(), loader_file_format="csv").raise_on_failed_jobs()
