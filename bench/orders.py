"""
Generate the orders that every loader loads: the same bytes each time, without random numbers.

A clean file, and one in which every hundredth record is bad in one of ten ways. Some notes are quoted, some hold commas,
quotes and line breaks, many are missing, as in files that people send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

COLUMNS = {
    "order_id": "bigint",
    "customer_id": "integer",
    "product_sku": "text",
    "quantity": "integer",
    "unit_price": "numeric(10,2)",
    "discount_rate": "double precision",
    "currency": "text",
    "status": "text",
    "is_gift": "boolean",
    "ordered_at": "timestamptz",
    "ship_date": "date",
    "note": "text",
}
BAD_EVERY = 100
_BAD_AT = 37
_CHUNK_RECORDS = 20_000
_SPREAD = 2_654_435_761  # Knuth's multiplier: neighbouring records get values that are far apart

_DAYS = [datetime(2023, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(1_000)]
_DATES = [f"{day:%Y-%m-%d}" for day in _DAYS]
_TIMES = [f"{hour:02}:{minute:02}:{second:02}+00" for hour in range(24) for minute in range(60) for second in range(0, 60, 7)]
_SKUS = [f"{letters}-{number:05}" for letters in ("BK", "EL", "GR", "HM", "TY") for number in range(0, 100_000, 37)]
_RATES = ["0", "0", "0", "0.05", "0.1", "0.125", "0.15", "0.3333333333333333"]
_CURRENCIES = ["USD", "USD", "EUR", "GBP", "JPY", "CHF", "SEK"]
_STATUSES = ["delivered", "delivered", "delivered", "shipped", "pending", "returned", "cancelled"]
_NOTES = [
    "",
    "",
    "",
    "leave at the door",
    "",
    '"call first, then ring twice"',
    "",
    "gate code 4711",
    "",
    '"she said ""after six"", not before"',
    "Grüße aus Köln",
    "",
    '"first floor\nsecond door on the left"',
]


@dataclass(frozen=True)
class Facts:
    """The content of a table after a correct load, to recognize an incorrect one."""

    rows: int
    order_ids: int
    quantities: int
    notes: int


@dataclass(frozen=True)
class Orders:
    """A file of orders, and the facts of its good records."""

    path: Path
    records: int
    has_bad: bool
    facts: Facts

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size


def make(directory: Path, *, first: int, records: int, has_bad: bool) -> Orders:
    """Write the orders from number `first` on into `directory`, unless they exist."""
    name = f"orders-{first}-{records}{'-bad' if has_bad else ''}.csv"
    path = directory / name
    if not path.exists():
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            file.write(",".join(COLUMNS).encode() + b"\n")
            for chunk in _chunks(first, records):
                file.write(_damaged(chunk) if has_bad else "".join(line for _, line in chunk).encode())
        unfinished.rename(path)
    return Orders(path, records, has_bad, _facts(first, records, has_bad=has_bad))


def _facts(first: int, records: int, *, has_bad: bool) -> Facts:
    numbers = [number for number in range(first, first + records) if not (has_bad and number % BAD_EVERY == _BAD_AT)]
    return Facts(
        rows=len(numbers),
        order_ids=sum(numbers),
        quantities=sum(_quantity(number) for number in numbers),
        notes=sum(1 for number in numbers if _NOTES[number % len(_NOTES)]),
    )


def _quantity(number: int) -> int:
    return 1 + number % 9


def _chunks(first: int, records: int) -> Iterator[list[tuple[int, str]]]:
    for start in range(first, first + records, _CHUNK_RECORDS):
        yield [(number, _record(number)) for number in range(start, min(start + _CHUNK_RECORDS, first + records))]


def _record(number: int) -> str:
    spread = number * _SPREAD & 0xFFFFFFFF
    day = number // 2_100 % 990
    return (
        f"{number},{spread % 250_000},{_SKUS[spread % len(_SKUS)]},{_quantity(number)},"
        f"{spread % 90_000 / 100:.2f},{_RATES[spread >> 7 & 7]},{_CURRENCIES[spread % 7]},{_STATUSES[spread % 11 % 7]},"
        f"{'true' if spread >> 9 & 15 == 0 else 'false'},{_DATES[day]} {_TIMES[spread % len(_TIMES)]},"
        f"{_DATES[day + spread % 9] if spread % 5 else ''},{_NOTES[number % len(_NOTES)]}\n"
    )


def _damaged(chunk: list[tuple[int, str]]) -> bytes:
    return b"".join(
        _WAYS_TO_BE_BAD[number // BAD_EVERY % len(_WAYS_TO_BE_BAD)](line) if number % BAD_EVERY == _BAD_AT else line.encode()
        for number, line in chunk
    )


def _with_value(column: str, value: str) -> Callable[[str], bytes]:
    position = list(COLUMNS).index(column)

    def damage(line: str) -> bytes:
        fields = line.split(",", len(COLUMNS) - 1)  # commas within quotes are in the last field only
        fields[position] = value
        return ",".join(fields).encode()

    return damage


def _with_a_field_too_many(line: str) -> bytes:
    return b"unexpected," + line.encode()


def _with_invalid_bytes(line: str) -> bytes:
    return line.replace("-", "\udcff", 1).encode(errors="surrogateescape")


_WAYS_TO_BE_BAD: list[Callable[[str], bytes]] = [
    _with_value("quantity", "three"),
    _with_value("ship_date", "2024-02-30"),
    _with_value("unit_price", "n/a"),
    _with_a_field_too_many,
    _with_value("is_gift", "perhaps"),
    _with_value("ship_date", "31.12.2024"),
    _with_value("unit_price", "123456789.99"),
    _with_invalid_bytes,
    _with_value("ordered_at", "2024-13-01 10:00:00+00"),
    _with_value("order_id", "A-1001"),
]
