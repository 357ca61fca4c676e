"""The orders as Arrow record batches, read one block at a time with the columns' own types."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from pyarrow import csv

SCHEMA = pa.schema(
    {
        "order_id": pa.int64(),
        "customer_id": pa.int32(),
        "product_sku": pa.string(),
        "quantity": pa.int32(),
        "unit_price": pa.decimal128(10, 2),
        "discount_rate": pa.float64(),
        "currency": pa.string(),
        "status": pa.string(),
        "is_gift": pa.bool_(),
        "ordered_at": pa.timestamp("us", "UTC"),
        "ship_date": pa.date32(),
        "note": pa.string(),
    }
)


def reader(path: Path) -> pa.RecordBatchReader:
    """Open the file as a stream of record batches of about 8 MB of CSV."""
    return csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=8 << 20),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=SCHEMA, strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
