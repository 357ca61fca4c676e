"""Databases: a table or a query is read to the last row, new rows are read once, and nothing is silently left out."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.databases import Crm
from support.endless_servers import serving
from support.postgres_relays import asking_for_passwords, relay, to_psql, url_of
from support.staged_source import Stage, StagedSource

from dpe_cli.cli.commands.extract import warning_lines
from dpe_cli.errors import ContractError, InputError, ProjectError, UsageError
from dpe_cli.infer.request import Request, inferred
from dpe_cli.ingest import loads
from dpe_cli.ingest.extract import ExtractSummary
from dpe_cli.ingest.loads import LoadsError

COLUMNS = "id bigint, customer text, amount numeric, changed_at timestamptz"
INCREMENTAL = {"cursor_path": "changed_at", "initial_value": "2024-01-01", "key": ["id", "changed_at"]}


def _source(stage: Stage, crm: Crm, **options: Any) -> StagedSource:
    defaults = {"location": crm.url, "file_format": "sql", "table": "orders", "disposition": "replace"}
    return stage(COLUMNS, **(defaults | options))


def _day(number: int) -> str:
    return f"2024-01-{number:02} 10:00:00"


def _ids(source: StagedSource) -> list[int]:
    return [number for (number,) in source.query(f"select id from {source.relation} order by id, changed_at")]


def _loads(source: StagedSource) -> list[tuple[Any, ...]]:
    return source.ledger(
        "select records_read, rows_loaded, rows_rejected, records_repeated from dpe.loads where source = %s order by load_id"
    )


def test_a_table_is_read_to_the_last_row(stage: Stage, crm: Crm) -> None:
    """With nulls, empty texts and special characters; each extract reads it again, and replaces the previous rows."""
    source = _source(stage, crm)
    texts = ["plain", "", None, 'Zoë "a", b\nc\\.', "NULL", "\\N"]
    crm.add(*((number, text, f"{number}.50", _day(number + 1)) for number, text in enumerate(texts)))

    source.extract()
    assert texts == [text for (text,) in source.query(f"select customer from {source.relation} order by id")]
    assert [("0.50", "2024-01-01 10:00:00+00")] == source.query(
        f"select amount::text, (changed_at at time zone 'UTC')::text || '+00' from {source.relation} where id = 0"
    )

    crm.write("delete from orders where id > 0")
    source.extract()
    assert [0] == _ids(source)


def test_the_whole_url_may_be_a_variable(stage: Stage, crm: Crm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As platforms provide it (DATABASE_URL); what is inferred from it, and the ledger, have the reference."""
    crm.add((1, "Zoë", "1.50", _day(1)))
    monkeypatch.setenv("CRM_URL", crm.url)
    found = inferred(Request(location="${CRM_URL}", table="orders", file_format="sql"), tmp_path)
    source = _source(stage, crm, location="${CRM_URL}")

    source.extract()

    assert [1] == _ids(source)
    assert (1, "${CRM_URL}") == (found.records, found.external["location"])
    assert crm.url not in str(source.ledger("select * from dpe.loads where source = %s"))


def test_an_inferred_contract_loads_its_table(stage: Stage, crm: Crm, tmp_path: Path) -> None:
    """Its key is unique, and nullable columns are not required; no row is rejected."""
    crm.add(*((number, "Zoë" if number else None, f"{number}.50", _day(number + 1)) for number in range(25)))

    found = inferred(Request(location=crm.url, table="orders", name="crm.orders"), tmp_path)
    source = stage(", ".join(f"{column.name} {column.data_type}" for column in found.columns), **found.external)
    source.extract()

    assert {"id": ("not_null", "unique"), "customer": ()}.items() <= {column.name: column.tests for column in found.columns}.items()
    assert (25, list(range(25))) == (found.records, _ids(source))


def test_many_rows_are_read(stage: Stage, crm: Crm) -> None:
    """More than fit into a block, or into one fetch."""
    crm.write(
        "insert into orders values (:id, :customer, '1', '2024-01-01 10:00:00')",
        *({"id": number, "customer": "x" * 90} for number in range(30_000)),
    )
    source = _source(stage, crm)

    assert (30_000, 30_000) == (source.extract().records_read, source.count())


