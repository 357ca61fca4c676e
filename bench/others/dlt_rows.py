"""Load a CSV file with dlt as in its introduction: a resource that yields dictionaries, with the columns' types."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import dlt
from dlt_postgres import postgres

TYPES = {
    "order_id": "bigint",
    "customer_id": "bigint",
    "quantity": "bigint",
    "unit_price": "decimal",
    "discount_rate": "double",
    "is_gift": "bool",
    "ordered_at": "timestamp",
    "ship_date": "date",
}

path, url = sys.argv[1:]


@dlt.resource(
    name="orders",
    write_disposition="replace",
    columns={name: {"name": name, "data_type": data_type} for name, data_type in TYPES.items()},
)
def orders() -> Iterator[dict[str, str | None]]:
    """Yield the file's records, without empty fields."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        for record in csv.DictReader(file):
            yield {name: value or None for name, value in record.items()}


pipeline = dlt.pipeline("bench_rows", destination=postgres(url), dataset_name="bench")
pipeline.run(orders()).raise_on_failed_jobs()
