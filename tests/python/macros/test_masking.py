"""Masked readers see the rows of their tenants without a model's masked columns, whatever is built or published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
import yaml
from conftest import numbers
from psycopg import sql
from support import dbt_projects
from support.long_tests import LONG

from dpe_cli.access import checks, grants
from dpe_cli.access.grants import AccessError
from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.report import Report
from dpe_cli.pipeline import run
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.publishing import publication, publisher
from dpe_cli.server.server import Server

GUESTS = """
    {{ config(
        materialized=given.get('kind', 'table'),
        on_schema_change='sync_all_columns',
        contract={'enforced': false},
        meta={'rls': {'tenant_column': 'hotel'}, 'masked': given.get('masked', ['name', 'Born on'])}
    ) }}
    select
        1 as id,
        'UA'::text as hotel,
        'Ada'::varchar(20) as name,
        date '1815-12-10' as "Born on"
        {{ ", 7::" ~ given.get('room_type', 'integer') ~ " as room" if given.get('with_room', false) }}
"""
# 56 characters: one too many for the suffix `__masked`.
# 60 bytes in 32 characters.
WRONG = {
    "masked: [nmae]": "meta.masked names the column nmae; name one of its columns (hotel, name)",
    "masked: [name, hotel]": "meta.masked hides the column hotel, which identifies the owner of a row; mask others",
    "masked: name": "meta.masked is name; write a list of columns",
    "masked: [1]": "meta.masked is [1]; write a list of columns",
}

# Snapshots whose masked columns dbt copies or hashes: their settings, and what has to be masked as well.
TIMESTAMP = "strategy: timestamp, updated_at: changed_at"
REVEALED = {
    "a_key": (
        f"{TIMESTAMP}, unique_key: guest, meta: {{rls: {{tenant_column: hotel}}, masked: [guest]}}",
        "hides the column guest, which",
        "dbt_scd_id",
    ),
    "one_of_two_keys": (
        f"{TIMESTAMP}, unique_key: [hotel, guest], meta: {{rls: {{tenant_column: hotel}}, masked: [guest]}}",
        "hides the column guest, which",
        "dbt_scd_id",
    ),
    "an_expression": (
        f'{TIMESTAMP}, unique_key: "hotel || guest", meta: {{rls: {{tenant_column: hotel}}, masked: [guest]}}',
        "hides the column guest, which",
        "dbt_scd_id",
    ),
    "in_upper_case": (
        f"{TIMESTAMP}, unique_key: GUEST, meta: {{rls: {{tenant_column: hotel}}, masked: [guest]}}",
        "hides the column guest, which",
        "dbt_scd_id",
    ),
    "an_expression_in_upper_case": (
        f"{TIMESTAMP}, unique_key: cast(GUEST as text), meta: {{rls: {{tenant_column: hotel}}, masked: [guest]}}",
        "hides the column guest, which",
        "dbt_scd_id",
    ),
    "a_time_in_upper_case": (
        "strategy: timestamp, updated_at: CHANGED_AT, unique_key: guest, meta: {rls: {tenant_column: hotel}, masked: [changed_at]}",
        "hides the column changed_at, which",
        "dbt_scd_id, dbt_updated_at, dbt_valid_from, dbt_valid_to",
    ),
    "a_renamed_hash": (
        f"{TIMESTAMP}, unique_key: guest, snapshot_meta_column_names: {{dbt_scd_id: version}}, meta: {{rls: {{tenant_column: hotel}}, masked: [guest]}}",
        "hides the column guest, which",
        "version",
    ),
    "the_time": (
        f"{TIMESTAMP}, unique_key: guest, meta: {{rls: {{tenant_column: hotel}}, masked: [changed_at]}}",
        "hides the column changed_at, which",
        "dbt_scd_id, dbt_updated_at, dbt_valid_from, dbt_valid_to",
    ),
}
KEPT = {
    "all_masked": f"{TIMESTAMP}, unique_key: guest, meta: {{rls: {{tenant_column: hotel}}, masked: [guest, dbt_scd_id]}}",
    "another_column": f"{TIMESTAMP}, unique_key: guest, meta: {{rls: {{tenant_column: hotel}}, masked: [name]}}",
    "a_check": "strategy: check, check_cols: all, unique_key: guest, meta: {rls: {tenant_column: hotel}, masked: [name]}",
}


def _given(directory: Path, given: str) -> Project:
    """Return the project after its model was written with these settings, in YAML: for other variables, dbt would read everything again."""
    settings = json.dumps(yaml.safe_load(given))
    dbt_projects.write(directory, {"models/finance/fct_guests.sql": f"{{% set given = {settings} %}}\n{GUESTS}"})
    return Project(directory)


@pytest.fixture
def guests(tmp_path: Path) -> Path:
    """Write the project."""
    return _given(dbt_projects.make(tmp_path / "guests", {}), "{}").directory


@pytest.fixture
def intern(server: Server) -> Iterator[str]:
    """Create a login that reads hotel UA masked."""
    name = f"intern_{next(numbers)}"
    with server.connect("admin") as connection:
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
    grants.grant(server, name, ["UA"], until=None, actor="test", masked=True)
    yield name
    with server.connect("admin") as connection:
        connection.execute(sql.SQL("drop owned by {name}; drop role {name}").format(name=sql.Identifier(name)))


def _read(server: Server, login: str, query: str) -> list[tuple[Any, ...]] | None:
    """Return the rows that a login sees; None if it is denied them, or the relation does not exist."""
    with server.connect(login) as connection:
        try:
            return connection.execute(query.encode()).fetchall()
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable):
            return None


def _publish(directory: Path, server: Server, variables: str = "{}") -> None:
    summary = run.run(_given(directory, variables), server, (), (), dbt_projects.Silence(), RunOptions(documents=False))
    assert summary.build.not_published is None, summary.build.not_published


@pytest.mark.parametrize("kind", ["table", pytest.param("incremental", marks=LONG)])
def test_a_mask_stays_from_version_to_version(guests: Path, server: Server, intern: str, kind: str) -> None:
    """Published, published again with one more column, and undone; the column is shown once its mask is removed."""
    everything, name = "select * from finance.fct_guests__masked", "select name from finance.fct_guests"
    _publish(guests, server, f"{{kind: {kind}}}")
    assert [(1, "UA", None, None)] == _read(server, intern, everything)
    assert _read(server, intern, name) is None

    _publish(guests, server, f"{{kind: {kind}, with_room: true}}")
    assert {(1, "UA", None, None, 7)} <= set(_read(server, intern, everything) or [])
    assert _read(server, intern, name) is None

    with publisher.connected(server) as connection:
        publication.undo(connection, ["finance"])
    assert [(1, "UA", None, None)] == _read(server, intern, everything)
    assert _read(server, intern, name) is None

    _publish(guests, server, f"{{kind: {kind}, masked: []}}")
    assert _read(server, intern, everything) is None
    assert {("Ada",)} == set(_read(server, intern, name) or [])

    with publisher.connected(server) as connection:
        publication.undo(connection, ["finance"])
        assert [] == checks.check(connection, ["dpe", "finance", "finance__previous", "finance__next"])
    assert [(1, "UA", None, None)] == _read(server, intern, everything)
    assert _read(server, intern, name) is None


def test_plain_dbt_masks_as_well(guests: Path, server: Server, intern: str) -> None:
    """An incremental model that is built in place, with a newly masked column, and a new one."""
    for variables in ("{kind: incremental, masked: [name]}", "{kind: incremental, with_room: true}"):
        assert {"success"} == {result.status for result in run_dbt(_given(guests, variables), server, ["build"])}

    shown = _read(server, intern, 'select name, "Born on", room from finance.fct_guests__masked order by room')
    assert [(None, None, 7), (None, None, None)] == shown
    assert _read(server, intern, 'select "Born on" from finance.fct_guests') is None
    assert [(1,), (1,)] == _read(server, intern, "select id from finance.fct_guests")

    # Without the column again, which leaves a trace in the catalog.
    run_dbt(_given(guests, "{kind: incremental, masked: [name]}"), server, ["build"])
    assert [("Ada", None)] * 3 == [("Ada", name) for (name,) in _read(server, intern, "select name from finance.fct_guests__masked") or []]
    assert _read(server, intern, "select name from finance.fct_guests") is None
    assert _read(server, intern, "select xmin from finance.fct_guests") is None

    run_dbt(_given(guests, "{kind: incremental, masked: [], with_room: true}"), server, ["build"])
    assert _read(server, intern, "select from finance.fct_guests__masked") is None
    assert [("Ada",)] * 4 == _read(server, intern, "select name from finance.fct_guests")


def test_types_are_those_of_the_table(guests: Path, server: Server) -> None:
    """So that a query of one also works on the other."""
    run_dbt(Project(guests), server, ["build"])

    query = (
        "select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = '{}'::regclass and attnum > 0 order by attnum"
    )
    of_table = _read(server, "transformer", query.format("finance.fct_guests"))
    assert of_table
    assert of_table == _read(server, "transformer", query.format("finance.fct_guests__masked"))


def test_a_mask_that_a_snapshot_reveals_is_refused(tmp_path: Path, server: Server) -> None:
    """dbt copies the time of a change into columns of its own, and a hash of the key can be compared with guesses."""
    settings = {name: setting for name, (setting, _, _) in REVEALED.items()} | KEPT
    snapshots = "".join(
        f"\n  - {{name: {name}, relation: ref('stays'), config: {{schema: finance, {setting}}}}}" for name, setting in settings.items()
    )
    files = {
        "models/raw/stays.sql": "{{ config(meta={'rls': {'private': true}}) }}"
        " select 'UA'::text as hotel, 'g1'::text as guest, 'Ada'::text as name, timestamp '2024-05-01' as changed_at",
        "snapshots/_snapshots.yml": f"snapshots:{snapshots}\n",
    }
    directory = dbt_projects.make(tmp_path / "revealed", files)

    results = {result.name: result for result in run_dbt(Project(directory), server, ["build"])}

    assert "success" == results["stays"].status, results["stays"].message
    for name, (_, hidden, missing) in REVEALED.items():
        assert hidden in results[name].message, results[name].message
        assert f"can be read or guessed from what dbt makes of it; also mask {missing}" in results[name].message
    assert {"success"} == {results[name].status for name in KEPT}


def test_a_mask_that_hides_nothing_is_refused(tmp_path: Path, server: Server) -> None:
    """Or that hides a column which policies need; with the model and what to write."""
    models = {
        f"models/finance/fct_{number}.sql": "{{ config(contract={'enforced': false}) }} select 'UA'::text as hotel, 'Ada'::text as name"
        for number in range(len(WRONG))
    }
    models["models/finance/fct_private.sql"] = models["models/finance/fct_0.sql"]
    models["models/finance/fct_view.sql"] = "{{ config(materialized='view') }} select 'UA'::text as hotel"
    declared = "".join(
        f"\n  - {{name: fct_{n}, config: {{meta: {{rls: {{tenant_column: hotel}}, {mask}}}}}}}" for n, mask in enumerate(WRONG)
    )
    declared += "\n  - {name: fct_private, config: {meta: {rls: {private: true}, masked: [name]}}}"
    declared += "\n  - {name: fct_view, config: {contract: {enforced: false}, meta: {rls: {shared: true}, masked: [hotel]}}}"
    directory = dbt_projects.make(tmp_path / "wrong", {**models, "models/finance/_models.yml": f"models:{declared}\n"})

    messages = {result.name: result.message for result in run_dbt(Project(directory), server, ["build"]) if result.has_failed}

    for number, fault in enumerate(WRONG.values()):
        assert f"fct_{number} (models/finance/fct_{number}.sql): {fault}" in messages[f"fct_{number}"]
    assert "meta.masked hides columns from readers, but readers cannot see a private relation" in messages["fct_private"]
    assert "meta.masked is for tables; mask the columns in the tables that the view reads" in messages["fct_view"]


def test_access_is_masked_or_not(server: Server, intern: str, tmp_path: Path) -> None:
    """A role that had both would see everything."""
    app = App(given_project_dir=tmp_path)
    app.server = server

    def grant(*arguments: str) -> Report:
        return cast("Report", main.cli.main(args=["access", "grant", *arguments], standalone_mode=False, obj=app))

    assert "became_reader" in cast("dict[str, object]", grant(intern, "HA", "--masked").data)
    with pytest.raises(
        AccessError, match=f"^{intern}: is a masked reader, and would see masked columns; run `revoke dpe_masked_reader from "
    ):
        grant(intern, "HA")
    with server.connect("admin") as connection:
        connection.execute(sql.SQL("revoke dpe_masked_reader from {}").format(sql.Identifier(intern)))
    assert {"became_reader": True}.items() <= cast("dict[str, object]", grant(intern, "HA").data).items()
    with pytest.raises(AccessError, match=f"^{intern}: is a reader, and sees masked columns; run `revoke dpe_reader from {intern}` first"):
        grant(intern, "UA", "--masked")


STAYS = {
    "models/finance/fct_stays.sql": """
        {{ config(materialized='table', contract={'enforced': false}, meta={'rls': {'tenant_column': 'hotel'}}) }}
        select 1 as id, 'UA'::text as hotel union all select 2, 'UA' union all select null, 'UA'
        """,
    "models/finance/_stays.yml": """
        models:
          - name: fct_stays
            columns:
              - name: id
                data_tests:
                  - not_null: {config: {meta: {rule: STAY-1, on_failure: quarantine, quarantine: {max_rows: 9}}}}
        """,
}
# What a reader creates from published relations, in a session that stays open.
OF_READERS = (
    "create temporary view rooms as select room from finance.fct_guests",
    "create temporary view guests as select * from finance.fct_guests__masked",
    "create temporary view bad_stays as select * from finance.fct_stays__quarantine",
)


def test_what_readers_build_on_masked_views_and_quarantines_stops_no_build(guests: Path, server: Server, intern: str) -> None:
    """Plain dbt replaces views and quarantines, and removes columns or changes their types: as with tables, what was built on them is dropped."""
    dbt_projects.write(guests, STAYS)
    builds = (
        "{kind: incremental, with_room: true}",
        "{kind: incremental, with_room: true, room_type: bigint}",
        "{kind: incremental, masked: [name]}",
        "{kind: incremental, masked: []}",
    )
    with server.connect(intern, autocommit=True) as session:
        for number, variables in enumerate(builds):
            if number == len(builds) - 1:
                dbt_projects.write(guests, {"models/finance/_stays.yml": "models: []\n"})
            results = run_dbt(_given(guests, variables), server, ["run"])
            assert [] == [result.message for result in results if result.has_failed]
            if number < len(builds) - 1:
                session.execute("drop view if exists guests, bad_stays, rooms")
                for statement in OF_READERS[max(0, number - 1) :]:
                    session.execute(statement.encode())
    assert _read(server, intern, "select from finance.fct_stays__quarantine") is None
