"""What dbt builds with the project's macros is protected as declared, from the first moment on, however it is built."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from conftest import Cluster, numbers
from psycopg import sql
from support import dbt_projects, schemas
from support.protected_project import PRIVATE_TABLES, PROJECT, SHARED_TABLES, TENANT_TABLES, VIEWS

from dpe_cli.pipeline import checks
from dpe_cli.project.dbt_runner import NodeResult, run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import admin_context, system_context
from dpe_cli.server.server import Server

RUNS = {"first": ["build"], "second": ["build"], "full refresh": ["build", "--full-refresh"]}

ROWS = {
    **dict.fromkeys((*TENANT_TABLES, *PRIVATE_TABLES, *VIEWS), 3),
    **dict.fromkeys(("finance.dim_shops", "quality.large_orders", "quality.small_orders"), 2),
}
SCHEMAS = ("raw", "core", "finance", "quality")

# As PostgreSQL writes them.
IN_CONTEXT = "( SELECT dpe.context_is_open() AS context_is_open)"
OF_TENANT = "(shop = ANY (( SELECT dpe.visible_tenants() AS visible_tenants)::text[]))"
OF_OPEN_TENANTS = f"(( SELECT dpe.every_tenant_is_open() AS every_tenant_is_open) OR {OF_TENANT})"

Policy = tuple[str, str, str, str, str | None]


def _policies(rows: str, *, readers: str | None) -> set[Policy]:
    system = ("dpe_system", "dpe_transformer", "ALL", rows, rows)
    admin = ("dpe_admin", "dpe_owner", "SELECT", rows, None)
    return {system, admin} | ({("dpe_reader", "dpe_masked_reader,dpe_reader", "SELECT", readers, None)} if readers else set())


# For a table with masked columns: a reader's view shows masked readers nothing.
OF_UNMASKED_TENANT = (
    "(shop = ANY (( SELECT CASE WHEN pg_has_role('dpe_masked_reader'::name, 'usage'::text) THEN NULL::text[] "
    "ELSE dpe.visible_tenants() END AS visible_tenants)::text[]))"
)
MASK: Policy = ("dpe_mask", "dpe_reader", "SELECT", OF_UNMASKED_TENANT, None)

POLICIES = {
    **dict.fromkeys(TENANT_TABLES, _policies(OF_OPEN_TENANTS, readers=OF_TENANT)),
    "finance.fct_orders": _policies(OF_OPEN_TENANTS, readers=OF_TENANT) | {MASK},
    **dict.fromkeys(SHARED_TABLES, _policies(IN_CONTEXT, readers="true")),
    **dict.fromkeys(PRIVATE_TABLES, _policies(IN_CONTEXT, readers=None)),
}


@dataclass(frozen=True)
class State:
    """What a run left: the relations' protection, and the rows of each that every role sees; None if it may not read."""

    protection: Mapping[str, str]
    policies: Mapping[str, set[Policy]]
    grants: set[tuple[str, str]]
    seen: Mapping[str, Mapping[str, int | None]]
    masked: tuple[list[tuple[Any, ...]], list[str]]


@dataclass(frozen=True)
class Logins:
    """Readers: the desk of the shop UA, an intern there, who reads masked, and one without a shop."""

    ua_desk: str
    ua_intern: str
    stranger: str


@contextmanager
def _logins(server: Server) -> Iterator[Logins]:
    logins = Logins(f"ua_desk_{next(numbers)}", f"ua_intern_{next(numbers)}", f"stranger_{next(numbers)}")
    with server.connect("admin") as connection:
        for name, group in ((logins.ua_desk, "dpe_reader"), (logins.ua_intern, "dpe_masked_reader"), (logins.stranger, "dpe_reader")):
            connection.execute(sql.SQL("create role {} login in role {}").format(sql.Identifier(name), sql.Identifier(group)))
        connection.commit()
        with admin_context(connection, "test"), connection.cursor() as cursor:
            cursor.executemany("insert into dpe.tenant_access values (%s, 'UA')", [(logins.ua_desk,), (logins.ua_intern,)])
    try:
        yield logins
    finally:
        with server.connect("admin") as connection:
            for name in (logins.ua_desk, logins.ua_intern, logins.stranger):
                connection.execute(sql.SQL("drop owned by {name}; drop role {name}").format(name=sql.Identifier(name)))


