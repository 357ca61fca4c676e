"""Load a Parquet file with dlt in its fastest documented way: Arrow tables, handed to PostgreSQL's COPY as CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import dlt
from dlt_postgres import postgres
from pyarrow import parquet

path, url = sys.argv[1:]


@dlt.resource(name="orders", write_disposition="replace")
def orders() -> Iterator[object]:
    """Yield the file's record batches."""
    yield from parquet.ParquetFile(path).iter_batches(batch_size=100_000)


pipeline = dlt.pipeline("bench_parquet", destination=postgres(url), dataset_name="bench")
pipeline.run(orders(), loader_file_format="csv").raise_on_failed_jobs()
