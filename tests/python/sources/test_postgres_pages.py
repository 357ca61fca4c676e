"""PostgreSQL tables passed on in binary format: every value, every row, and text where binary is impossible."""

from __future__ import annotations

from typing import Any

import pytest
from support.databases import Crm
from support.staged_source import Stage, StagedSource

from dpe_cli.errors import InputError
from dpe_cli.sources.databases import postgres_pages
from dpe_cli.sources.databases.postgres import PostgresTable

pytestmark = pytest.mark.parametrize("crm", ["postgresql"], indirect=True)

COLUMNS = "id bigint, amount numeric(10,2), note text, born date, seen timestamptz, kept jsonb, raw bytea, tags text[], span interval day, code char"
TABLE = """
    create table odd (
        gone text, id bigint, amount numeric(10, 2), note varchar(300), born date, seen timestamptz, kept jsonb, raw bytea, tags text[],
        span interval day, code char
    );
    alter table odd drop column gone;
    alter table odd alter column note type text;
    insert into odd values
        (1, 'NaN', E'tab\\t, line\\nand \\\\N', 'infinity', '2024-01-01 10:00:00.123456+02', '{"a": [1, null]}', '\\x00ff', '{a,"b c",null}'),
        (2, null, '', null, null, null, null, null),
        (3, -0.01, 'Grüße 🛫', '0044-03-15 BC', '-infinity', 'null', '', '{}');
    insert into odd select i, i / 7.0, repeat('x', mod(i, 200)), '2024-01-01', '2024-01-01', null, null, null from generate_series(4, 60000) as i;
    delete from odd where id between 20000 and 40000
"""
VALUES = "id, amount::numeric(10,2)::text, note, born::text, extract(epoch from seen)::text, kept::text, raw::text, tags::text"
ROWS = 39_999


@pytest.fixture
def source(stage_anywhere: Stage, crm: Crm) -> StagedSource:
    """Create a table with the contract's types, more rows than fit into a block, and pages without rows."""
    with crm.engine.begin() as connection:
        for statement in TABLE.split(";"):
            connection.exec_driver_sql(statement)
    return stage_anywhere(COLUMNS, location=crm.url, file_format="sql", table="odd", disposition="replace")


def _there(crm: Crm, *, but: int = 0) -> list[tuple[Any, ...]]:
    with crm.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(f"select {VALUES} from odd where id <> {but} order by id").fetchall()]


def _here(source: StagedSource) -> list[tuple[Any, ...]]:
    return source.query(f"select {VALUES} from {source.relation} order by id")


@pytest.fixture
def formats(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the formats of the blocks, in order."""
    formats: list[str] = []
    opened = PostgresTable._opened

    def noting(table: PostgresTable, *arguments: Any) -> Any:
        found = opened(table, *arguments)
        blocks = found.blocks

        def noted() -> Any:
            for block in blocks():
                formats.append(block.copy_format)
                yield block

        found.blocks = noted  # type: ignore[method-assign]
        return found

    monkeypatch.setattr(PostgresTable, "_opened", noting)
    return formats


def test_a_table_with_the_contracts_types_is_passed_on_unchanged(source: StagedSource, crm: Crm, formats: list[str]) -> None:
    """In binary format: every value and every row."""
    result = source.extract()

    assert _there(crm) == _here(source)
    assert (ROWS, ROWS) == (result.records_read, result.rows_loaded)
    assert ({"binary"}, True) == (set(formats), len(formats) > 1)


def test_rows_that_take_too_much_memory_are_read_as_text(source: StagedSource, crm: Crm, formats: list[str]) -> None:
    """From those pages on: compressed rows are larger than they seem."""
    crm.write("insert into odd (id, note) select i, repeat('y', 1500000) from generate_series(70001, 70030) as i")

    source.extract()

    assert _there(crm) == _here(source)
    assert ["binary", "text"] == sorted(set(formats))
    assert formats == sorted(formats)


@pytest.mark.parametrize(
    "change",
    [
        "alter column amount type text",
        "alter column amount type numeric(12, 2)",
        "alter column born type timestamp",
        "alter column raw type oid using 1",
        # In binary format, a server would drop the hours of the one, and the blanks of the other.
        "alter column span type interval",
        "alter column code type character(3)",
    ],
)
def test_other_types_are_read_as_text(source: StagedSource, crm: Crm, formats: list[str], change: str) -> None:
    """The contract's types have to parse them."""
    crm.write(f"alter table odd {change}")
    if "column raw" in change:
        source.declare(COLUMNS.replace("raw bytea", "raw text"))
    source.extract()

    assert {"text"} == set(formats)
    assert ROWS == source.count()


def test_a_refused_binary_block_is_read_again(source: StagedSource, crm: Crm, formats: list[str]) -> None:
    """As text: then a row with a number out of range is a reject, and all others are loaded."""
    crm.write("alter table odd alter column amount type numeric(12, 2)")
    crm.write("update odd set amount = 123456789.12 where id = 50000")
    # A table with a value that its own type does not allow.
    crm.write("update pg_attribute set atttypmod = ((10 << 16) | 2) + 4 where attrelid = 'odd'::regclass and attname = 'amount'")

    result = source.extract()

    assert (ROWS, ROWS - 1, ROWS - 1) == (result.records_read, result.rows_loaded, source.count())
    assert [("amount", "22003")] == source.rejects("column_name, sqlstate")
    assert (["failed", "succeeded"], ["binary", "text"]) == (source.statuses(), sorted(set(formats)))
    assert _there(crm, but=50000) == _here(source)


def test_a_server_that_goes_away_leaves_nothing(source: StagedSource, crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a table is not loaded."""
    crm.goes_away(monkeypatch, postgres_pages.Pages)
    with pytest.raises(InputError, match="cannot be read"):
        source.extract()

    assert 0 == source.count()