@pytest.fixture(scope="module")
def project(scratch: Path) -> Project:
    """Write the project."""
    return Project(dbt_projects.make(scratch / "policies", PROJECT))


@pytest.fixture(scope="module")
def states(project: Project, module_server: Server) -> dict[str, State]:
    """Build the project three times, and inspect what each run left."""
    found: dict[str, State] = {}
    with _logins(module_server) as logins:
        for run, command in RUNS.items():
            results = run_dbt(project, module_server, command)
            assert {"success", "warn"} == {result.status for result in results}, results
            found[run] = _look(module_server, logins)
    return found


@pytest.fixture(params=RUNS)
def state(states: dict[str, State], request: pytest.FixtureRequest) -> State:
    """Give what each run left, in turn."""
    return states[request.param]


def _look(server: Server, logins: Logins) -> State:
    with server.connect("admin", autocommit=True) as connection:
        protection: dict[str, str] = dict(
            connection.execute(
                """
                select
                    format('%%I.%%I', nspname, relname),
                    case
                        when relkind = 'v' then array_to_string(reloptions, ',')
                        else concat_ws(',', case when relrowsecurity then 'enabled' end, case when relforcerowsecurity then 'forced' end)
                    end
                from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace
                where nspname = any(%s) and relkind in ('r', 'p', 'v', 'm', 'f')
                """,
                [list(SCHEMAS)],
            ).fetchall()
        )
        policies: dict[str, set[Policy]] = defaultdict(set)
        for relation, *policy in connection.execute(
            """
            select format('%%I.%%I', schemaname, tablename), policyname, (select string_agg(role, ',' order by role) from unnest(roles) as role), cmd, qual, with_check
            from pg_policies
            where schemaname = any(%s)
            """,
            [list(SCHEMAS)],
        ):
            name, roles, command, using, check = (
                " ".join(statement.split()) if isinstance(statement, str) else statement for statement in policy
            )
            policies[relation].add((name, roles, command, using, check))
        grants = set(
            connection.execute(
                """
                select format('%%I.%%I', table_schema, table_name), grantee || ' ' || privilege_type
                from information_schema.table_privileges
                where table_schema = any(%s) and grantee <> 'dpe_transformer'
                """,
                [list(SCHEMAS)],
            )
        )
    return State(protection, policies, grants, _seen(server, logins), _masked(server, logins.ua_intern))


def _masked(server: Server, login: str) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Return what a masked reader sees through the view, and which columns of the table are denied to it."""
    denied = []
    with server.connect(login, autocommit=True) as connection:
        shown = connection.execute("select order_id, shop, amount from finance.fct_orders__masked order by 1").fetchall()
        for asked in ("amount", "*", "fct_orders::text", "order_id"):
            try:
                connection.execute(f"select {asked} from finance.fct_orders".encode())
            except psycopg.errors.InsufficientPrivilege:
                denied.append(asked)
    return shown, denied


def _seen(server: Server, logins: Logins) -> dict[str, dict[str, int | None]]:
    seen: dict[str, dict[str, int | None]] = {}
    for who, login in {
        "UA": logins.ua_desk,
        "UA, masked": logins.ua_intern,
        "stranger": logins.stranger,
        "owner, no context": "transformer",
    }.items():
        with server.connect(login, autocommit=True) as connection:
            seen[who] = _count_each(connection)
            if who == "stranger":
                # Views with their owner's rights would be fooled by this.
                connection.execute("select set_config('dpe.actor', 'dbt', false)")
                seen["stranger who claims a context"] = _count_each(connection)
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        seen["transformer"] = _count_each(connection)
    with server.connect("transformer") as connection, system_context(connection, actor="test", tenant_id="HA"):
        seen["transformer for HA"] = _count_each(connection)
    with server.connect("admin") as connection, admin_context(connection, "j.doe"):
        seen["administrator"] = _count_each(connection)
    return seen


def _count_each(connection: psycopg.Connection) -> dict[str, int | None]:
    counts: dict[str, int | None] = {}
    for relation in ROWS:
        try:
            with connection.transaction():
                row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*relation.split(".")))).fetchone()
                counts[relation] = row[0] if row else None
        except psycopg.errors.InsufficientPrivilege:
            counts[relation] = None
    return counts


def test_every_relation_is_protected(state: State) -> None:
    """Tables under forced row-level security, views with their reader's rights; and no other relations."""
    tables = dict.fromkeys((*TENANT_TABLES, *SHARED_TABLES, *PRIVATE_TABLES), "enabled,forced")

    views = dict.fromkeys(VIEWS, "security_invoker=true") | {"finance.fct_orders__masked": "security_barrier=true,security_invoker=true"}
    assert tables | views == state.protection