def test_only_new_rows_are_read(stage: Stage, crm: Crm) -> None:
    """By the cursor: late rows with the last cursor value are included, and no row is loaded twice."""
    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL)
    crm.add((1, "old", "1", "2023-12-31 10:00:00"), (2, "a", "1", _day(2)), (3, "b", "1", _day(3)))
    source.extract()
    assert [2, 3] == _ids(source)

    # One with the same value of the cursor, one with a later one, and one that was changed.
    crm.add((4, "c", "1", _day(3)), (5, "d", "1", _day(5)), (2, "a", "2", _day(4)))
    source.extract()
    assert [2, 2, 3, 4, 5] == _ids(source)
    source.extract()
    assert [2, 2, 3, 4, 5] == _ids(source)

    assert [(2, 2, 0, 0), (3, 3, 0, 1), (0, 0, 0, 1)] == _loads(source)


@pytest.mark.parametrize(
    ("crm", "endless"), [("postgresql", "infinity"), ("sqlite", "soon"), ("sqlite", "2024-99-99 10:00:00")], indirect=["crm"]
)
def test_a_source_resumes_past_values_without_a_successor(stage: Stage, crm: Crm, endless: str) -> None:
    """No value is greater than infinity, or than a word if times are kept as text; such a row is read again, and counted once."""
    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL | {"overlap": "1 hour"})
    crm.add((1, "a", "1", _day(2)), (2, "b", "1", endless))
    source.extract()
    crm.add((3, "c", "1", _day(3)))
    source.extract()
    source.extract()

    loaded = {"postgresql": [1, 2, 3], "sqlite": [1, 3]}[crm.kind]
    assert (loaded, 3) == (_ids(source), source.count() + len(source.rejects()))


@pytest.mark.parametrize("crm", ["postgresql", "sqlite"], indirect=True)
def test_an_extract_warns_of_a_time_that_hides_the_rows_that_follow(stage: Stage, crm: Crm) -> None:
    """As long as the greatest value is in the future; the source corrects it, and undoing the extract resets the position."""
    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL)
    crm.add((1, "a", "1", _day(2)))
    assert [] == source.extract().warnings
    crm.add((2, "b", "1", "2924-01-03 10:00:00+00"))

    found = [source.extract() for _ in range(2)]

    assert [True, True] == [len(result.warnings) == 1 and "the greatest changed_at is 2924-01-03" in result.warnings[0] for result in found]
    assert ["Warnings:", f"{found[0].source}: {found[0].warnings[0]}"] == warning_lines(ExtractSummary(found[:1], 1.0))[0].lines


@pytest.mark.parametrize("crm", ["sqlite"], indirect=True)
def test_a_fraction_does_not_end_a_source_of_whole_numbers(stage: Stage, crm: Crm) -> None:
    """It is a reject, and later rows are read."""
    source = _source(stage, crm, disposition="append", incremental={"cursor_path": "id", "key": ["id"]})
    crm.add((1, "a", "1", _day(2)))
    crm.write("create table copied as select * from orders")
    crm.write("drop table orders")
    crm.write("create table orders as select * from copied union all select 3.5, customer, amount, changed_at from copied")
    source.extract()
    crm.write("insert into orders select 5, customer, amount, changed_at from copied")
    source.extract()

    assert ([1, 5], 1) == (_ids(source), len(source.rejects()))


@pytest.mark.parametrize("key", [["id", "changed_at"], ["id", "customer", "changed_at"]])
def test_rows_without_a_cursor_are_read(stage: Stage, crm: Crm, key: list[str]) -> None:
    """They have no time of arrival, so they are read each time and counted once, even with nulls in their key."""
    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL | {"key": key})
    crm.add((1, "a", "1", _day(2)), (2, None, "1", None))
    source.extract()
    crm.add((3, "c", "1", None), (4, "d", "1", _day(3)))
    source.extract()
    source.extract()

    assert [1, 2, 3, 4] == _ids(source)


