"""Staging tables and slices are under row-level security, even while they are filled."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import psycopg
import pytest
from psycopg import sql
from support.staged_source import Stage, StagedSource

from dpe_cli.access import declared_policies
from dpe_cli.access.declared_policies import TableColumn, TablePolicy
from dpe_cli.blocks.block import Block
from dpe_cli.errors import ExtractError
from dpe_cli.load import policies
from dpe_cli.server import contexts
from dpe_cli.sources.files.csv_files import OpenedCsv

COLUMNS = "shop text, id integer"


def _count_as(source: StagedSource, role: str, *, tenant_id: str | None = None, relation: sql.Identifier | None = None) -> int:
    with source.server.connect("admin" if role == "dpe_owner" else role) as connection:
        context = (
            contexts.admin_context(connection, "test")
            if role == "dpe_owner"
            else contexts.system_context(connection, actor="test", tenant_id=tenant_id)
        )
        with context:
            return _count(connection, relation or source.table.identifier)


def _count(connection: psycopg.Connection[Any], relation: sql.Identifier) -> int:
    [(count,)] = connection.execute(sql.SQL("select count(*) from {}").format(relation)).fetchall()
    return int(count)


def _pause_reading(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Stop each file after its first block was handed over; return the event that is set then, and the one that lets it continue."""
    handed_over, go_on = threading.Event(), threading.Event()
    read = OpenedCsv.blocks

    def blocks(self: OpenedCsv) -> Any:
        one: Block
        for one in read(self):
            yield one
            handed_over.set()
            assert go_on.wait(30)

    monkeypatch.setattr(OpenedCsv, "blocks", blocks)
    return handed_over, go_on


