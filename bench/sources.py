"""
Measure other sources than CSV: the same orders as JSON Lines, as Parquet, and in another PostgreSQL database.

    make bench-sources
    make bench-sources ARGS="--rows 200000 --rounds 1"

Each load is a process of its own, in turns, and all go to the same embedded server; the rows and the sums of two columns are
compared after each. dlt loads a tenth of the records, once, because it is much slower. Markdown goes to standard output.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from urllib.parse import quote

import duckdb
import psycopg
from load import DIRECTORY
from measure import run
from orders import COLUMNS

from dpe_cli.server import contexts
from dpe_cli.server import server as postgres
from dpe_cli.server.bootstrap import bootstrap
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.programs import wheel_programs
from dpe_cli.server.server import Server

_OTHERS = Path(__file__).parent / "others"
_REPOSITORY = Path(__file__).parent.parent
_SLOW_SHARE = 10
_COLUMNS = ", ".join(f"{name} {data_type}" for name, data_type in COLUMNS.items())
_ORDERS = """
    select
        i::bigint as order_id,
        (i::bigint * 7919 % 250000)::integer as customer_id,
        'BK-' || lpad((i % 99991)::text, 5, '0') as product_sku,
        (i % 9 + 1)::integer as quantity,
        (i % 100000 / 100.0)::numeric(10, 2) as unit_price,
        (i % 8 / 8.0)::double precision as discount_rate,
        'EUR' as currency,
        case i % 3 when 0 then 'shipped' when 1 then 'delivered' else 'pending' end as status,
        i % 10 = 0 as is_gift,
        timestamptz '2023-01-01 00:00:00+00' + i * interval '1 second' as ordered_at,
        date '2023-01-01' + (i % 900)::integer as ship_date,
        case when i % 4 = 0 then 'leave it at the door, please' end as note
    from {series}
