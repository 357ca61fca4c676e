"""The ledger, and undoing an extract."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from support.staged_source import Stage, StagedSource

from dpe_cli.errors import BusyError, ServerError, UnknownNameError
from dpe_cli.ingest import loads
from dpe_cli.ingest.loads import LoadsError, Undone
from dpe_cli.load import locks

COLUMNS = "id integer, note text"


def _undo(source: StagedSource, extract_id: int | None) -> Undone:
    return loads.undo(source.server, {source.table.source: source.source}, extract_id or 0)


def test_an_appended_extract_is_undone(stage_anywhere: Stage) -> None:
    """Its rows are removed, others' rows stay, and its files count as never loaded."""
    source = stage_anywhere(COLUMNS).deliver("id,note\n1,a\n2,b\n", "a.csv")
    first = source.extract()
    second = source.deliver("id,note\n3,c\nx,c\n", "b.csv").extract()

    assert Undone(first.extract_id or 0, source.table.source, 2, None) == _undo(source, first.extract_id)
    assert ([(3, "c")], ["undone", "succeeded"]) == (source.rows(), source.statuses())
    assert ["a.csv"] == [load.location for load in source.extract().loads]
    assert 1 == _undo(source, second.extract_id).rows_removed
    assert [(1, "a"), (2, "b")] == source.rows()


def test_undo_restores_the_replaced_delivery(stage_anywhere: Stage) -> None:
    """With its files, which count as loaded again; the one before that is gone."""
    source = stage_anywhere(COLUMNS, disposition="replace")
    first, second, third = [source.deliver(f"id,note\n{number},a\n").extract().extract_id for number in (1, 2, 3)]

    assert Undone(third or 0, source.table.source, 1, second) == _undo(source, third)
    assert [(2, "a")] == source.rows()
    source.deliver("id,note\n2,a\n")
    assert 0 == len(source.extract().loads)
    assert Undone(second or 0, source.table.source, 1, None) == _undo(source, second)
    assert [] == source.rows()
    with pytest.raises(LoadsError, match=r"its rows have left staging, because a later extract replaced them; undo that one"):
        _undo(source, first)


def test_a_replaced_delivery_has_the_columns_that_were_added_since(stage: Stage) -> None:
    """It could not be attached without them."""
    source = stage(COLUMNS, disposition="replace").deliver("id,note\n1,a\n")
    source.extract()
    second = source.deliver("id,note\n2,b\n").extract()
    source.declare("id integer, note text, size integer")
    source.extract()

    _undo(source, second.extract_id)

    assert [(1, "a", None)] == source.rows()


def test_undo_restores_the_rows_of_many_extracts(stage: Stage) -> None:
    """If a source changes its disposition from append to replace."""
    source = stage(COLUMNS)
    for number in (1, 2, 3):
        source.deliver(f"id,note\n{number},a\n", f"{number}.csv").extract()
    source.declare(disposition="replace", location="4.csv")
    fourth = source.deliver("id,note\n4,a\n", "4.csv").extract()

    _undo(source, fourth.extract_id)

    assert [(1, "a"), (2, "a"), (3, "a")] == source.rows()
    source.declare(disposition="append", location="*")
    assert ["4.csv"] == [load.location for load in source.extract().loads]


def test_undoing_a_full_refresh_restores_nothing(stage: Stage) -> None:
    """The replaced rows may have had other columns, and are gone."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n")
    source.extract()
    refreshed = source.extract(full_refresh=True)

    assert Undone(refreshed.extract_id or 0, source.table.source, 1, None) == _undo(source, refreshed.extract_id)
    assert [] == source.rows()


def test_an_extract_without_rows_is_undone(stage: Stage) -> None:
    """Its file counts as never loaded."""
    source = stage(COLUMNS).deliver("id,note\n")
    _undo(source, source.extract().extract_id)

    assert 1 == len(source.extract().loads)


def test_an_extract_that_cannot_be_undone_is_refused(stage: Stage) -> None:
    """It does not exist, did not succeed, was already undone, or its source no longer exists."""
    source = stage("id integer", rejects={})
    with pytest.raises(UnknownNameError, match=r"^extract 0: is not in the ledger; `dpe loads list` lists them"):
        _undo(source, 0)
    first = source.deliver("id\n1\n").extract().extract_id
    with pytest.raises(Exception, match="more than rejects.max_rows allows"):
        source.deliver("id\nx\n").extract()
    with pytest.raises(LoadsError, match="cannot be undone, because it is failed"):
        _undo(source, (first or 0) + 1)
    with pytest.raises(LoadsError, match=f"^extract {first}: its source {source.table.source} was removed from the project"):
        loads.undo(source.server, {}, first or 0)
    _undo(source, first)
    with pytest.raises(LoadsError, match="cannot be undone, because it is undone"):
        _undo(source, first)


def test_nothing_is_undone_if_the_counts_differ(stage: Stage) -> None:
    """Somebody deleted a row, so the counts in the ledger are wrong now."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n2,b\n")
    extract_id = source.extract().extract_id
    with source.server.connect("admin") as connection:
        connection.execute(f"delete from {source.relation} where id = 1".encode())

    with pytest.raises(LoadsError, match=r"2 rows were loaded, but 1 are in staging; nothing was changed, run `dpe validate`"):
        _undo(source, extract_id)

    assert ([(2, "b")], ["succeeded"]) == (source.rows(), source.statuses())