def test_late_rows_are_read_within_the_overlap(stage: Stage, crm: Crm) -> None:
    """Rows that are already loaded are left out, by their key and all their values."""
    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL | {"overlap": "2 days"})
    crm.add((1, "a", "1", _day(1)), (5, "b", "1", _day(5)))
    source.extract()
    crm.add((3, "late", "1", _day(3)), (2, "too late", "1", _day(2)), (6, "new", "1", _day(6)))
    source.extract()

    assert [1, 3, 5, 6] == _ids(source)
    assert [(2, 2, 0, 0), (2, 2, 0, 1)] == _loads(source)


def test_a_row_that_does_not_fit_is_a_reject(stage: Stage, crm: Crm) -> None:
    """With its number, and its values as JSON; the other rows are loaded."""
    source = _source(stage, crm, query="select * from orders order by id", table=None)
    crm.add((1, "a", "1.5", _day(1)), (2, 'b"', "n/a", _day(2)), (3, None, "3", _day(3)))

    assert (3, 2, 1) == (source.extract().records_read, source.count(), len(source.rejects()))
    [(position, column, sqlstate, raw)] = source.rejects("position, column_name, sqlstate, raw")
    assert (2, "amount", "22P02") == (position, column, sqlstate)
    assert raw.startswith('{"id": "2", "customer": "b\\"", "amount": "n/a", "changed_at": "2024-01-02 10:00:00')


def test_a_value_that_the_contract_would_change_is_a_reject(stage: Stage, crm: Crm) -> None:
    """Also in a row that its server writes in COPY's own format: the time of a day, surplus decimals, blanks at the end."""
    source = stage(
        "id bigint, customer varchar(3), amount numeric(10,1), changed_at date",
        location=crm.url,
        file_format="sql",
        table="orders",
        disposition="replace",
    )
    crm.add((1, "a\tb", "1.50", "2024-01-01"), (2, "abc  ", "1.5", "2024-01-01"), (3, "", "1.55", "2024-01-01"), (4, None, "1", _day(2)))

    source.extract()

    assert [(1, "a\tb")] == source.query(f"select id, customer from {source.relation}")
    assert [("customer",), ("amount",), ("changed_at",)] == source.rejects("column_name")


def test_a_reject_is_counted_once(stage: Stage, crm: Crm) -> None:
    """Even though every extract reads its row again, because it has the last cursor value."""
    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL)
    crm.add((1, "a", "1", _day(1)), (2, "b", "n/a", _day(2)))
    for _ in range(3):
        source.extract()

    assert [1] == _ids(source)
    assert 1 == len(source.rejects())
    assert [(2, 1, 1, 0), (0, 0, 0, 1), (0, 0, 0, 1)] == _loads(source)
    crm.add((2, "b", "2", _day(2)))
    assert 1 == source.extract().rows_loaded


def test_an_extract_from_which_another_resumed_is_not_undone(stage: Stage, crm: Crm) -> None:
    """Its rows would never be read again; the newest extract can be undone, and its rows are read again."""
    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL)
    crm.add((1, "a", "1", _day(1)))
    first = source.extract().extract_id
    crm.add((2, "b", "1", _day(2)))
    second = source.extract().extract_id
    assert first
    assert second

    project: Any = type("Project", (), {"sources": {source.table.source: source.source}})
    with pytest.raises(LoadsError, match=rf"^extract {first}: extract {second} resumed where it ended; undo that first"):
        loads.undo(source.server, project.sources, first)
    loads.undo(source.server, project.sources, second)
    assert [1] == _ids(source)
    source.extract()

    assert [1, 2] == _ids(source)


