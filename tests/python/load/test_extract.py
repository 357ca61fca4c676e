"""An extract: all of it or nothing, each file once, and staging holds what was delivered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.staged_source import Stage, StagedSource

from dpe_cli.errors import ContractError, ExtractError, InputError
from dpe_cli.load import extraction as extract
from dpe_cli.load import ledger, ledger_rejects, staging
from dpe_cli.sources.files import compression
from dpe_cli.sources.files import find as files

COLUMNS = "id integer, note text"


def _loads(source: StagedSource) -> list[tuple[Any, ...]]:
    return source.ledger(
        "select location, records_read, rows_loaded, rows_rejected, removed_at is null from dpe.loads where source = %s order by load_id"
    )


def test_counts_are_those_of_the_files(stage_anywhere: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read, loaded and rejected, per file, however many writers there are; each row has its load."""
    monkeypatch.setattr(compression, "CHUNK_BYTES", 500)
    source = stage_anywhere(COLUMNS)
    for letter, count in (("a", 300), ("b", 1), ("c", 70)):
        source.deliver("id,note\n" + "".join(f"{number},{letter}\n" for number in range(count)) + f"x,{letter}\n", f"{letter}.csv")

    monkeypatch.setattr(extract, "BLOCK_BYTES", 500)
    result = source.extract(jobs=3)

    assert [("a.csv", 301, 300, 1, True), ("b.csv", 2, 1, 1, True), ("c.csv", 71, 70, 1, True)] == _loads(source)
    assert (374, 371, 3) == (result.records_read, result.rows_loaded, result.rows_rejected)
    assert [("a", 300, "a.csv"), ("b", 1, "b.csv"), ("c", 70, "c.csv")] == source.ledger(
        f"""
        select note, count(*), location
        from {source.relation}
        join dpe.loads on load_id = _load_id and source = %s
        group by note, location
        order by note
        """
    )
    assert [("succeeded", 374, 371, 3, 2046)] == source.ledger(
        "select status, records_read, rows_loaded, rows_rejected, bytes_read from dpe.extracts where source = %s"
    )


def test_values_do_not_depend_on_the_servers_settings(stage_anywhere: Stage) -> None:
    """Dates are ISO, times without a zone UTC, intervals PostgreSQL's own; numbers and text are as they are written."""
    source = stage_anywhere("day date, moment timestamptz, span interval, amount numeric(10,2), Größe text")
    with source.server.connect("admin", autocommit=True) as connection:
        connection.execute("alter role dpe_loader set datestyle = 'SQL, DMY'")
        connection.execute("alter role dpe_loader set timezone = 'Asia/Tokyo'")
        connection.execute("alter role dpe_loader set intervalstyle = 'sql_standard'")
        connection.execute("alter role dpe_loader set client_encoding = 'LATIN1'")
    try:
        source.deliver("day,moment,span,amount,Größe\n2024-03-04,2024-03-04 05:06,-1 days 02:03:04,1.50,漢字\n").extract()
    finally:
        with source.server.connect("admin", autocommit=True) as connection:
            connection.execute("alter role dpe_loader reset all")

    assert [("2024-03-04", "2024-03-04 05:06:00+00", "-1 days +02:03:04", "1.50", "漢字")] == source.query(
        f"""
        select day::text, (moment at time zone 'UTC')::text || '+00', span::text, amount::text, "Größe" from {source.relation}
        """
    )


# append: each file once, by its content


def test_a_file_is_loaded_once(stage: Stage) -> None:
    """Even under another name, and even if it comes along with new ones."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n")
    first = source.extract()
    again = source.extract()
    source.deliver("id,note\n1,a\n", "copy.csv").deliver("id,note\n2,b\n", "new.csv")
    with_new = source.extract()

    assert [(1, 0), (0, 1), (1, 2)] == [(len(result.loads), result.skipped) for result in (first, again, with_new)]
    assert ([(1, "a"), (2, "b")], None) == (source.rows(), again.extract_id)
    assert ["succeeded", "succeeded"] == source.statuses()


def test_new_files_that_are_the_same_are_loaded_once(stage: Stage) -> None:
    """Several files of the same size and content count as one."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n", "a.csv").deliver("id,note\n2,b\n", "b.csv").deliver("id,note\n1,a\n", "c.csv")

    result = source.extract()

    assert ([(1, "a"), (2, "b")], 1) == (source.rows(), result.skipped)