"""


@dataclass
class Way:
    """A way to load the orders: a command, its target, and its times. The others of a kind are compared with the first."""

    kind: str
    name: str
    command: Sequence[str]
    table: str
    rows: int
    setup: str = ""
    seconds: list[float] = dataclass_field(default_factory=list)
    peak_bytes: int = 0

    @property
    def per_second(self) -> float:
        """Rows per second, by the median."""
        return self.rows / statistics.median(self.seconds)


def main() -> None:
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description="Measure other sources than CSV.", allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=2_000_000, help="orders of each source (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="loads of each (default: %(default)s)")
    options = parser.parse_args()
    for name in [name for name in os.environ if name.startswith(("PG", "DPE_"))]:
        del os.environ[name]
    directory = DIRECTORY / "sources"
    directory.mkdir(parents=True, exist_ok=True)
    server = postgres.resolve(directory)
    try:
        with server.connect("admin") as connection:
            bootstrap(connection)
        ways = _prepare(server, directory, options.rows)
        for way in ways:
            if way.name == "dpe extract":
                # Not counted, because it parses dbt's project into dpe's manifest.
                _measure(server, directory, way)
                way.seconds.clear()
        for number in range(1, options.rounds + 1):
            for way in ways:
                if number == 1 or way.rows == options.rows:
                    _measure(server, directory, way)
        _report(ways)
    finally:
        EmbeddedServer(directory / ".dpe" / "postgres").stop()


def _prepare(server: Server, directory: Path, rows: int) -> list[Way]:
    """Generate the orders, and return the ways to load them."""
    url = f"postgresql://{server.admin_user}@/{server.database}?host={quote(server.host, safe='')}&port={server.port}"
    with server.connect("admin", autocommit=True) as connection:
        # It would work on one loader's table during the next one's load.
        connection.execute("alter system set autovacuum = off")
        connection.execute("select pg_reload_conf()")
        connection.execute("drop schema if exists origin cascade")
        connection.execute("create schema origin")
        series = f"generate_series(1, {rows}) as series (i)"
        connection.execute(f"create table origin.orders as {_ORDERS.format(series=series)}".encode())
        connection.execute("vacuum (analyze) origin.orders")
    slow = rows // _SLOW_SHARE
    for count, suffix in ((rows, ""), (slow, "_slow")):
        made = _ORDERS.format(series=f"range(1, {count} + 1) as series (i)").replace("(i % 99991)::text", "(i % 99991)::varchar")
        made = made.replace("i * interval '1 second'", "to_seconds(i)")
        session = duckdb.connect().execute("set timezone = 'UTC'")
        session.execute(f"copy ({made}) to '{directory}/orders{suffix}.jsonl' (format json)")
        session.execute(f"copy ({made}) to '{directory}/orders{suffix}.parquet' (format parquet)")
    _write_project(directory, url)
    psql = f"{shlex.quote(str(wheel_programs() / 'psql'))} -Xq -v ON_ERROR_STOP=1 {shlex.quote(url)}"
    dump = f"{shlex.quote(str(wheel_programs() / 'pg_dump'))} --data-only --table=origin.orders {shlex.quote(url)}"
    copied = f"create schema if not exists bench; drop table if exists bench.orders; create table bench.orders ({_COLUMNS})"
    elsewhere = "drop schema if exists bench cascade; create schema bench"

    def dpe(name: str) -> list[str]:
        # It would skip a file that is already loaded.
        return [sys.executable, "-m", "dpe_cli", "--project-dir", str(directory), "extract", f"source:bench.{name}", "--full-refresh"]

    def others(kind: str) -> list[str]:
        return [sys.executable, str(_OTHERS / f"dlt_{kind}.py"), str(directory / f"orders_slow.{kind}"), url]

    pipe = f"{psql} -c 'copy origin.orders to stdout' | {psql} -c 'copy bench.orders from stdin'"
    renamed = f"{dump} | sed 's/^COPY origin.orders/COPY bench.orders/' | {psql}"
    # All load into an empty table.
    emptied = "do $$ begin if to_regclass('staging.{0}') is not null then truncate staging.{0};end if;end $$"
    return [
        Way("PostgreSQL", "psql, copy to copy", ["bash", "-c", pipe], "bench.orders", rows, copied),
        Way("PostgreSQL", "pg_dump into psql", ["bash", "-c", renamed], "bench.orders", rows, copied),
        Way("PostgreSQL", "dpe extract", dpe("orders"), "staging.orders", rows, emptied.format("orders")),
        Way("JSON Lines", "dlt", others("jsonl"), "bench.orders", slow, elsewhere),
        Way("JSON Lines", "dpe extract", dpe("orders_jsonl"), "staging.orders_jsonl", rows, emptied.format("orders_jsonl")),
        Way("Parquet", "dlt, Arrow as CSV", others("parquet"), "bench.orders", slow, elsewhere),
        Way("Parquet", "dpe extract", dpe("orders_parquet"), "staging.orders_parquet", rows, emptied.format("orders_parquet")),
    ]


def _write_project(directory: Path, url: str) -> None:
    """Write dpe's dbt project."""
    (directory / "models").mkdir(exist_ok=True)
    (directory / "profiles.yml").write_text((_REPOSITORY / "profiles.yml").read_text())
    (directory / "dbt_project.yml").write_text('{"name": "bench", "version": "1.0.0", "profile": "dpe", "model-paths": ["models"]}')
    columns = [{"name": name, "data_type": data_type} for name, data_type in COLUMNS.items()]
    blocks = {
        "orders": {"location": url, "file_format": "sql", "table": "origin.orders"},
        "orders_jsonl": {"location": "orders.jsonl", "file_format": "jsonl"},
        "orders_parquet": {"location": "orders.parquet", "file_format": "parquet"},
    }
    tables = [{"name": name, "external": block | {"disposition": "replace"}, "columns": columns} for name, block in blocks.items()]
    text = json.dumps({"sources": [{"name": "bench", "schema": "staging", "tables": tables}]})
    path = directory / "models" / "_bench__sources.yml"
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _measure(server: Server, directory: Path, way: Way) -> None:
    if way.setup:
        with server.connect("admin", autocommit=True) as connection:
            for statement in way.setup.split("; "):
                connection.execute(statement.encode())
    measured = run(way.command, environment=dict(os.environ), directory=directory)
    if measured.exit_status:
        sys.exit(f"{way.kind}, {way.name}: {measured.output}")
    sums = "select count(*), sum(quantity), sum(unit_price)::numeric(20, 2) from"
    facts, wanted = f"{sums} {way.table}", f"{sums} origin.orders where order_id <= {way.rows}"
    with server.connect("admin") as admin, server.connect("transformer") as transformer:
        expected = admin.execute(wanted.encode()).fetchone()
        if way.table.startswith("staging."):
            with contexts.system_context(transformer, actor="bench"):
                found = transformer.execute(facts.encode()).fetchone()
        else:
            found = admin.execute(facts.encode()).fetchone()
    if found != expected:
        sys.exit(f"{way.kind}, {way.name}: left {found} instead of {expected}")
    way.seconds.append(measured.seconds)
    way.peak_bytes = max(way.peak_bytes, measured.peak_bytes)
    print(f"{way.kind}, {way.name}: {measured.seconds:.1f} s", file=sys.stderr, flush=True)


def _report(ways: Sequence[Way]) -> None:
    print("| source | loader | rows | median seconds | rows/s | x the first | client's peak MB |")
    print("|---|---|---|---|---|---|---|")
    first: dict[str, Way] = {}
    for way in ways:
        compared = first.setdefault(way.kind, way)
        cells = [
            way.kind,
            way.name,
            f"{way.rows:,}",
            f"{statistics.median(way.seconds):.1f}",
            f"{way.per_second:,.0f}",
            f"{way.per_second / compared.per_second:.2f}",
            f"{way.peak_bytes / 1e6:.0f}",
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    try:
        main()
    except psycopg.Error as error:
        sys.exit(f"server: {error}")