def test_policies_are_those_of_the_declaration(state: State) -> None:
    """Each to a named role; a private table has none for readers."""
    assert POLICIES == state.policies


def test_what_is_published_may_be_read(state: State) -> None:
    """By readers, and only read; private relations are granted only to administrators."""
    relations = {*TENANT_TABLES, *SHARED_TABLES, "finance.orders_seen", "finance.fct_orders__masked"}
    published = {(relation, "dpe_reader SELECT") for relation in relations}
    # For masked relations, except the columns.
    published |= {(relation, "dpe_masked_reader SELECT") for relation in relations - {"finance.fct_orders"}}

    assert published | {(relation, "dpe_owner SELECT") for relation in ROWS} == state.grants


def test_a_tenant_sees_its_own_rows(state: State) -> None:
    """Its own rows of relations with tenants, all rows of shared ones, and nothing else."""
    own = dict.fromkeys((*TENANT_TABLES, "finance.orders_seen", "finance.fct_orders__masked"), 2) | {"finance.dim_shops": 2}

    assert dict.fromkeys(ROWS) | own == state.seen["UA"]
    # Masked readers cannot use a view that reads a masked column.
    assert dict.fromkeys(ROWS) | own | {"finance.orders_seen": None} == state.seen["UA, masked"]


def test_a_masked_reader_sees_no_masked_column(state: State) -> None:
    """Through the view it is null; a query of the table cannot read it."""
    shown, denied = state.masked

    assert [(1, "UA", None), (2, "UA", None)] == shown
    assert ["amount", "*", "fct_orders::text"] == denied


def test_a_stranger_sees_what_is_shared(state: State) -> None:
    """A stranger may read, but was granted no tenant."""
    nothing = dict.fromkeys((*TENANT_TABLES, "finance.orders_seen", "finance.fct_orders__masked"), 0)

    assert dict.fromkeys(ROWS) | nothing | {"finance.dim_shops": 2} == state.seen["stranger"]
    assert state.seen["stranger"] == state.seen["stranger who claims a context"]


def test_the_owner_sees_nothing_without_a_context(state: State) -> None:
    """Policies bind the role that built it like any other."""
    assert dict.fromkeys(ROWS, 0) == state.seen["owner, no context"]


def test_the_transformer_sees_all_in_its_context(state: State) -> None:
    """Or one tenant, in a context for one."""
    of_ha = dict.fromkeys((*TENANT_TABLES, "finance.orders_seen", "finance.fct_orders__masked", "raw.stg_orders"), 1)

    assert ROWS == state.seen["transformer"]
    assert ROWS | of_ha | {"quality.small_orders": 0} == state.seen["transformer for HA"]


def test_an_administrator_sees_all_in_its_context(state: State) -> None:
    """Including what readers may not see."""
    assert ROWS == state.seen["administrator"]


def test_the_tenant_column_is_indexed_once(module_server: Server, states: dict[str, State]) -> None:
    """However often the relation was built."""
    del states
    with module_server.connect("admin") as connection:
        rows = connection.execute(
            """
            select indrelid::regclass::text, count(*)
            from pg_index inner join pg_attribute on attrelid = indrelid and attnum = indkey[0]
            where attname = 'shop' and indrelid::regclass::text ~ '^(finance|core)'
            group by 1
            """
        ).fetchall()

    assert dict.fromkeys(TENANT_TABLES, 1) == dict(rows)


@pytest.mark.parametrize("relation", TENANT_TABLES)
def test_no_row_of_another_tenant_is_written_for_one(module_server: Server, states: dict[str, State], relation: str) -> None:
    """PostgreSQL refuses it, even for the owner of the table."""
    del states
    insert = sql.SQL("insert into {} (order_id, shop) values (4, 'UA')").format(sql.Identifier(*relation.split(".")))
    with (
        module_server.connect("transformer") as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security policy"),
        system_context(connection, actor="test", tenant_id="HA"),
    ):
        connection.execute(insert)