def test_a_file_that_changed_is_new(stage: Stage) -> None:
    """Even if its size is the same."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n")
    source.extract()
    source.deliver("id,note\n2,b\n").extract()

    assert [(1, "a"), (2, "b")] == source.rows()


def test_a_file_that_grew_while_it_was_read_is_recorded_as_read(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not recorded with the size that it had when it was found."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n")
    find = files.find

    def find_then_grow(*arguments: Any, **options: Any) -> Any:
        found = find(*arguments, **options)
        source.deliver("id,note\n1,a\n2,b\n")
        return found

    monkeypatch.setattr(files, "find", find_then_grow)
    source.extract()

    assert (0, [(1, "a"), (2, "b")]) == (len(source.extract().loads), source.rows())


def test_a_file_that_is_written_to_while_it_is_read_is_refused(stage: Stage) -> None:
    """Only half of it may have been read; the next extract loads all of it, once."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n")

    def write_more(_bytes: int) -> None:
        with (source.directory / "a.csv").open("r+") as file:
            file.write("id,note\n1,a\n2,b\n")

    with pytest.raises(InputError, match=r"a.csv: the file changed while it was read; nothing was loaded, extract again when it is compl"):
        source.run(source.extraction(progress=write_more))
    assert 0 == source.count()

    source.extract()
    assert [(1, "a"), (2, "b")] == source.rows()


# replace: the newest delivery only


def test_a_delivery_replaces_the_previous_one(stage: Stage) -> None:
    """As soon as a file changed, was added or removed; readers see either of the two."""
    source = stage(COLUMNS, disposition="replace").deliver("id,note\n1,a\n")
    source.extract()
    source.deliver("id,note\n2,b\n").extract()
    changed = source.rows()
    source.deliver("id,note\n3,c\n", "b.csv").extract()
    came = source.rows()
    (source.directory / "a.csv").unlink()
    source.extract()

    assert ([(2, "b")], [(2, "b"), (3, "c")], [(3, "c")]) == (changed, came, source.rows())


def test_a_delivery_that_did_not_change_is_left_alone(stage: Stage) -> None:
    """Whatever its files are called."""
    source = stage(COLUMNS, disposition="replace").deliver("id,note\n1,a\n", "a.csv").deliver("id,note\n2,b\n", "b.csv")
    source.extract()
    (source.directory / "b.csv").rename(source.directory / "c.csv")

    result = source.extract()

    assert (None, 2, ["succeeded"]) == (result.extract_id, result.skipped, source.statuses())


def test_the_previous_delivery_is_kept(stage: Stage) -> None:
    """It is hidden, and kept so that the newest can be undone; older ones are gone."""
    source = stage(COLUMNS, disposition="replace")
    extracts = [source.deliver(f"id,note\n{number},a\n").extract().extract_id for number in range(3)]

    assert [f"{source.table.slice_prefix}{extracts[2]}_1"] == source.slices(attached=True)
    assert [f"{source.table.slice_prefix}{extracts[1]}_1"] == source.slices(attached=False)
    assert [False, False, True] == [is_there for *_, is_there in _loads(source)]


# full refresh and the contract


def test_a_full_refresh_reloads_everything(stage: Stage) -> None:
    """Rows that a later delivery does not contain are gone."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n", "a.csv").deliver("id,note\n2,b\n", "b.csv")
    source.extract()
    (source.directory / "a.csv").unlink()

    result = source.extract(full_refresh=True)

    assert ([(2, "b")], 1, []) == (source.rows(), len(result.loads), source.slices(attached=False))
    assert [False, False, True] == [is_there for *_, is_there in _loads(source)]
    assert 0 == len(source.extract().loads)


def test_a_new_column_is_added(stage_anywhere: Stage) -> None:
    """It is null in earlier rows; the order of the columns does not matter."""
    source = stage_anywhere(COLUMNS).deliver("id,note\n1,a\n")
    source.extract()
    source.declare("size numeric(6,2), id integer, note text")
    source.deliver("id,note,size\n2,b,2.50\n", "b.csv").extract()

    assert [("2.50", 2, "b"), ("None", 1, "a")] == [(str(size), *others) for size, *others in source.rows()]


@pytest.mark.parametrize(
    ("columns", "change"),
    [
        ("id bigint, note text", "column id is integer in raw.{table} and bigint in the contract"),
        ("id integer, note varchar(9)", "column note is text in raw.{table} and character varying(9) in the contract"),
        ("id integer", "column note is text in raw.{table} and missing in the contract"),
        ("id integer, _note text", "column note is text in raw.{table} and missing in the contract"),
    ],
)
def test_a_changed_contract_is_refused_with_the_command_that_helps(stage: Stage, columns: str, change: str) -> None:
    """And the command helps; the file was recorded as loaded under the old contract."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n")
    source.extract()
    source.declare(columns, extra_columns="ignore")
    source.deliver("id,note,_note\n1,a,b\n")

    with pytest.raises(ContractError) as caught:
        source.extract()
    refresh = f"to reload everything under the new contract: dpe extract --full-refresh source:{source.table.source}"
    assert f"{source.table.source} (shop.yml:5): {change.format(table=source.table.name)}; {refresh}" == str(caught.value)

    source.extract(full_refresh=True)
    assert 1 == source.count()


