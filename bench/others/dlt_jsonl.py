"""Load a file of JSON Lines with dlt as its filesystem source reads it: lists of dictionaries, parsed by orjson."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import dlt
import orjson
from dlt_postgres import postgres

_AT_ONCE = 1000

path, url = sys.argv[1:]


@dlt.resource(name="orders", write_disposition="replace")
def orders() -> Iterator[list[object]]:
    """Yield the file's records, many at a time."""
    with Path(path).open("rb") as file:
        records = []
        for line in file:
            records.append(orjson.loads(line))
            if len(records) >= _AT_ONCE:
                yield records
                records = []
        yield records


pipeline = dlt.pipeline("bench_jsonl", destination=postgres(url), dataset_name="bench")
pipeline.run(orders()).raise_on_failed_jobs()