def test_undo_and_extract_exclude_each_other(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one is refused; a reader that holds the table is waited for, but not forever."""
    monkeypatch.setattr(locks, "PATIENCE_SECONDS", 0.5)
    source = stage(COLUMNS).deliver("id,note\n1,a\n")
    extract_id = source.extract().extract_id
    with source.server.connect("loader") as connection:
        with locks.source_lock(partial(source.server.connect, "loader"), source.table, actor="test"), pytest.raises(BusyError):
            _undo(source, extract_id)
        with connection.transaction():
            connection.execute(f"select from {source.relation}".encode())
            with pytest.raises(
                ServerError,
                match=rf"dpe_loader \(process \d+, .*'dpe'\) holds raw.{source.table.name} for too long; .*, then run again",
            ):
                _undo(source, extract_id)

    assert 1 == _undo(source, extract_id).rows_removed


def test_the_ledger_is_read_newest_first(stage: Stage) -> None:
    """Extracts with their loads, rejects by load and line."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n", "a.csv")
    source.extract()
    source.deliver("id,note\n2,b\nx,c\ny,d\n", "b.csv").extract()
    name = source.table.source

    newest, oldest = loads.extracts(source.server, source=name, limit=5)
    of_newest, [load], _ = loads.extract(source.server, newest.extract_id)
    found = loads.rejects(source.server, source=name, load_id=load.load_id, limit=5)

    assert (newest, (3, 1, 2), (1, 1, 0)) == (
        of_newest,
        (newest.records_read, newest.rows_loaded, newest.rows_rejected),
        (oldest.records_read, oldest.rows_loaded, oldest.rows_rejected),
    )
    assert [("b.csv", 3, "x,c"), ("b.csv", 4, "y,d")] == [(reject.location, reject.position, reject.raw) for reject in found]
    assert found[1] == loads.reject(source.server, found[1].reject_id)
    assert [newest] == loads.extracts(source.server, source=name, limit=1)
    assert [] == loads.rejects(source.server, source="shop.other", load_id=None, limit=5)
    with pytest.raises(UnknownNameError, match="reject 0: is not in the ledger"):
        loads.reject(source.server, 0)
    with pytest.raises(UnknownNameError, match="extract 0: is not in the ledger"):
        loads.extract(source.server, 0)


def test_a_corrected_file_replaces_its_earlier_rows(stage_anywhere: Stage) -> None:
    """If the source says so; other files, even of the same extract, stay. The correction can be undone."""
    source = stage_anywhere(COLUMNS, changed_files="replace", rejects={"max_rows": 5})
    first = source.deliver("id,note\n1,a\n2,b\nx,c\n", "a.csv").deliver("id,note\n3,c\n", "b.csv").extract()

    corrected = source.deliver("id,note\n1,a\n2,corrected\n5,e\n6,f\n", "a.csv").extract()

    assert [(1, "a"), (2, "corrected"), (3, "c"), (5, "e"), (6, "f")] == source.rows()
    assert [("a.csv", 2, False), ("b.csv", 1, True), ("a.csv", 4, True)] == [
        (location.rsplit("/", 1)[-1], rows, is_there)
        for location, rows, is_there in source.ledger(
            "select location, rows_loaded, removed_at is null from dpe.loads where source = %s order by load_id"
        )
    ]
    assert 0 == len(source.extract().loads)

    _undo(source, corrected.extract_id)
    assert [(3, "c")] == source.rows()
    _undo(source, first.extract_id)
    assert [] == source.rows()


def test_rejects_of_removed_loads_are_obsolete(stage: Stage) -> None:
    """They are listed on request, and marked as such."""
    source = stage(COLUMNS, disposition="replace").deliver("id,note\nx,a\n")
    source.extract()
    source.deliver("id,note\ny,b\n").extract()
    wanted: dict[str, Any] = {"source": source.table.source, "load_id": None, "limit": 9}

    assert [("y,b", False)] == [(reject.raw, reject.is_obsolete) for reject in loads.rejects(source.server, **wanted, with_obsolete=False)]
    assert [("y,b", False), ("x,a", True)] == [(reject.raw, reject.is_obsolete) for reject in loads.rejects(source.server, **wanted)]


def test_files_that_are_corrected_to_the_same_content_lose_their_rows(stage_anywhere: Stage) -> None:
    """For example, two that are empty now: the second is recognized by its content, and its old rows are removed all the same."""
    source = stage_anywhere(COLUMNS, changed_files="replace")
    source.deliver("id,note\n1,a\n", "a.csv").deliver("id,note\n2,b\n", "b.csv").deliver("id,note\n3,c\n", "c.csv").extract()

    emptied = source.deliver("id,note\n", "a.csv").deliver("id,note\n", "b.csv").extract()

    assert [(3, "c")] == source.rows()
    assert (1, 2) == (len(emptied.loads), emptied.rows_removed)

    copied = source.deliver("id,note\n", "c.csv").extract()
    assert [] == source.rows()
    assert (0, 1) == (len(copied.loads), copied.rows_removed)
    assert source.extract().extract_id is None


def test_a_file_that_took_the_name_of_another_one_did_not_change(stage_anywhere: Stage) -> None:
    """If deliveries are rotated by renaming, each is loaded once and stays; corrected under its new name, it is replaced."""
    source = stage_anywhere(COLUMNS, changed_files="replace")
    source.deliver("id,note\n1,monday\n", "today.csv").extract()

    (source.directory / "today.csv").rename(source.directory / "yesterday.csv")
    source.deliver("id,note\n2,tuesday\n", "today.csv").extract()
    assert [(1, "monday"), (2, "tuesday")] == source.rows()

    (source.directory / "today.csv").rename(source.directory / "tuesday.csv")
    assert source.extract().extract_id is None
    source.deliver("id,note\n2,corrected\n", "tuesday.csv").extract()
    source.deliver("id,note\n1,corrected\n", "yesterday.csv").extract()
    assert [(1, "corrected"), (2, "corrected")] == source.rows()