def test_a_rebuilt_table_lists_the_dropped_views(stage: Stage) -> None:
    """The views on it have to be built again."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n")
    source.extract()
    with source.server.connect("transformer") as connection:
        connection.execute(f"create view raw.stg_{source.table.name} as select * from {source.relation}".encode())
    source.declare("id bigint, note text")

    result = source.extract(full_refresh=True)

    assert [f"drop cascades to view raw.stg_{source.table.name}"] == result.dropped


def test_a_tenant_column_may_be_renamed(stage: Stage) -> None:
    """The new table has the policies that are declared now."""
    source = stage("shop text, id integer", tenant_column="shop").deliver("shop,id\nUA,1\n")
    source.extract()
    source.declare("carrier text, id integer", tenant_column="carrier")

    source.deliver("carrier,id\nUA,1\nHA,2\n").extract(full_refresh=True)

    assert [("HA", 2), ("UA", 1)] == source.rows()
    assert (
        3
        == source.ledger(
            f"select count(*) from pg_policies where tablename = '{source.table.name}' and qual like '%%carrier%%' and %s <> ''"
        )[0][0]
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("id intger", 'PostgreSQL refuses raw.{table} (type "intger" does not exist)'),
        ("id numeric(10", "PostgreSQL refuses raw.{table} (syntax error at or near"),
        ("id numeric(0)", "PostgreSQL refuses raw.{table} (NUMERIC precision 0 must be between 1 and 1000)"),
        ("ctid integer", 'PostgreSQL refuses raw.{table} (column name "ctid" conflicts with a system column name)'),
        ("id int; drop table x", "column id: 'int; drop table x' is not the name of a type; correct its data_type"),
        ("_load_id bigint", "column _load_id is reserved for dpe; rename it"),
        ("x" * 64 + " text", "x" * 63 + "… is longer than 63 bytes; shorten the name"),
        (", ".join(f"c{n} text" for n in range(1599)), "1,599 columns are more than a table can have (1,598 besides dpe's own)"),
    ],
)
def test_an_impossible_table_is_refused(stage: Stage, columns: str, message: str) -> None:
    """With the place of its declaration, whether the table is new or exists."""
    source = stage(columns).deliver("id\n1\n")
    with pytest.raises(ContractError) as when_new:
        source.extract()
    source.declare("id integer")
    source.extract()
    source.declare(columns)
    with pytest.raises(ContractError) as when_there:
        source.extract()

    for caught in (when_new, when_there):
        assert message.format(table=source.table.name) in str(caught.value)
    assert 1 == source.count()


def test_a_relation_of_another_kind_is_not_loaded_into(stage: Stage) -> None:
    """A model may already have the name."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n")
    # Creates the schema.
    stage(COLUMNS).extract()
    with source.server.connect("transformer") as connection:
        connection.execute(f"create view {source.relation} as select 1 as id".encode())

    with pytest.raises(ContractError, match=rf"raw.{source.table.name} already exists and was not created by dpe"):
        source.extract()