def test_no_role_sees_a_slice_while_it_is_filled(stage_anywhere: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither through the parent nor directly; all of it appears at once."""
    source = stage_anywhere(COLUMNS).deliver("shop,id\nUA,1\n")
    source.extract()
    source.deliver("shop,id\n" + "".join(f"UA,{number}\n" for number in range(1000)), "b.csv")
    handed_over, go_on = _pause_reading(monkeypatch)
    extraction = threading.Thread(target=source.extract)
    extraction.start()
    assert handed_over.wait(30)

    while_filled = [_count_as(source, role) for role in ("transformer", "loader", "dpe_owner")]
    with source.server.connect("admin") as connection:
        [(visible,)] = connection.execute(
            "select count(*) from pg_class where relkind = 'r' and not relispartition and relname like %s", [f"{source.table.name}%"]
        ).fetchall()
    go_on.set()
    extraction.join()

    assert ([1, 1, 1], 0) == (while_filled, visible)
    assert [1001] * 3 == [_count_as(source, role) for role in ("transformer", "loader", "dpe_owner")]


def test_no_role_sees_a_slice_that_is_not_attached(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before publishing leaves it committed: under forced row-level security without a policy, without a grant."""
    source = stage(COLUMNS).deliver("shop,id\nUA,1\n")
    extraction = source.extraction()
    monkeypatch.setattr(extraction, "_publish", _crash)
    monkeypatch.setattr(extraction, "_clean_up", lambda *_arguments: None)
    with pytest.raises(KeyboardInterrupt):
        source.run(extraction)

    [name] = source.slices(attached=False)
    slice_ = sql.Identifier("raw", name)

    assert 0 == _count_as(source, "loader", relation=slice_)
    for role in ("transformer", "dpe_owner"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            _count_as(source, role, relation=slice_)


def _crash(*_arguments: object, **_options: object) -> None:
    raise KeyboardInterrupt


def test_the_table_and_its_slices_are_protected(stage_anywhere: Stage) -> None:
    """Enabled and forced on all of them, with policies on the table only; an attached slice cannot be read directly."""
    source = stage_anywhere(COLUMNS).deliver("shop,id\nUA,1\n")
    source.extract()

    protection = source.query(
        """
        select relkind::text, relrowsecurity, relforcerowsecurity, (select count(*) from pg_policy where polrelid = pg_class.oid)
        from pg_class
        where relname like %s and relkind in ('r', 'p')
        order by relkind
        """,
        [f"{source.table.name}%"],
    )
    [slice_] = source.slices(attached=True)
    by_itself = _count_as(source, "loader", relation=sql.Identifier("raw", slice_))

    assert [("p", True, True, 3), ("r", True, True, 0)] == protection
    assert (0, 1) == (by_itself, source.count())


@pytest.mark.parametrize("tenant_column", ["shop", None])
def test_without_a_context_there_are_no_rows(stage_anywhere: Stage, tenant_column: str | None) -> None:
    """For the table's owner as for the pipeline's other roles; readers are not allowed to read it at all."""
    source = stage_anywhere(COLUMNS, tenant_column=tenant_column).deliver("shop,id\nUA,1\n")
    source.extract()

    for role in ("loader", "transformer"):
        with source.server.connect(role) as connection:
            assert 0 == _count(connection, source.table.identifier)
    with (
        source.server.connect("admin") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        contexts.tenant_context(connection, "UA"),
    ):
        _count(connection, source.table.identifier)


def test_a_context_sees_its_tenant(stage_anywhere: Stage) -> None:
    """Every tenant, or the one it was opened for; rows without a tenant are visible only to the former."""
    source = stage_anywhere(COLUMNS, tenant_column="shop").deliver("shop,id\nUA,1\nUA,2\nHA,3\n,4\n")

    assert 4 == source.extract().rows_loaded
    assert 4 == _count_as(source, "transformer") == _count_as(source, "loader") == _count_as(source, "dpe_owner")
    assert [2, 1, 0] == [_count_as(source, "transformer", tenant_id=tenant) for tenant in ("UA", "HA", "XX")]
    assert 2 == _count_as(source, "loader", tenant_id="UA")


def test_a_delivery_for_one_tenant_is_loaded(stage_anywhere: Stage) -> None:
    """In addition to other tenants' rows."""
    source = stage_anywhere(COLUMNS, tenant_column="shop").deliver("shop,id\nHA,1\n", "a.csv")
    source.extract()

    result = source.deliver("shop,id\nUA,2\nUA,x\n", "b.csv").extract(tenant_id="UA")

    assert ([("HA", 1), ("UA", 2)], 1) == (source.rows(), result.rows_rejected)
    assert [("UA",)] == source.ledger("select tenant_id from dpe.extracts where source = %s and tenant_id is not null")


@pytest.mark.parametrize("others", ["HA,3\n", ",3\n", "ua,3\n"], ids=["another tenant", "no tenant", "another spelling"])
def test_a_delivery_for_one_tenant_with_others_rows_is_refused(stage_anywhere: Stage, others: str) -> None:
    """By the policies of the table; nothing of it is loaded, nor of the files that came with it."""
    source = stage_anywhere(COLUMNS, tenant_column="shop").deliver("shop,id\nUA,1\n", "a.csv").deliver(f"shop,id\nUA,2\n{others}", "b.csv")

    with pytest.raises(ExtractError, match=r"b\.csv: 1 of 2 rows do not belong to tenant UA; nothing was loaded, correct the delivery"):
        source.extract(tenant_id="UA")

    assert (0, ["failed"]) == (source.count(), source.statuses())
    assert [] == source.slices(attached=True) == source.slices(attached=False)


def test_an_extract_for_one_tenant_needs_the_tenant_of_each_row(stage: Stage) -> None:
    """And it may not replace other tenants' rows."""
    source = stage(COLUMNS).deliver("shop,id\nUA,1\n")
    with pytest.raises(ExtractError, match=r"needs the tenant of each row; declare `rls: {tenant_column: …}` in the source's meta"):
        source.extract(tenant_id="UA")
    with pytest.raises(ExtractError, match=r"for one tenant cannot replace the table"):
        source.extract(tenant_id="UA", full_refresh=True)
    source.declare(disposition="replace", tenant_column="shop")
    with pytest.raises(ExtractError, match=r"for one tenant cannot replace the table"):
        source.extract(tenant_id="UA")


def test_a_tenant_column_that_is_declared_later_protects_what_is_there(stage: Stage) -> None:
    """As soon as anything is extracted, even if nothing is new."""
    source = stage(COLUMNS).deliver("shop,id\nUA,1\nHA,2\n")
    source.extract()
    source.declare(tenant_column="shop")
    source.extract()

    assert 1 == _count_as(source, "transformer", tenant_id="UA")


def test_an_extract_whose_rows_a_policy_hides_is_refused(stage: Stage) -> None:
    """If somebody added one to the table: the rows would be counted, and never seen."""
    source = stage(COLUMNS).deliver("shop,id\nUA,1\n")
    source.extract()
    with source.server.connect("admin") as connection:
        connection.execute(f"create policy only_ua on {source.relation} as restrictive to dpe_loader using (shop = 'UA')".encode())

    with pytest.raises(ExtractError, match=r"b\.csv: 1 of 2 rows are not visible to the loader through the policies of raw"):
        source.deliver("shop,id\nUA,2\nHA,3\n", "b.csv").extract()

    assert 1 == source.count()


def test_an_extract_whose_policies_change_meanwhile_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts under the old ones prove nothing about the new ones."""
    source = stage(COLUMNS, tenant_column="shop").deliver("shop,id\nUA,1\n")
    source.extract()
    source.deliver("shop,id\nUA,2\n", "b.csv")
    visible_rows = policies.visible_rows

    def count_then_change(*arguments: Any) -> dict[int, int]:
        counted = visible_rows(*arguments)
        with source.server.connect("admin") as connection:
            connection.execute(f"drop policy dpe_admin on {source.relation}".encode())
        return counted

    monkeypatch.setattr(policies, "visible_rows", count_then_change)
    with pytest.raises(ExtractError, match="the policies of the staging table were changed meanwhile; run again"):
        source.extract()
    monkeypatch.undo()

    assert (1, 1) == (source.count(), source.extract().rows_loaded)


def test_one_row_stands_for_all_only_if_no_policy_depends_on_the_row(stage_anywhere: Stage) -> None:
    """On each version, because it depends on how the server spells the policies."""
    shared = stage_anywhere(COLUMNS).deliver("shop,id\nUA,1\n")
    tenants = stage_anywhere(COLUMNS, tenant_column="shop").deliver("shop,id\nUA,1\n")
    for source in (shared, tenants):
        source.extract()

    def all_or_nothing(source: StagedSource) -> bool:
        with source.server.connect("admin") as connection:
            return policies.all_or_nothing(policies.present(connection, source.table))

    assert (True, False) == (all_or_nothing(shared), all_or_nothing(tenants))
    with shared.server.connect("admin") as connection:
        connection.execute(sql.SQL("create policy odd on {} as restrictive using (id % 2 = 1)").format(shared.table.identifier))
    assert not all_or_nothing(shared)


@pytest.mark.parametrize("tenant_column", ["shop", None])
def test_staging_has_the_policies_of_a_table_of_dbts(stage_anywhere: Stage, tenant_column: str | None) -> None:
    """In PostgreSQL's own words: the loader writes them here, and a macro there. Only the loader writes staging; the transformer reads it."""
    source = stage_anywhere(COLUMNS, tenant_column=tenant_column).deliver("shop,id\nUA,1\n")
    source.extract()
    declaration: dict[str, object] = {"tenant_column": tenant_column} if tenant_column else {"private": True}
    of_dbt = declared_policies.policies(
        declaration, [TableColumn("shop", "text", is_exact=True)], readers=[], looked_up="", is_masked=False
    )

    with source.server.connect("admin") as connection:
        rows = connection.execute(
            """
            select
                polname,
                polcmd::text,
                polpermissive,
                array(select pg_get_userbyid(role_id)::text from unnest(polroles) as roles (role_id)),
                pg_get_expr(polqual, polrelid),
                coalesce(pg_get_expr(polwithcheck, polrelid), '')
            from pg_policy
            where polrelid = %s::regclass
            """,
            [source.table.identifier.as_string(connection)],
        ).fetchall()
    present = {
        name: TablePolicy(command, permissive, tuple(roles), using, check) for name, command, permissive, roles, using, check in rows
    }

    system = of_dbt["dpe_system"]
    assert {
        "dpe_admin": of_dbt["dpe_admin"],
        "dpe_system": dataclasses.replace(system, roles=("dpe_loader",)),
        "dpe_transformer": dataclasses.replace(system, command="r", with_check=""),
    } == present
