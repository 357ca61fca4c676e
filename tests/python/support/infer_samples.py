"""Sources of all kinds to infer: the content of files and databases, and the arguments of `dpe source infer`."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable

NUMBERS = range(30)
PASSWORD = "s3cr3t&more"


def lines(head: str, line: Callable[[int], str]) -> str:
    """Return a file with a header and one line per number."""
    return head + "".join(f"{line(number)}\n" for number in NUMBERS)


EVENT = {
    "customerId": 7,
    "order": {"zip": "01234", "lines": [{"sku": "a"}], "address": {"street name": "x"}},
    "amount": 1.25,
    "at": "2024-01-01T10:00:00+02:00",
    "big": 12345678901234567890123,
    "ratio": 0.1234567890123456789,
    "unit price": 1.5,
    "of": None,
    "flag": True,
    "nothing": {},
    "note": 'a "quoted"\nnote',
}

FILES: dict[str, str | bytes] = {
    "comma.csv": lines("id,name,at\n", lambda n: f'{n},"Smith, J. {n}",2024-01-{n % 28 + 1:02} 10:00:00'),
    "semicolon.csv": lines("id;amount;price\r\n", lambda n: f'{n};{n},50;"{n}.50"\r').encode("utf-16"),
    "tab.tsv": lines("id\tok\tday\n", lambda n: f"{n}\t{n % 2 == 0}\t2024/02/{n % 28 + 1:02}"),
    "pipe.txt": lines("id|t\n", lambda n: f'{n}|5" pipe, {n}" long'),
    "single.csv": lines("id,t\n", lambda n: f"{n},'a, b'"),
    "escape.csv": lines("id,t\n", lambda n: f'{n},"a \\"b\\", c"'),
    "headless.csv": lines("", lambda n: f"{n},x,2024-01-01"),
    "accents.csv": lines("id,name\n", lambda n: f"{n},Müller").encode("cp1252"),
    "marked.csv": lines("\ufeffid,name\n", lambda n: f"{n},Müller"),
    "nameless.csv": lines(",id,t\n", lambda n: f"{n},{n},x"),
    "missing.csv": lines("id,n,t\n", lambda n: f"{n},{'n/a' if n == 3 else n},"),
    "quoted.csv": lines("id,n,m\n", lambda n: f"{n},{chr(34) + 'NA' + chr(34) if n == 3 else n},{'NA' if n == 4 else n}"),
    "hard.csv": lines(
        "zip,phone,huge,vast,larger,mixed,n,zoned,partly,bit,key,order,fraction,exponent,february,stamp\n",
        lambda n: (
            f"0{n},+49{n},{10**25 + n},{10**200 + n},{2**40 + n},{'01/02/2024' if n == 5 else '2024-01-01'},{n},2024-01-01T10:00:00.5Z,"
            f"2024-01-01 10:00{'Z' if n % 2 else ''},{n % 2},6f9619ff-8b86-d011-b42d-00cf4fc964{n:02x},x,0.{n}1234567890123456789,"
            f"{n}e-7,2024-02-{n + 1:02},2024-01-01 10:00:00.1234567"
        ),
    ),
    "unpacked.csv.bz2": bz2.compress(b"id,n\n1,2\n2,3\n"),
    "lines.jsonl": "".join(json.dumps({"id": n} | EVENT) + "\n" for n in NUMBERS),
    # Quotes within a field are text.
    "inches.csv": lines("id,t\n", lambda n: f'{n},5"{" x 3" if n == 3 else ""}'),
    "unnamed.jsonl": lines("", lambda n: json.dumps({"id": n, "": 1})),
    "document.json": json.dumps({"meta": {"total": 30}, "data": {"items": [{"id": n} | EVENT for n in NUMBERS]}}, indent=1),
    "packed.json.gz": gzip.compress(json.dumps([{"id": n} for n in NUMBERS]).encode()),
    "fixed.dat": lines("ID   NAME      AMOUNT\n", lambda n: f"{n:<4} {f'n{n}':<9} {f'{n * 1.5:.2f}' if n else 'NA':>6}"),
}

PARQUET = """
    copy (
        select
            i::integer as id, i::ubigint as u, 1.50::decimal(10, 2) as d, timestamp '2024-01-01 10:00:00' as ts,
            timestamptz '2024-01-01 10:00:00+00' as tz, [1, 2] as l, {'a': 1} as s, 'x' as t, i % 2 = 0 as b, uuid() as uu,
            'ab'::blob as bl, time '10:00:00' as tm, 1.5::float as f, date '2024-01-01' as dt,
            case when i = 3 then '2024-01-01 00:00:00.123456789' else '2024-01-01' end::timestamp_ns as ns
        from range(30) as r(i)
    ) to '{path}' (format parquet)
"""

SQLITE = """
    create table orders (
        id integer primary key, amount decimal(10, 2), at datetime, ok boolean, note text, anything, day date, large integer
    );
    insert into orders
    select value, value / 4.0, '2024-01-01 00:00:00', value % 2, 'x', value, case value when 3 then 'soon' else '2024-01-01' end, 1 << 40
    from json_each('[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29]')
"""

POSTGRES = """
    create type mood as enum ('good', 'bad');
    create domain cents as numeric(10, 2);
    create schema sales;
    create table sales.orders (
        id bigint primary key, ref text not null unique, price cents, ok boolean, at timestamptz, mood mood, moods mood[], tags text[],
        data jsonb, cost money, code varchar(5), day date, span int4range
    );
    comment on table sales.orders is 'Orders, as {{ sales }} keeps them.';
    comment on column sales.orders.ref is 'What the customer calls it.';
    insert into sales.orders
    select i, 'r' || i, i / 4.0, i % 2 = 0, now(), 'good', '{good,bad}', '{a,b}', '{"a": 1}', 5, 'x', 'infinity', '[1,5)' from generate_series(0, 29) as i
"""

# What is inferred, by name: the arguments, and the number of records.
SOURCES: dict[str, tuple[list[str], int]] = {
    **{
        f"files.{name.partition('.')[0]}": ([f"data/{name}", *(["--format", "fixed_width"] if name == "fixed.dat" else [])], 30)
        for name in FILES
    },
    "files.unpacked": (["data/unpacked.csv.bz2"], 2),
    "files.trips": (["data/trips.parquet"], 30),
    "files.budget": (["data/budget.xlsx"], 28),
    "shop.orders": (["sqlite:///data/shop.db", "--table", "orders"], 30),
    "api.records": (["{api}/records/link?since=2024", "--name", "api.records", "--allow-private-addresses"], 35),
    "crm.sold": (["{postgres}", "--name", "crm.sold", "--table", "sales.orders"], 30),
    "nyc.flights": (["{nyc}/flights/2013-0[12].csv.gz", "--name", "nyc.flights"], 51955),
    "nyc.airlines": (["{nyc}/airlines.csv", "--name", "nyc.airlines"], 16),
    "nyc.airports": (["{nyc}/airports.csv", "--name", "nyc.airports"], 1458),
    "nyc.planes": (["{nyc}/planes.csv", "--name", "nyc.planes"], 3322),
    "nyc.weather": (["{nyc}/weather.csv.gz", "--name", "nyc.weather"], 26115),
}