def test_tables_with_long_names_keep_apart(stage: Stage) -> None:
    """Their slices' names are cut, but stay different."""
    sources = [stage(COLUMNS), stage(COLUMNS)]
    for source, ending in zip(sources, ("one", "two"), strict=True):
        name = f"a_table_with_quite_a_long_name_that_ends_in_{ending}"
        source.table = replace(source.table, source=f"shop.{name}", name=name)
        source.deliver("id,note\n1,a\n").extract()

    assert [1, 1] == [source.count() for source in sources]
    assert set(sources[0].slices(attached=True)).isdisjoint(sources[1].slices(attached=True))


# all or nothing


@pytest.mark.parametrize("step", [(ledger, "finish_extract"), (ledger_rejects, "add")], ids=["load", "rejects"])
def test_a_failure_while_publishing_leaves_nothing(stage: Stage, monkeypatch: pytest.MonkeyPatch, step: tuple[object, str]) -> None:
    """Neither rows nor rejects nor loads; earlier rows are untouched, and the next extract loads everything."""
    source = stage(COLUMNS, disposition="replace").deliver("id,note\n1,a\n")
    source.extract()
    source.deliver("id,note\n2,b\nx,c\n")

    def fail(*_arguments: object, **_options: object) -> None:
        raise ExtractError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(*step, fail)
        with pytest.raises(ExtractError, match="the disk is full"):
            source.extract()
    assert ([(1, "a")], [], 1) == (source.rows(), source.rejects(), len(_loads(source)))
    assert (["succeeded", "failed"], 1) == (source.statuses(), len(source.slices(attached=True)))
    assert [("the disk is full",)] == source.ledger("select error from dpe.extracts where source = %s and status = 'failed'")

    source.extract()
    assert ([(2, "b")], 1) == (source.rows(), len(source.rejects()))


def test_one_file_that_is_refused_refuses_the_others(stage: Stage) -> None:
    """Files of one extract become visible together or not at all."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n", "a.csv").deliver("id,other\n2,b\n", "b.csv")

    with pytest.raises(ContractError, match=r"b\.csv, line 1: column note is missing"):
        source.extract()

    assert (0, [], []) == (source.count(), source.slices(attached=False), _loads(source))


def test_more_fields_than_a_table_has_columns_are_refused(stage: Stage) -> None:
    """Even if fields that the contract does not name are ignored."""
    source = stage("c0 text", extra_columns="ignore")
    source.deliver(",".join(f"c{n}" for n in range(1700)) + "\n" + "," * 1699 + "\n")

    with pytest.raises(
        ContractError, match=r"a.csv, line 1: 1,700 fields are more columns than a table can have \(1,598 besides dpe's own"
    ):
        source.extract()


def test_files_may_differ_in_ignored_columns(stage: Stage) -> None:
    """Each is matched by its own header."""
    source = stage(COLUMNS, extra_columns="ignore")
    source.deliver("x,id,note\n9,1,a\n", "a.csv").deliver("note,id\nb,2\n", "b.csv").deliver("id,x,y,z,note\n3,9,9,9,c\n", "c.csv")

    source.extract(jobs=1)

    assert [(1, "a"), (2, "b"), (3, "c")] == source.rows()


def test_an_extract_whose_counts_differ_is_not_published(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each file, the records read equal those loaded and rejected, or nothing is published."""
    source = stage(COLUMNS).deliver("id,note\n1,a\n")
    extraction = source.extraction()

    class Miscounting(dict[int, int]):
        def __getitem__(self, key: int) -> int:
            return super().get(key, 0) + 1

    monkeypatch.setattr(extraction, "_read", Miscounting())
    with pytest.raises(
        ExtractError, match=r"a\.csv: 3 records were read, but 1 loaded and 0 rejected; nothing was loaded, please report this"
    ):
        source.run(extraction)

    assert (0, ["failed"]) == (source.count(), source.statuses())


def test_the_parent_table_is_analyzed(stage_anywhere: Stage) -> None:
    """Autovacuum analyzes only slices."""
    source = stage_anywhere(COLUMNS).deliver("id,note\n1,a\n2,b\n")
    source.extract()
    statistics = "select count(*) from pg_stats where schemaname = 'raw' and tablename = %s and inherited"

    def columns_with_statistics() -> int:
        with source.server.connect("admin") as connection:
            [(count,)] = connection.execute(statistics, [source.table.name]).fetchall()
            return int(count)

    assert 0 == columns_with_statistics()
    with source.server.connect("loader", autocommit=True) as connection:
        staging.analyze(connection, source.table)
    assert len(source.table.columns) <= columns_with_statistics()