def test_a_full_refresh_starts_over(stage: Stage, crm: Crm) -> None:
    """It reads from the initial value, and replaces all earlier rows."""
    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL)
    crm.add((1, "a", "1", _day(1)), (2, "b", "1", _day(2)))
    source.extract()
    crm.write("delete from orders where id = 2")
    source.extract(full_refresh=True)

    assert [1] == _ids(source)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"table": "oders"}, "table oders does not exist"),
        ({"table": None, "query": "select * from orders where nothing"}, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused(stage: Stage, crm: Crm, options: dict[str, Any], fault: str) -> None:
    """With the database's message."""
    source = _source(stage, crm, **options)

    with pytest.raises(InputError, match=fault):
        source.extract()
    assert ["failed"] == source.statuses()


def test_a_column_missing_from_the_contract_is_refused(stage: Stage, crm: Crm) -> None:
    """As for a file."""
    crm.write("alter table orders add column note varchar(10)")
    source = _source(stage, crm)

    with pytest.raises(ContractError, match="column 'note', field 5, is not in the contract"):
        source.extract()
    source.declare(extra_columns="ignore")

    assert 0 == source.extract().records_read


@pytest.mark.parametrize(
    ("location", "fault"),
    [
        ("postgresql://reader:${CRM_PASSWORD}@127.0.0.1:1/crm", "cannot be read"),
        ("mysql+pymysql://reader:${CRM_PASSWORD}@127.0.0.1:1/crm", "cannot be read"),
        (
            "postgresql://reader:${NO_PASSWORD}@127.0.0.1:1/crm",
            r"refers to \$\{NO_PASSWORD\}, but the environment has no variable NO_PASSWORD",
        ),
        ("nosuch://reader@host/crm", "SQLAlchemy does not know this database"),
        ("oracle+oracledb://reader@host/crm", "needs the driver oracledb"),
    ],
)
def test_a_password_is_in_no_message(stage: Stage, monkeypatch: pytest.MonkeyPatch, location: str, fault: str) -> None:
    """Nor in the ledger: the value comes from the environment where it is used."""
    monkeypatch.setenv("CRM_PASSWORD", "s3cr3t/&")
    source = stage(COLUMNS, location=location, file_format="sql", table="orders", disposition="replace")

    with pytest.raises(InputError, match=fault) as caught:
        source.extract()

    assert "s3cr3t" not in str(caught.value)
    assert not any("s3cr3t" in str(row) for row in source.ledger("select error from dpe.extracts where source = %s"))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"location": "postgresql://reader:secret@host/crm"}, "location: contains a password"),
        ({"location": "crm.sqlite"}, "location: is not a database URL"),
        ({"table": None}, "table: give either a table or a query"),
        ({"query": "select 1"}, "table: give either a table or a query"),
        ({"disposition": "append"}, "disposition: append needs incremental"),
        ({"incremental": INCREMENTAL}, "incremental: a replaced source is read as a whole"),
        (
            {"disposition": "append", "incremental": INCREMENTAL | {"cursor_path": "changed"}},
            r"changed is not a column \(did you mean changed_at",
        ),
        (
            {"disposition": "append", "incremental": INCREMENTAL | {"key": ["ids"]}},
            r"incremental.key: ids is not a column \(did you mean id",
        ),
        ({"disposition": "append", "incremental": INCREMENTAL | {"keys": ["id"]}}, r"incremental.keys is not an option \(did you mean key"),
        (
            {"disposition": "append", "incremental": INCREMENTAL | {"cursor_path": "customer", "overlap": "1 day"}},
            "incremental.overlap: customer is text, from which nothing can be subtracted",
        ),
    ],
)
def test_wrong_options_are_named(stage: Stage, options: dict[str, Any], fault: str) -> None:
    """When the project is read."""
    block = {"location": "sqlite:///crm.sqlite", "file_format": "sql", "table": "orders", "disposition": "replace"}

    with pytest.raises(ProjectError, match=fault):
        stage(COLUMNS, **(block | options))


