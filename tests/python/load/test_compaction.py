"""Many small slices are merged into one, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
from support.staged_source import Stage, StagedSource

from dpe_cli.errors import ExtractError
from dpe_cli.ingest import loads
from dpe_cli.load import compaction, locks, prepare
from dpe_cli.server import contexts

COLUMNS = "shop text, id integer"


@pytest.fixture(autouse=True)
def _few_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MOST_SLICES", 6)
    monkeypatch.setattr(compaction, "LARGEST_KEPT", 2)


def _deliver(source: StagedSource, numbers: range, **options: Any) -> None:
    """Deliver and extract files one by one; the first one is the largest."""
    for number in numbers:
        rows = 2000 if number == 0 else 1 + number % 3
        source.deliver("shop,id\n" + f"UA,{number}\n" * rows + f"HA,{number}\n" * (0 if options else 1), f"{number:02}.csv")
        source.extract(**options)


def _loaded(source: StagedSource) -> list[tuple[Any, ...]]:
    """Return the number of rows of each load, as they are in staging."""
    return source.query(f"select _load_id, count(*) from {source.relation} group by _load_id order by _load_id")


def test_the_smaller_slices_are_merged(stage_anywhere: Stage) -> None:
    """The largest ones stay; every row is still there, with its load, under the same protection."""
    source = stage_anywhere(COLUMNS, tenant_column="shop")
    _deliver(source, range(6))
    apart = source.slices(attached=True)
    before = source.rows()
    _deliver(source, range(6, 7))

    merged = source.slices(attached=True)
    [name] = [name for name in merged if name not in apart and name.endswith("_0")]
    assert (6, 3, True) == (len(apart), len(merged), apart[0] in merged)
    assert sorted([*before, ("UA", 6), ("HA", 6)], key=repr) == source.rows()
    assert source.ledger("select load_id, rows_loaded from dpe.loads where source = %s order by load_id") == _loaded(source)
    assert [(True, True, 0)] == source.query(
        """
        select relrowsecurity, relforcerowsecurity, (select count(*) from pg_policy where polrelid = pg_class.oid)
        from pg_class
        where relname = %s
        """,
        [name],
    )


def test_a_merged_slice_is_merged_again(stage: Stage) -> None:
    """A merged slice is merged again with later ones."""
    source = stage(COLUMNS)
    _deliver(source, range(20))

    assert len(source.slices(attached=True)) <= 6
    assert source.ledger("select load_id, rows_loaded from dpe.loads where source = %s order by load_id") == _loaded(source)


def test_an_extract_for_one_tenant_also_merges_others_rows(stage_anywhere: Stage) -> None:
    """In its own context it would lose them."""
    source = stage_anywhere(COLUMNS, tenant_column="shop")
    _deliver(source, range(6))
    _deliver(source, range(6, 8), tenant_id="UA")

    assert len(source.slices(attached=True)) <= 6
    assert 6 == len([row for row in source.rows() if row[0] == "HA"])
    assert source.ledger("select load_id, rows_loaded from dpe.loads where source = %s order by load_id") == _loaded(source)


def test_merged_extracts_are_undone(stage_anywhere: Stage) -> None:
    """One whose rows were merged, the one whose extract merged them, and one that was left alone."""
    source = stage_anywhere(COLUMNS)
    _deliver(source, range(8))
    extracts = [extract_id for (extract_id,) in source.ledger("select extract_id from dpe.extracts where source = %s order by extract_id")]

    for number in (3, 6, 0, 7):
        loads.undo(source.server, {source.table.source: source.source}, extracts[number])

    assert {1, 2, 4, 5} == {number for _, number in source.rows()}
    assert 4 == len(source.extract().loads)


def test_a_column_that_is_added_later_is_merged_too(stage: Stage) -> None:
    """Slices have it in different places."""
    source = stage(COLUMNS)
    _deliver(source, range(5))
    source.declare("size integer, shop text, id integer")
    for number in (5, 6):
        source.deliver(f"shop,id,size\nUA,{number},{number}\n", f"{number}.csv").extract()

    assert len(source.slices(attached=True)) < 6
    assert [(5, "UA", 5), (6, "UA", 6)] == [row for row in source.rows() if row[0]]


def test_a_table_with_other_policies_is_left_alone(stage: Stage) -> None:
    """A policy added by hand could hide rows from the copying, which would lose them."""
    source = stage(COLUMNS)
    _deliver(source, range(6))
    before = source.rows()
    with source.server.connect("admin") as connection:
        connection.execute(f"create policy no_ha on {source.relation} as restrictive to dpe_loader using (shop <> 'HA')".encode())
    source.deliver("shop,id\nUA,6\n", "6.csv").extract()

    assert (7, len(before) + 1) == (len(source.slices(attached=True)), source.count())


def test_it_does_not_wait_forever(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The extract has succeeded; the next one merges."""
    monkeypatch.setattr(locks, "_LOCK_TIMEOUT", "100ms")
    source = stage(COLUMNS)
    _deliver(source, range(6))
    with source.server.connect("transformer") as connection, contexts.system_context(connection, actor="test"):
        # A reader, whom attaching does not disturb.
        connection.execute(f"select from {source.relation}".encode())
        _deliver(source, range(6, 7))
    apart = len(source.slices(attached=True))
    _deliver(source, range(7, 8))

    assert (7, True, ["succeeded"] * 8) == (apart, len(source.slices(attached=True)) < 6, source.statuses())


def test_it_does_not_change_the_rows(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it would, it is rolled back, and the rows of the extract are visible all the same."""
    source = stage(COLUMNS)
    _deliver(source, range(6))
    create_slice = prepare.create_slice

    def create_and_lose(connection: Any, slice_: Any, **options: Any) -> None:
        create_slice(connection, slice_, **options)
        if slice_.number == 0:
            connection.execute(f"create rule lose as on insert to raw.{slice_.name} where new.id = 3 do instead nothing".encode())

    monkeypatch.setattr(prepare, "create_slice", create_and_lose)
    with pytest.raises(ExtractError, match="compaction would have changed the rows; nothing was changed, please report this"):
        _deliver(source, range(6, 7))

    assert 7 == len(source.slices(attached=True))
    assert source.ledger("select load_id, rows_loaded from dpe.loads where source = %s order by load_id") == _loaded(source)