def test_dbt_has_a_context_of_its_own(module_server: Server, states: dict[str, State], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only dbt's variables open it."""
    del states
    for name, value in module_server.environment().items():
        monkeypatch.setenv(name, value)
    count = "select count(*) from finance.fct_orders"
    with psycopg.connect() as connection:
        assert (3,) == connection.execute(count).fetchone()
    monkeypatch.delenv("PGOPTIONS")
    with psycopg.connect() as connection:
        assert (0,) == connection.execute(count).fetchone()


@pytest.mark.parametrize("options", ["-c dpe.actor= ", "-c dpe.actor=dbt -c dpe.tenant_id=UA"])
def test_nothing_is_built_from_rows_that_dbt_cannot_see(
    project: Project, module_server: Server, states: dict[str, State], monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    """Without a context, or for one tenant, dbt would publish tables that lack the others' rows."""
    del states
    monkeypatch.setenv("PGOPTIONS", options)
    results = {result.name: result for result in run_dbt(project, module_server, ["run", "--select", "fct_orders", "fct_added_orders"])}

    assert {"fct_orders": "error", "fct_added_orders": "error"} == {name: result.status for name, result in results.items()}
    assert "no context for every tenant is open, so dbt sees no rows, or only some" in results["fct_orders"].message
    assert "Run dbt as `dpe dbt`" in results["fct_orders"].message
    with module_server.connect("transformer") as connection, system_context(connection, actor="test"):
        assert [(3,), (3,)] == connection.execute(
            "select count(*) from finance.fct_orders union all select count(*) from finance.fct_added_orders"
        ).fetchall()


def test_what_is_protected_already_is_left_alone(project: Project, module_server: Server, states: dict[str, State]) -> None:
    """An incremental model's policies stay from run to run: setting them again would lock out its readers meanwhile."""
    del states
    policies = "select oid from pg_policy where polrelid = 'finance.fct_added_orders'::regclass order by oid"
    with module_server.connect("admin", autocommit=True) as connection:
        before = connection.execute(policies).fetchall()
        run_dbt(project, module_server, ["run", "--select", "fct_added_orders"])

        assert len(before) == 3
        assert before == connection.execute(policies).fetchall()


def test_dbt_shows_how_many_rows_a_table_has(project: Project, module_server: Server, states: dict[str, State]) -> None:
    """Of the statements that build and protect it, the one with the row count is the last whose result dbt sees."""
    del states
    results = run_dbt(project, module_server, ["run", "--select", "dim_shops"])

    assert [("dim_shops", "INSERT 0 2")] == [(result.name, result.message) for result in results]


def test_a_wrong_declaration_is_refused_before_the_work(scratch: Path, module_server: Server, states: dict[str, State]) -> None:
    """Which would take time, and would fail here for another reason."""
    del states
    model = "{{ config(contract={'enforced': false}, meta={'rls': {}}) }} select 1 / 0 as order_id"
    project = Project(dbt_projects.make(scratch / "hopeless", {"models/finance/fct_hopeless.sql": model}))

    (result,) = run_dbt(project, module_server, ["run"])

    assert "write one of {tenant_column: …}" in result.message


BROKEN = {
    "undeclared": ("none", "has to declare who may see it; write meta.rls as {tenant_column: …}, {shared: true}, {private: true}"),
    "two_answers": ("{'tenant_column': 'shop', 'shared': true}", "write one of {tenant_column: …}, {shared: true} and {private: true}"),
    "no_answer": ("{}", "write one of {tenant_column: …}"),
    "not_shared": ("{'shared': false}", "meta.rls is {'shared': False}; write one of"),
    "not_private": ("{'private': false}", "meta.rls is {'private': False}; write one of"),
    "no_tenant": ("{'tenant_column': none}", "meta.rls is {'tenant_column': None}; write one of"),
    "misspelt": ("{'tenant_colum': 'shop'}", "meta.rls is {'tenant_colum': 'shop'}; write one of"),
    "plain_text": ("'shop'", "meta.rls is shop; write one of"),
    "no_tenants": ("{'tenant_column': []}", "meta.rls is {'tenant_column': []}; write one of"),
    "numbered_tenant": ("{'tenant_column': ['shop', 1]}", "meta.rls is {'tenant_column': ['shop', 1]}; write one of"),
    "nameless_role": ("{'role_column': ''}", "meta.rls is {'role_column': ''}; write one of"),
    "half_an_access": ("{'access': {'model': 'x', 'column': 'shop'}}", "{access: {model: …, column: …, role_column: …}}"),
    "misspelt_access": ("{'access': {'model': 'x', 'column': 'shop', 'role_column': 'r', 'keys': 'k'}}", "write one of"),
    "numbered_access": ("{'access': {'model': 'x', 'column': 1, 'role_column': 'r'}}", "write one of"),
    "unknown_access": (
        "{'access': {'model': 'nothing', 'column': 'shop', 'role_column': 'r'}}",
        "meta.rls looks up access in nothing, which is not a model; name one",
    ),
    "ambiguous_access": (
        "{'access': {'model': 'grants', 'column': 'shop', 'role_column': 'r'}}",
        "in grants, which is the name of 2 models; write one of model.shops.grants.v1, model.shops.grants.v2",
    ),
    "no_such_column": ("{'tenant_column': 'shpo'}", "meta.rls names the column shpo; name one of its columns (order_id, shop, word)"),
    "number_column": ("{'tenant_column': 'order_id'}", "compares the column order_id, which is integer; cast it to text"),
    # A domain, whose creator may define more than that it is text.
    "domain_column": (
        "{'tenant_column': 'word'}",
        "compares the column word, which is information_schema.character_data; cast it to text",
    ),
}
# The materialization is the only thing wrong.
UNPROTECTABLE = {"materialized_view": ("{'shared': true}", "a materialized view cannot be protected by policies; make it a table")}
# The schema is the only thing wrong.
MISPLACED = {
    **dict.fromkeys(("dpe_locks", "public", "dpe", "finance__previous"), "is not for models; set another one"),
    "landing": "meta.rls opens it to readers, who cannot use the schema landing, because sources are loaded there; declare {private: true}",
}
MODEL = """
{{{{ config(materialized={kind!r}, schema={schema!r}, contract={{'enforced': false}}, meta={{'rls': {rls}}} if {rls} is not none else {{}}) }}}}
select 1 as order_id, 'UA'::text as shop, 'UA'::information_schema.character_data as word
"""


@pytest.fixture(scope="module")
def broken(scratch: Path, module_server: Server, states: dict[str, State]) -> dict[str, NodeResult]:
    """Build models that declare nothing, or something impossible."""
    del states
    models = {
        f"models/finance/{name}_{kind}.sql": MODEL.format(kind=kind, rls=rls, schema="finance")
        for kind in ("table", "view", "incremental")
        for name, (rls, _) in BROKEN.items()
    }
    models |= {f"models/finance/{name}.sql": MODEL.format(kind=name, rls=rls, schema="finance") for name, (rls, _) in UNPROTECTABLE.items()}
    models |= {f"models/finance/in_{schema}.sql": MODEL.format(kind="table", rls="{'shared': true}", schema=schema) for schema in MISPLACED}
    models["models/raw/_landing__sources.yml"] = """
        sources: [{name: landing, tables: [{name: orders, external: {location: a.csv}, columns: [{name: a, data_type: text}]}]}]
        """
    models["models/raw/_grants.yml"] = "models: [{name: grants, versions: [{v: 1}, {v: 2}]}]"
    models |= {f"models/raw/grants_v{version}.sql": "select 'UA' as shop, 'r' as r" for version in (1, 2)}
    project = Project(dbt_projects.make(scratch / "broken", models))
    return {result.name: result for result in run_dbt(project, module_server, ["build"])}


@pytest.mark.parametrize("kind", ["table", "view", "incremental"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_declaration_fails_its_model(broken: dict[str, NodeResult], name: str, kind: str) -> None:
    """With the model, its file, and what to write."""
    result = broken[f"{name}_{kind}"]

    assert result.has_failed
    assert f"{name}_{kind} (models/finance/{name}_{kind}.sql): " in result.message
    assert BROKEN[name][1] in result.message


@pytest.mark.parametrize("schema", MISPLACED)
def test_a_schema_that_is_not_for_models_is_refused(broken: dict[str, NodeResult], schema: str) -> None:
    """Plain dbt would build it there."""
    result = broken[f"in_{schema}"]

    assert result.has_failed
    assert f"in_{schema} (models/finance/in_{schema}.sql): " in result.message
    assert MISPLACED[schema] in result.message


def test_a_materialized_view_is_refused(broken: dict[str, NodeResult]) -> None:
    """No policy protects it."""
    result = broken["materialized_view"]

    assert result.has_failed
    assert UNPROTECTABLE["materialized_view"][1] in result.message


def test_a_refused_model_leaves_no_relation(broken: dict[str, NodeResult], module_server: Server) -> None:
    """Not even an unfinished one."""
    with module_server.connect("admin") as connection:
        found = connection.execute(
            "select relname from pg_class where relnamespace = 'finance'::regnamespace and relname ~ %s", [f"^({'|'.join(broken)})"]
        ).fetchall()

    assert [] == found


def test_where_no_declaration_is_required_private_is_the_default(states: dict[str, State]) -> None:
    """A reader cannot even enter the schema."""
    assert states["first"].seen["UA"]["core.int_orders"] is None
    assert states["first"].seen["UA"]["raw.stg_orders"] is None


def test_a_changed_declaration_changes_the_policies(scratch: Path, server: Server) -> None:
    """Also for a table that is kept from run to run, to which dbt only adds rows."""
    directory = dbt_projects.make(scratch / "changed", PROJECT)
    run_dbt(Project(directory), server, ["build"])
    models = directory / "models" / "finance" / "_finance__models.yml"
    models.write_text(
        models.read_text().replace(
            "fct_added_orders, config: {meta: {rls: {tenant_column: shop}}", "fct_added_orders, config: {meta: {rls: {private: true}}"
        )
    )

    run_dbt(Project(directory), server, ["run", "--select", "fct_added_orders"])

    with _logins(server) as logins:
        state = _look(server, logins)
    assert POLICIES | {"finance.fct_added_orders": _policies(IN_CONTEXT, readers=None)} == state.policies
    assert ("finance.fct_added_orders", "dpe_reader SELECT") not in state.grants


@pytest.fixture(scope="module")
def watched(cluster_18: Cluster) -> Iterator[Server]:
    """Give a database without any builds, in which readers may already use the schema."""
    with cluster_18.new_database() as server:
        schemas.create(server, "finance", opened=True)
        yield server


class Watch:
    """The observations of a session that polls continuously: each relation's results, without repetitions."""

    def __init__(self, connection: psycopg.Connection, looks: Mapping[str, Callable[[psycopg.Connection], object]]) -> None:
        self.answers: dict[str, list[object]] = {name: [] for name in looks}
        self.count = 0
        self._connection = connection
        self._looks = looks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for name, look in self._looks.items():
                try:
                    answer = look(self._connection)
                except psycopg.Error as error:
                    answer = type(error).__name__
                if self.answers[name][-1:] != [answer]:
                    self.answers[name].append(answer)
                self.count += 1


def _shops(relation: str) -> Callable[[psycopg.Connection], object]:
    query = sql.SQL("select array_agg(distinct shop) from {}").format(sql.Identifier(*relation.split(".")))
    return lambda connection: connection.execute(query).fetchall()[0][0]


def _faults(connection: psycopg.Connection) -> object:
    return checks.check_protection(connection, ("dpe", *SCHEMAS), judged=SCHEMAS).faults


@pytest.mark.parametrize(
    ("relations", "before", "commands"),
    [
        (TENANT_TABLES, ["UndefinedTable"], [["build"], ["build", "--full-refresh"]]),
        # A view is not watched while its table is rebuilt: dbt drops it with the old table, and recreates it later.
        (("finance.orders_seen",), [], [["run", "--select", "orders_seen"]] * 2),
    ],
    ids=["tables", "view"],
)
def test_no_moment_is_unprotected(
    project: Project, watched: Server, relations: tuple[str, ...], before: list[object], commands: list[list[str]]
) -> None:
    """While dbt builds and rebuilds, no reader sees another tenant's row, an unprotected relation, or a missing one."""
    shops = {relation: _shops(relation) for relation in relations}
    with _logins(watched) as logins, ExitStack() as stack:
        reader, owner, admin = (
            stack.enter_context(closing(watched.connect(login, autocommit=True))) for login in (logins.ua_desk, "transformer", "admin")
        )
        with Watch(reader, shops) as tenant, Watch(owner, shops) as stranger, Watch(admin, {"faults": _faults}) as catalog:
            for command in commands:
                assert [] == [result.message for result in run_dbt(project, watched, command) if result.has_failed]

    assert {relation: [*before, ["UA"]] for relation in relations} == tenant.answers
    assert {relation: [*before, None] for relation in relations} == stranger.answers
    assert {"faults": [()]} == catalog.answers
    assert min(tenant.count, stranger.count) > 100
    assert catalog.count > 5
