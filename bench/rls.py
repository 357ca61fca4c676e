"""
Measure what row-level security costs a reader: the same queries on a protected table, and on a copy with the condition written out.

    make bench-rls                        everything
    make bench-rls ARGS="--rounds 3"      a quick run

3,000,000 orders of 50 tenants on the embedded server. Both tables have the same rows, in the same order, and the same
indexes; dbt protects one of them with the project's own macro. The queries take turns, on one connection each, in the
session of a reader who was granted one tenant. Markdown goes to standard output.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg
import report

from dpe_cli.access import grants
from dpe_cli.cli.app import App
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.bootstrap import bootstrap
from dpe_cli.server.embedded.server import EmbeddedServer
from dpe_cli.server.server import Server

REPOSITORY = Path(__file__).parent.parent
DIRECTORY = REPOSITORY / ".bench" / "rls"
READER = "bench_reader"
ROWS, TENANTS = 3_000_000, 50
LOOK_UPS = 5_000

MODEL = """
{{{{ config(materialized='table', contract={{'enforced': false}}, meta={{'rls': {declared}}},
    indexes=[{{'columns': ['order_id'], 'unique': true}}, {{'columns': ['tenant']}}]) }}}}
select
    number as order_id,
    'T' || lpad((number::bigint * 7919 % {tenants})::text, 2, '0') as tenant,
    number % 1000 as amount,
    md5(number::text) as note
from generate_series(1, {rows}) as number
"""
QUERIES = {
    "scan of all rows (shared)": (
        "select count(*), sum(amount) from marts.shared_orders",
        "select count(*), sum(amount) from public.orders",
    ),
    "5,000 look-ups by key, in one query": (
        "select count(*), sum(amount) from public.keys inner join marts.orders using (order_id)",
        "select count(*), sum(amount) from public.keys inner join public.orders using (order_id) where tenant = any (array['T07'])",
    ),
    "rows of one tenant of 50": (
        "select count(*), sum(amount) from marts.orders",
        "select count(*), sum(amount) from public.orders where tenant = any (array['T07'])",
    ),
}
LOOK_UP = (
    "select amount from marts.orders where order_id = %s",
    "select amount from public.orders where order_id = %s and tenant = any (array['T07'])",
)
KEYS = "select order_id from marts.orders limit %s"


def main() -> None:
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description="Measure what row-level security costs a reader.", allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=15, help="runs of each query (default: %(default)s)")
    rounds = parser.parse_args().rounds
    for name in [name for name in os.environ if name.startswith(("PG", "DPE_", "DBT_"))]:
        del os.environ[name]
    _make_project()
    server = App(given_project_dir=DIRECTORY).identified_server()
    try:
        version = _prepare(server)
        with server.connect(READER, autocommit=True) as connection:
            lines = [_line(name, _compare(connection, *queries, rounds)) for name, queries in QUERIES.items()]
            lines.append(_line(f"{LOOK_UPS:,} look-ups by key, one query each", _compare_look_ups(connection, rounds)))
    finally:
        EmbeddedServer(DIRECTORY / ".dpe" / "postgres").stop()
    head = ["| query | protected, ms | condition written out, ms | ratio |", "| --- | ---: | ---: | ---: |"]
    print(report.machine(version), "\n".join([*head, *lines]), sep="\n\n")


def _make_project() -> None:
    for name in ("dbt_project.yml", "profiles.yml", "macros"):
        source, target = REPOSITORY / name, DIRECTORY / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            DIRECTORY.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    models = DIRECTORY / "models" / "marts"
    models.mkdir(parents=True, exist_ok=True)
    for name, declared in (("orders", "{'tenant_column': 'tenant'}"), ("shared_orders", "{'shared': true}")):
        (models / f"{name}.sql").write_text(MODEL.format(declared=declared, rows=ROWS, tenants=TENANTS))


def _prepare(server: Server) -> str:
    with server.connect("admin") as connection:
        bootstrap(connection)
    if any(result.has_failed for result in run_dbt(Project(DIRECTORY), server, ["run", "--quiet"])):
        sys.exit("the tables could not be built")
    with server.connect("admin", autocommit=True) as connection:
        connection.execute(f"do $$ begin create role {READER} login; exception when duplicate_object then null; end $$".encode())
        connection.execute("drop table if exists public.orders")
        connection.execute("set row_security = off")
        connection.execute("create table public.orders as table marts.orders")
        connection.execute("create unique index on public.orders (order_id)")
        connection.execute("create index on public.orders (tenant)")
        connection.execute("drop table if exists public.keys")
        connection.execute("create table public.keys as select order_id from public.orders where tenant = 'T07' limit 5000")
        connection.execute(f"grant select on public.orders, public.keys to {READER}".encode())
        for table in ("public.keys", "public.orders", "marts.orders", "marts.shared_orders"):
            connection.execute(f"vacuum (analyze, freeze) {table}".encode())
        version = str(connection.info.parameter_status("server_version"))
    grants.grant(server, READER, ["T07"], until=None, actor="bench")
    return version


def _compare(connection: psycopg.Connection, protected: str, plain: str, rounds: int) -> tuple[float, float]:
    answers = {query: connection.execute(query.encode()).fetchone() for query in (protected, plain)}
    if len(set(answers.values())) != 1:
        sys.exit(f"the queries return different results: {answers}")
    with_policies, without = (partial(connection.execute, query.encode()) for query in (protected, plain))
    return _medians(with_policies, without, rounds)


def _compare_look_ups(connection: psycopg.Connection, rounds: int) -> tuple[float, float]:
    keys = [row[0] for row in connection.execute(KEYS, [LOOK_UPS])]

    def look_up(query: str) -> Callable[[], None]:
        def run() -> None:
            for key in keys:
                connection.execute(query.encode(), [key], prepare=True).fetchone()

        return run

    with_policies, without = (look_up(query) for query in LOOK_UP)
    return _medians(with_policies, without, rounds)


def _medians(first: Callable[[], object], second: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the medians in milliseconds of two functions that take turns, each going first equally often."""
    taken: dict[Callable[[], object], list[float]] = {first: [], second: []}
    for number in range(rounds + 2):
        for run in (first, second) if number % 2 else (second, first):
            started = time.perf_counter()
            run()
            # The first rounds warm up.
            if number > 1:
                taken[run].append(1000 * (time.perf_counter() - started))
    return statistics.median(taken[first]), statistics.median(taken[second])


def _line(name: str, medians: tuple[float, float]) -> str:
    protected, plain = medians
    return f"| {name} | {protected:.1f} | {plain:.1f} | {protected / plain:.2f} |"


if __name__ == "__main__":
    main()