def test_an_array_is_not_a_cursor(stage: Stage) -> None:
    """Its values have no defined greatest one."""
    with pytest.raises(ProjectError, match=r"incremental.cursor_path: days is date\[\], an array; name a column of single values"):
        stage(
            "id integer, days date[]",
            location="sqlite:///crm.sqlite",
            file_format="sql",
            table="orders",
            disposition="append",
            incremental={"cursor_path": "days", "key": ["id"]},
        )


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_a_policy_at_the_source_fails_loudly(stage: Stage, crm: Crm) -> None:
    """Instead of silently leaving out rows that the role may not see."""
    crm.add((1, "a", "1", _day(1)))
    crm.write("alter table orders enable row level security")
    crm.write("drop role if exists crm_reader")
    crm.write("create role crm_reader login")
    crm.write("grant select on orders to crm_reader")
    source = _source(stage, crm, location=crm.url.replace("postgres@", "crm_reader@"))
    try:
        with pytest.raises(InputError, match=r"row-level security.*; exempt the role of this connection \(BYPASSRLS\)"):
            source.extract()
    finally:
        crm.write("drop owned by crm_reader")
        crm.write("drop role crm_reader")


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_the_cursor_is_that_of_the_snapshot(stage: Stage, crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that arrives between reading the cursor and reading the rows is neither lost nor loaded twice."""
    from dpe_cli.sources.databases import postgres

    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL)
    crm.add((1, "a", "1", _day(1)))
    before = postgres._OpenedTable.blocks

    def meanwhile(opened: postgres._OpenedTable) -> Any:
        crm.add((2, "b", "1", _day(2)), (3, "c", "1", _day(1)))
        return before(opened)

    monkeypatch.setattr(postgres._OpenedTable, "blocks", meanwhile)
    source.extract()
    assert [1] == _ids(source)
    monkeypatch.undo()
    source.extract()

    assert [1, 2, 3] == _ids(source)


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_a_server_that_goes_away_leaves_nothing(stage: Stage, crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a table is not loaded; the cursor stays unchanged, and the next extract is complete."""
    from dpe_cli.sources.databases import postgres

    source = _source(stage, crm, disposition="append", incremental=INCREMENTAL)
    crm.write(
        "insert into orders select i, repeat('x', 100), '1', '2024-01-01'::timestamptz + i * interval '1 s' from generate_series(1, 200000) i"
    )
    crm.goes_away(monkeypatch, postgres._OpenedTable)
    with pytest.raises(InputError, match="cannot be read"):
        source.extract()
    assert 0 == source.count()
    monkeypatch.undo()

    assert (200_000, 200_000) == (source.extract().rows_loaded, source.count())


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_rejects_from_postgresql_have_the_values_of_their_rows(stage_anywhere: Stage, crm: Crm) -> None:
    """In any block, and however PostgreSQL escapes a tab, a line feed, a backslash or a null."""
    source = _source(stage_anywhere, crm, query="select * from orders order by id", table=None)
    texts = ["tab\t, line\nand \\N", None, 'quote " and \\.', ""]
    crm.write(
        "insert into orders select i, repeat('x', 90), '1', '2024-01-01 10:00:00' from generate_series(1, 60000) as i",
    )
    bad = dict(zip([2, 3, 30_000, 59_999], texts, strict=True))
    for number, text in bad.items():
        crm.write("update orders set customer = :text, amount = 'n/a' where id = :id", {"id": number, "text": text})

    result = source.extract()

    assert (60_000, 59_996, 59_996) == (result.records_read, result.rows_loaded, source.count())
    rejects = source.rejects("position, column_name, sqlstate, raw")
    assert bad == {position: json.loads(raw)["customer"] for position, _, _, raw in rejects}
    assert {("amount", "22P02")} == {(column, sqlstate) for _, column, sqlstate, _ in rejects}


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_a_row_that_a_domain_refuses_spoils_no_other(stage_anywhere: Stage, crm: Crm) -> None:
    """It makes the COPY of a whole block fail, even on servers that skip values of a wrong type."""
    with stage_anywhere("id bigint").server.connect("admin", autocommit=True) as connection:
        connection.execute("create domain public.positive as numeric not null check (value > 0)")
    source = _source(stage_anywhere, crm, query="select id, amount from orders order by id", table=None)
    source.declare("id bigint, amount public.positive")
    crm.add((1, "a", "1", _day(1)), (2, "b", "-2", _day(1)), (3, "c", None, _day(1)), (4, "d", "x", _day(1)), (5, "e", "5", _day(1)))

    source.extract()

    assert [1, 5] == [number for (number,) in source.query(f"select id from {source.relation} order by id")]
    assert [(2, "23514"), (3, "23502"), (4, "22P02")] == source.rejects("position, sqlstate")


@pytest.mark.parametrize("crm", ["sqlite"], indirect=True)
def test_a_file_of_sqlite_is_relative_to_the_project(stage: Stage, crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever dpe is started, like other files; a missing file is not created."""
    crm.add((1, "a", "1", _day(1)))
    source = _source(stage, crm, location="sqlite:///crm.sqlite")
    elsewhere = source.directory / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    source.extract()
    assert [1] == _ids(source)

    (source.directory / "crm.sqlite").unlink()
    with pytest.raises(InputError, match="sqlite:///crm.sqlite orders: this file does not exist; correct the location"):
        source.extract()
    assert [] == [*source.directory.rglob("crm.sqlite")]


@pytest.mark.parametrize("crm", ["sqlite"], indirect=True)
def test_a_text_that_is_not_utf8_is_a_reject(stage: Stage, crm: Crm) -> None:
    """SQLite does not check its texts; the other rows are loaded."""
    crm.add(*((number, "Zoë", "1", _day(number)) for number in range(1, 4)))
    crm.write("update orders set customer = cast(x'61e9' as text) where id = 2")
    source = _source(stage, crm)

    source.extract()

    assert [1, 3] == _ids(source)
    [(position, sqlstate, reason, raw)] = source.rejects("position, sqlstate, reason, raw")
    assert (2, "22021", 'invalid byte sequence for encoding "UTF8": 0xe9') == (position, sqlstate, reason)
    assert "a\\xe9" == json.loads(raw)["customer"]


@pytest.mark.parametrize("crm", ["mariadb"], indirect=True)
def test_values_that_mariadb_keeps_in_other_types_are_loaded(stage: Stage, crm: Crm, tmp_path: Path) -> None:
    """Booleans in BIT(1), UUIDs in BINARY(16), times of day; a FLOAT has all its digits, and a TIMESTAMP its moment in any time zone."""
    crm.write("set global time_zone = '+05:00'")
    crm.write("""
        create table kept (id int, paid bit(1), uuid binary(16), more bit(10), bytes varbinary(4), amount float, at timestamp(6) null, hour time(6))
    """)
    uuid = "00112233-4455-6677-8899-aabbccddeeff"
    crm.write(
        f"""
        insert into kept values
            (1, b'1', x'{uuid.replace("-", "")}', b'1000000001', x'00ff', 16777217, from_unixtime(1720000000.5), '12:00:00.5'),
            (2, b'0', null, null, null, 0.1, null, '09:59:59'),
            (3, null, null, null, null, null, null, null)
        """
    )
    columns = "id integer, paid boolean, uuid uuid, more bytea, bytes bytea, amount real, at timestamptz, hour time"
    source = stage(columns, location=crm.url, file_format="sql", table="kept", disposition="replace")

    source.extract()
    crm.write("set global time_zone = 'SYSTEM'")

    assert [
        (1, True, uuid, "\\x0201", "\\x00ff", 16777216.0, 1720000000.5, "12:00:00.5"),
        (2, False, None, None, None, pytest.approx(0.1), None, "09:59:59"),
        (3, None, None, None, None, None, None, None),
    ] == source.query(
        f"""
        select id, paid, uuid::text, more::text, bytes::text, amount, extract(epoch from at)::float8, hour::text
        from {source.relation} order by id
        """
    )

    found = inferred(Request(location=crm.url, table="kept", name="crm.kept"), tmp_path)
    assert {"paid": "boolean", "uuid": "bytea", "more": "bytea", "bytes": "bytea", "hour": "interval"}.items() <= {
        column.name: column.data_type for column in found.columns
    }.items()
    assert (0, 3) == (
        len(source.rejects()),
        stage(", ".join(f"{column.name} {column.data_type}" for column in found.columns), **found.external).extract().rows_loaded,
    )


@pytest.mark.parametrize("crm", ["mariadb"], indirect=True)
def test_bytes_that_are_neither_a_boolean_nor_a_uuid_are_rejects(stage: Stage, crm: Crm) -> None:
    """dpe does not guess what they mean."""
    crm.write("create table kept (id int, paid binary(1), uuid binary(15))")
    crm.write("insert into kept values (1, x'02', null), (2, null, x'00112233445566778899aabbccddee'), (3, x'01', null)")
    source = stage("id integer, paid boolean, uuid uuid", location=crm.url, file_format="sql", table="kept", disposition="replace")

    source.extract()

    assert [(3, True, None)] == source.rows()
    assert [(1, "paid"), (2, "uuid")] == source.rejects("position, column_name")


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_a_schema_that_needs_quotes_is_read(stage: Stage, crm: Crm) -> None:
    """By its quoted name, as PostgreSQL requires."""
    crm.write('create schema "My Crm"')
    crm.write('create table "My Crm"."Orders" as select 1::bigint as id')
    source = stage("id bigint", location=crm.url, file_format="sql", table='"My Crm"."Orders"', disposition="replace")

    source.extract()

    assert 1 == source.count()


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_another_users_operator_does_not_compare_cursors(stage: Stage, crm: Crm) -> None:
    """In a schema on the login's search path, another user's comparison may fit better than PostgreSQL's own."""
    crm.add(*((number, f"C{number}", "1", _day(number)) for number in (1, 2)))
    crm.write("""
        create function public.trapped(varchar, varchar) returns boolean language plpgsql as $$
        begin
            raise exception 'trapped as %', current_user;
        end $$
    """)
    crm.write("create operator public.>= (leftarg = varchar, rightarg = varchar, function = public.trapped)")
    incremental = {"cursor_path": "customer", "initial_value": "C2", "key": ["id"]}
    source = _source(stage, crm, disposition="append", incremental=incremental)

    source.extract()

    assert 1 == source.count()


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_no_function_is_called_that_another_user_put_in_front(stage: Stage, crm: Crm, tmp_path: Path) -> None:
    """Neither by the statements that dpe sends to look for a table and to describe it, nor by those around a user's query."""
    crm.add((1, "a", "1", _day(1)), (2, "b", "1", _day(2)))
    crm.write("create schema trap")
    for function in (
        "pg_export_snapshot()",
        "to_regclass(text)",
        "to_jsonb(timestamptz)",
        "max_(timestamptz, timestamptz)",
        "compared(timestamptz, timestamptz)",
        "compared(oid, oid)",
        "got(jsonb, text[])",
        "joined(text, text)",
        "format_type(oid, integer)",
        "col_description(oid, smallint)",
        "obj_description(oid, text)",
    ):
        crm.write(f"""
            create function trap.{function} returns {"boolean" if "compared" in function else "timestamptz" if "max" in function else "text"}
            language plpgsql as $$ begin raise exception 'trapped'; end $$
        """)
    crm.write("create aggregate trap.max(timestamptz) (sfunc = trap.max_, stype = timestamptz)")
    crm.write("create operator trap.>= (leftarg = timestamptz, rightarg = timestamptz, function = trap.compared)")
    crm.write("create operator trap.= (leftarg = oid, rightarg = oid, function = trap.compared)")
    crm.write("create operator trap.|| (leftarg = text, rightarg = text, function = trap.joined)")
    crm.write("create operator trap.#>> (leftarg = jsonb, rightarg = text[], function = trap.got)")
    crm.write(f"alter database {crm.engine.url.database} set search_path = trap, pg_catalog, public")
    options = {"disposition": "append", "incremental": INCREMENTAL}

    assert 2 == _source(stage, crm).extract().rows_loaded
    assert 2 == _source(stage, crm, **options).extract().rows_loaded
    assert 2 == _source(stage, crm, table=None, query="select * from orders", **options).extract().rows_loaded
    assert 2 == inferred(Request(location=crm.url, table="orders", name="crm.orders"), tmp_path).records
    with pytest.raises(UsageError, match=r"tables: .*public\.orders"):
        inferred(Request(location=crm.url, name="crm.orders"), tmp_path)


ODD = "Ä'\"\\! :x %s {}\n`!0041 $1"


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_names_and_cursors_have_any_characters(stage: Stage, crm: Crm, tmp_path: Path) -> None:
    """The server gets them as they are."""
    with crm.engine.begin() as connection:
        name = '"' + ODD.replace('"', '""').replace("%", "%%") + '"'
        connection.exec_driver_sql(f"create schema {name}")
        connection.exec_driver_sql(f"create table {name}.{name} as select 1 as id")
    quoted = '"' + ODD.replace('"', '""') + '"'
    source = _source(stage, crm, disposition="append", incremental={"cursor_path": "customer", "key": ["id"]})
    crm.add((1, "A", "1", _day(1)), (2, ODD, "1", _day(1)))
    source.extract()
    crm.add((3, ODD + "z", "1", _day(1)))
    source.extract()

    assert [1, 2, 3] == _ids(source)
    assert [(2, 2, 0, 0), (1, 1, 0, 1)] == _loads(source)
    assert 1 == inferred(Request(location=crm.url, table=f"{quoted}.{quoted}", name="crm.odd"), tmp_path).records


COMMAND = "\\! >proof #"
SAYS_SJIS: Callable[[bytes], bytes] = lambda said: said.replace(b"client_encoding\0UTF8\0", b"client_encoding\0SJIS\0")  # noqa: E731


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
@pytest.mark.parametrize("hidden_in", ["snapshot", "table", "column", "query"])
def test_no_server_makes_psql_run_a_command(
    stage: Stage, crm: Crm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden_in: str
) -> None:
    """A quote ends before a command: one of what the server calls its snapshot, or one that only its encoding hides (the second byte of Ä)."""
    monkeypatch.chdir(tmp_path)
    crm.add((1, "a", "1", _day(1)))
    answer = to_psql(relay(crm, SAYS_SJIS), otherwise=relay(crm))
    if hidden_in == "snapshot":
        name = f"x' {COMMAND}".ljust(19).encode()
        answer = relay(crm, lambda said: re.sub(rb"[0-9A-F]{8}-[0-9A-F]{8}-1", lambda _: name, said))

    with serving(answer) as port, suppress(InputError):
        if hidden_in == "column":
            crm.write(f'alter table orders rename column amount to "Ä"" {COMMAND}"')
            inferred(Request(location=url_of(crm, port), table="orders", name="crm.orders"), tmp_path)
        elif hidden_in == "table":
            # Its pages are read one after the other, with commands of psql in between.
            table = f'"Ä"" {COMMAND}"'
            crm.write(f"create table {table} as select 1::bigint as id")
            stage("id bigint", location=url_of(crm, port), file_format="sql", table=table, disposition="replace").extract()
        else:
            query = f"select * from orders where customer not in ('Ä', ' {COMMAND}')"
            _source(stage, crm, location=url_of(crm, port), table=None, query=query).extract()

    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_psql_is_told_to_use_utf8(stage: Stage, crm: Crm) -> None:
    """Whatever the URL says, and the database by itself."""
    starts: list[bytes] = []

    def noting(client: socket.socket, over: threading.Event) -> None:
        starts.append(client.recv(65536, socket.MSG_PEEK))
        relay(crm)(client, over)

    with serving(to_psql(noting, otherwise=relay(crm))) as port:
        _source(stage, crm, location=f"{url_of(crm, port)}&client_encoding=SJIS").extract()

    assert [True] == [b"client_encoding\0UTF8\0" in start for start in starts]


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
@pytest.mark.parametrize("asked", ["psycopg", "psql"])
def test_a_source_is_not_offered_the_password_of_dpe(stage: Stage, crm: Crm, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """PGPASSWORD is for dpe's own server, not for one whose URL has no password, and that asks for it at any connection."""
    told: list[bytes] = []
    monkeypatch.setenv("PGPASSWORD", "hush-of-the-warehouse")
    asking = asking_for_passwords(told)

    with serving(asking if asked == "psycopg" else to_psql(asking, otherwise=relay(crm))) as port:
        source = _source(stage, crm, location=url_of(crm, port))
        with pytest.raises(InputError, match="no password supplied"):
            source.extract()

    assert [b""] == told
