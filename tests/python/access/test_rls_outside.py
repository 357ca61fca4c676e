"""Ways to bypass the policies from outside dpe's schemas: each is shown to be a leak, found by `dpe rls check`, and closed by its fix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from conftest import Cluster, numbers
from psycopg import sql
from support import single_check
from support.long_tests import LONG
from support.rls_leaks import COUNT, DEFINER, LEAK_OF_A_TYPE, LEAKS, NO_LEAKS, OF_APPLICATIONS, OWN_AFFAIRS, PROTECTED, UNMASKED, Leak

from dpe_cli.access import checks
from dpe_cli.access.checks import Finding
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

REFUSALS = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.ProhibitedSqlStatementAttempted,
    psycopg.errors.UndefinedObject,
)
SCHEMAS = ("dpe", "raw", "core", "finance", "quality", "finance__next")


@dataclass(frozen=True)
class Place:
    """A database with a protected table, and the roles that try to read it."""

    server: Server
    roles: dict[str, str]

    def fill(self, statements: str) -> bytes:
        """Insert the names of the roles and the address of the server into statements."""
        server = self.server
        return statements.format(**self.roles, host=server.host, port=server.port, database=server.database).encode()


@pytest.fixture(scope="module")
def place(any_cluster: Cluster) -> Iterator[Place]:
    """Give a place on each version: `ua` may see two orders, `ha`, who owns a schema, one, and `intern` masked ones of UA."""
    roles = {name: f"{name}_{next(numbers)}" for name in ("ua", "ha", "intern")}
    place: Place
    with any_cluster.new_database() as server:
        place = Place(server, roles)
        with server.connect("admin") as connection:
            connection.execute(PROTECTED.encode())
            connection.execute(
                place.fill(
                    "create role {ua} login in role dpe_reader; create role {ha} login in role dpe_reader;"
                    "create role {intern} login in role dpe_masked_reader;"
                    "create schema sandbox authorization {ha}; grant usage on schema sandbox to public"
                )
            )
            connection.commit()
            with admin_context(connection, "test"):
                for name, tenant in (("ua", "UA"), ("ha", "HA"), ("intern", "UA")):
                    connection.execute("insert into dpe.tenant_access values (%s, %s)", [roles[name], tenant])
        yield place
        with server.connect("admin", autocommit=True) as connection:
            connection.execute(place.fill("drop owned by {ua}, {ha}, {intern}; drop role {ua}, {ha}, {intern}"))


@pytest.fixture(scope="module")
def session(place: Place) -> Iterator[psycopg.Connection[Any]]:
    """Open an administrator's session on each version."""
    with place.server.connect("admin") as session:
        yield session


@pytest.fixture
def connection(session: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """Give an administrator's transaction, which is rolled back."""
    yield session
    session.rollback()


def _seen(connection: psycopg.Connection[Any], role: str, statements: str) -> object:
    """Return what a role sees, or that it is refused."""
    try:
        with connection.transaction():
            connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
            *others, last = statements.split("; ")
            for statement in others:
                connection.execute(statement.encode())
            cursor = connection.execute(last.encode())
            seen = cursor.fetchone() if cursor.description else None
            raise psycopg.Rollback
    except REFUSALS:
        return "refused"
    return seen


def _found(connection: psycopg.Connection[Any], *, judged: tuple[str, ...] | None = None) -> list[Finding]:
    """Run the checks as the pipeline, which is not a superuser."""
    connection.execute("set local role dpe_transformer")
    found = checks.check(connection, SCHEMAS, judged=judged)
    connection.execute("reset role")
    return found


def _found_by(check_id: str, connection: psycopg.Connection[Any]) -> list[Finding]:
    """Run a single check, as `_found` runs all of them."""
    connection.execute("set local role dpe_transformer")
    found = single_check.findings(connection, check_id, SCHEMAS)
    connection.execute("reset role")
    return found


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_what_bypasses_the_policies_is_found(place: Place, connection: psycopg.Connection[Any], leak: Leak) -> None:
    """It shows a reader what it must not see; its check finds it, and if the fix is a statement, that closes the leak."""
    reader = place.roles[leak.reader]
    read_by = place.fill(leak.read_by).decode()
    connection.execute(place.fill(leak.made_by))
    assert leak.seen == _seen(connection, reader, read_by)

    of_check = _found_by(leak.check_id, connection)

    assert of_check
    fixes = [finding.fix for finding in of_check if finding.fix.startswith(("alter ", "drop ", "revoke "))]
    for fix in fixes:
        connection.execute(fix.partition(", or ")[0].partition("; ")[0].encode())
        assert leak.seen != _seen(connection, reader, read_by)
    assert not fixes or [] == _found_by(leak.check_id, connection)


def test_a_function_that_only_a_type_may_call_is_found(place: Place, connection: psycopg.Connection[Any]) -> None:
    """A type calls it for any role that uses the type, though no role has EXECUTE on it."""
    connection.execute(place.fill(LEAK_OF_A_TYPE.made_by))

    assert LEAK_OF_A_TYPE.seen == _seen(connection, place.roles["ua"], LEAK_OF_A_TYPE.read_by)
    assert _found_by(LEAK_OF_A_TYPE.check_id, connection)


def test_a_collation_by_which_different_texts_are_equal_is_found(place: Place, connection: psycopg.Connection[Any]) -> None:
    """If the server has such a collation: a reader of UA would see the rows of ua."""
    try:
        connection.execute("create collation public.any_case (provider = icu, locale = 'und-u-ks-level1', deterministic = false)")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this build of PostgreSQL has no ICU")
    connection.execute(
        "drop view finance.fct_orders__masked, finance.orders_seen; drop policy dpe_system on finance.fct_orders;"
        "drop policy dpe_admin on finance.fct_orders; drop policy dpe_reader on finance.fct_orders; drop policy dpe_mask on finance.fct_orders;"
        "alter table finance.fct_orders alter column shop type text collate public.any_case;"
        "create policy dpe_system on finance.fct_orders to dpe_transformer using (shop = any ((select dpe.visible_tenants())::text[]));"
        "create policy dpe_reader on finance.fct_orders for select to dpe_reader using (shop = any ((select dpe.visible_tenants())::text[]));"
        "comment on policy dpe_system on finance.fct_orders is 'tenant_column shop'; insert into finance.fct_orders values (4, 'ua', 40)"
    )

    assert (3,) == _seen(connection, place.roles["ua"], COUNT)
    assert _found_by("RLS065", connection)


def test_each_function_of_a_reader_is_checked_once(place: Place, connection: psycopg.Connection[Any]) -> None:
    """However many call each other: otherwise a second with a few would be an hour with more, and stop each run."""
    calls = "; ".join(
        f"create function sandbox.f{number}() returns integer language sql as 'select 1';"
        f" create function sandbox.g{number}() returns integer language sql begin atomic select {call}; end"
        for number, call in ((number, f"sandbox.f{number}() + sandbox.g{number - 1}()" if number else "1") for number in range(200))
    )
    connection.execute(place.fill(f"set local role {{ha}}; {calls}; reset role"))
    connection.execute(
        "create function public.over() returns integer language sql security definer begin atomic select sandbox.g199(); end"
    )
    catalog = ",".join(checks._expressions(name) for name in checks.CATALOG)
    arguments = [list(SCHEMAS), [], [], list(SCHEMAS)]

    reached = psycopg.RawCursor(connection).execute(
        f"with {catalog} select count(*), count(distinct (class_id, object_id, is_of_protected, is_root)) from reached".encode(), arguments
    )

    assert (rows := reached.fetchone()) is not None
    assert rows[0] == rows[1] < 1000
    assert ["RLS043"] == [finding.check_id for finding in _found(connection)]


@pytest.mark.parametrize("leak", [leak for leak in LEAKS.values() if leak.check_id == "RLS056"], ids=["view", "rule"])
def test_a_reader_cannot_remove_a_mask(place: Place, connection: psycopg.Connection[Any], leak: Leak) -> None:
    """Its view or rule has its privileges, but the tenants of the masked reader that uses it, which sees no rows through it."""
    connection.execute(place.fill(leak.made_by.removeprefix(UNMASKED)))

    assert (None,) == _seen(connection, place.roles["intern"], place.fill(leak.read_by).decode())
    assert {"warning"} >= {finding.severity for finding in _found(connection)}


# A masked reader makes the functions of the policies run as different roles: as an accomplice that has no tenant, and as itself.
ROW_BY_ROW = (
    "select one.* from (values (0), (1), (2), (3)) as numbers (number) left join lateral"
    " (select * from {relation} as found where found.order_id = numbers.number offset 0) as one on true"
)
ACCOMPLICE = f"""
    create role accomplice in role dpe_reader; create role second in role dpe_reader; grant second to {{intern}};
    create schema lent authorization accomplice; grant usage on schema lent to public;
    set local role accomplice;
    create view lent.seen as select * from finance.fct_orders; grant select on lent.seen to public;
    create function lent.first() returns refcursor language plpgsql security definer as $$
    declare
        rows refcursor := 'rows';
        ignored record;
    begin
        open rows for {ROW_BY_ROW.format(relation="finance.fct_orders")};
        fetch rows into ignored;
        return rows;
    end $$;
    reset role
"""


def test_a_role_that_changes_within_a_query_removes_no_mask(place: Place, connection: psycopg.Connection[Any]) -> None:
    """The mask and the tenants are evaluated together, not for one role first and for another one later."""
    connection.execute(place.fill(ACCOMPLICE))
    intern = sql.SQL("set local role {}").format(sql.Identifier(place.roles["intern"]))

    connection.execute(intern)
    connection.execute("select lent.first()")
    by_cursor = connection.execute("fetch all from rows").fetchall()
    connection.execute("set local role second")
    connection.execute(f"declare more cursor for {ROW_BY_ROW.format(relation='lent.seen')}".encode())
    connection.execute("fetch 1 from more")
    connection.execute(intern)
    by_view = connection.execute("fetch all from more").fetchall()

    assert {None} == {value for row in (*by_cursor, *by_view) for value in row}


@pytest.mark.parametrize(("made_by", "read_by"), NO_LEAKS.values(), ids=NO_LEAKS)
def test_what_shows_a_reader_its_own_rows_is_not_found(
    place: Place, connection: psycopg.Connection[Any], made_by: str, read_by: str
) -> None:
    """Views with their reader's rights within others, functions that only their owner may call: these are not leaks."""
    connection.execute(place.fill(made_by))

    assert _seen(connection, place.roles["ua"], read_by) in {(2,), (0,), "refused"}
    assert [] == _found(connection)


@pytest.mark.parametrize(("statements", "expected"), OWN_AFFAIRS.items(), ids=[text[:70] for text in OWN_AFFAIRS])
def test_nothing_that_a_reader_may_do_stops_the_others(
    place: Place, connection: psycopg.Connection[Any], statements: str, expected: list[str]
) -> None:
    """Not even with a schema of its own, because an error would stop runs from publishing. Passing on its own rows is a warning."""
    connection.execute(place.fill(f"set local role {{ha}}; {statements}; reset role"))

    found = _found(connection)

    assert set(expected) == {finding.check_id for finding in found}
    assert {"warning"} >= {finding.severity for finding in found}


@pytest.mark.parametrize(("statements", "expected"), OF_APPLICATIONS.items(), ids=[text[:70] for text in OF_APPLICATIONS])
def test_nothing_that_an_application_may_do_stops_the_others(
    place: Place, connection: psycopg.Connection[Any], statements: str, expected: list[str]
) -> None:
    """One that may act as dpe_tenant. If none may, only a model's hook can have made what belongs to that role, which is an error."""
    connection.execute(
        place.fill(
            "grant select on finance.fct_orders, finance.orders_seen to dpe_tenant; set local role {ha};"
            " grant usage, create on schema sandbox to dpe_tenant; reset role; create role application login in role dpe_tenant"
        )
    )
    connection.execute(place.fill(f"set local role dpe_tenant; {statements}; reset role"))

    found = _found(connection)

    assert set(expected) == {finding.check_id for finding in found}
    assert {"warning"} >= {finding.severity for finding in found}


@LONG
def test_no_text_of_a_reader_is_too_long_for_the_checks(place: Place, connection: psycopg.Connection[Any]) -> None:
    """PostgreSQL's regular expressions refuse texts of more than 2^28 characters, which a reader may write in several places."""
    written = (
        "do $$ declare long constant text := repeat('a', 270000000); begin"
        " execute format('alter role {ha} set application_name = %L', long);"
        " create table sandbox.mine (a text); create policy dpe_system on sandbox.mine;"
        " execute format('comment on policy dpe_system on sandbox.mine is %L', long);"
        " end $$"
    )
    connection.execute(place.fill(f"set local role {{ha}}; {written}; reset role"))

    assert {"warning"} >= {finding.severity for finding in _found(connection)}


def test_a_body_that_is_too_long_to_search_cannot_be_judged(place: Place, connection: psycopg.Connection[Any]) -> None:
    """It is named like one in a string."""
    body = "begin atomic select %L; end"
    written = (
        f"do $$ begin execute format('create function sandbox.f() returns text language sql security definer {body}',"
        " repeat('a', 1000001)); end $$"
    )
    connection.execute(place.fill(written))

    assert _found_by("RLS043", connection)


def test_a_path_of_millions_of_schemas_costs_nothing(place: Place, connection: psycopg.Connection[Any]) -> None:
    """A function with such a path is not taken to be safe."""
    written = (
        "do $$ begin execute format('create function sandbox.f() returns int language sql security definer set search_path = %s as %L',"
        " repeat('a,', 5000000) || 'a', 'select 1'); end $$"
    )
    connection.execute(place.fill(f"set local role {{ha}}; {written}; reset role; set local statement_timeout = '10s'"))

    assert {"warning"} >= {finding.severity for finding in _found(connection)}


def _count(connection: psycopg.Connection[Any], query: str) -> int:
    """Run a query over the checks' common table expressions that returns a number."""
    catalog = ",".join(checks._expressions(name) for name in checks.CATALOG)
    arguments = [list(SCHEMAS), [], [], list(SCHEMAS)]
    [(count,)] = psycopg.RawCursor(connection).execute(f"with {catalog} {query}".encode(), arguments).fetchall()
    return int(str(count))


# What a login makes, what the checks would examine, and how many of these.
TEMPORARY = {
    "search_paths": (
        "create function pg_temp.f() returns int language sql security definer set search_path = a, b, c return 1",
        "select count(*) from path_schemas where scope = 'function'",
        0,
    ),
    "privileges": (
        "create temporary table t (a int, b int, c int); grant select (a, b, c) on t to public",
        "select count(*) from granted_to_others",
        0,
    ),
    # Taken to run strings, instead of searched for calls that do.
    "bodies": ("create function pg_temp.f() returns int language sql return 1", "select count(*) from unjudged", 1),
}


@pytest.mark.parametrize("what", TEMPORARY)
def test_temporary_objects_of_a_login_are_not_examined(place: Place, connection: psycopg.Connection[Any], what: str) -> None:
    """Any login can make thousands, of thousands of names or calls each, and a run would wait for minutes."""
    made_by, query, more = TEMPORARY[what]
    before = _count(connection, query)
    connection.execute(place.fill(f"set local role {{ha}}; {made_by}; reset role"))

    assert before + more == _count(connection, query)


def test_only_the_comments_of_protected_tables_are_read(place: Place, connection: psycopg.Connection[Any]) -> None:
    """Each name in one is a call of a function, and any login can write thousands on a policy of a temporary table."""
    query = "select pg_stat_get_xact_function_calls('dpe.decoded_name(text)'::regprocedure)"

    def calls() -> int:
        [(before,)] = connection.execute(query).fetchall()
        _found(connection)
        [(after,)] = connection.execute(query).fetchall()
        return int(after) - int(before or 0)

    connection.execute("set local track_functions = 'all'")
    without = calls()
    of_login = "create temporary table t (a int); create policy dpe_system on t using (true)"
    connection.execute(
        place.fill(f"set local role {{ha}}; {of_login}; comment on policy dpe_system on t is 'tenant_column a, b, c'; reset role")
    )

    assert without == calls() > 0


def test_a_reader_is_reported_once(place: Place, connection: psycopg.Connection[Any]) -> None:
    """However many functions it creates."""
    for number in range(5):
        connection.execute(place.fill(f"set local role {{ha}}; create function sandbox.f{number}() returns bigint language sql {DEFINER}"))

    [finding] = _found(connection)

    assert finding.subject == place.roles["ha"]
    assert "sandbox.f0(), sandbox.f1(), sandbox.f2() and 2 more" in finding.detail


def test_long_names_of_a_reader_are_cut(place: Place, connection: psycopg.Connection[Any]) -> None:
    """A signature may have 14,000 characters; PostgreSQL could not hold the names of 80,000 such functions at once."""
    mood = f'sandbox."{"m" * 63}"'
    functions = "; ".join(
        f"create function sandbox.f{number}({', '.join([mood] * 100)}) returns bigint language sql {DEFINER}" for number in range(5)
    )
    operator = (
        f"create operator sandbox.=== (rightarg = {mood}, function = sandbox.g); create cast ({mood} as bigint) with function sandbox.g"
    )
    connection.execute(
        place.fill(
            f"set local role {{ha}}; create type {mood} as enum ('fine'); {functions};"
            f" create function sandbox.g({mood}) returns bigint language sql {DEFINER}; {operator}; reset role"
        )
    )

    [finding] = _found(connection)

    assert "and 3 more" in finding.detail
    assert len(finding.detail) < 1000


def test_a_reader_that_grants_its_own_role_stops_no_run(place: Place, connection: psycopg.Connection[Any]) -> None:
    """A reader that can grant its own role makes neither the pipeline nor an administrator a reader that sees too much."""
    connection.execute(
        place.fill(
            "create role team in role dpe_reader; grant team to {ha} with admin option;"
            "create role keeper bypassrls; create role manager; grant dpe_owner, dpe_transformer, dpe_tenant to manager;"
            "set local role {ha}; grant team to dpe_transformer, dpe_owner, dpe_auditor, keeper, manager; reset role"
        )
    )

    assert [] == _found(connection)


def test_extensions_are_not_findings(connection: psycopg.Connection[Any]) -> None:
    """None of those that come with the server: the administrator that installs an extension trusts it."""
    # The schema for extensions that do not name one.
    connection.execute("set local search_path = public")
    names = connection.execute(
        "select name from pg_available_extensions where installed_version is null and name !~ '^(pl|jsonb_pl|hstore_pl|ltree_pl|bool_pl)'"
    ).fetchall()
    for (name,) in names:
        try:
            with connection.transaction():
                connection.execute(sql.SQL("create extension {} cascade").format(sql.Identifier(name)))
        except psycopg.errors.DuplicateObject:
            continue

    assert len(names) > 5
    assert [] == _found(connection)


def test_an_administrator_who_is_not_a_superuser_may_have_an_application(place: Place, connection: psycopg.Connection[Any]) -> None:
    """It owns the database, and other schemas with functions, rules, triggers and event triggers of their own."""
    connection.execute(
        place.fill(
            "create role manager login createrole; grant dpe_owner, dpe_transformer, dpe_tenant to manager;"
            "alter database {database} owner to manager; create role customer;"
            "set local role manager; create schema app; create table app.orders (id integer primary key, seen bigint);"
            "grant usage on schema app to public; grant all on app.orders to customer; create view app.seen as select * from app.orders;"
            "grant select on app.seen to public; create materialized view app.kept as select * from app.orders;"
            "grant select on app.kept to public;"
            "create function app.total() returns bigint language sql security definer begin atomic select count(*) from app.orders; end;"
            "create function app.touch() returns trigger language plpgsql as $$ begin return new; end $$;"
            "create trigger touch before insert on app.orders for each row execute function app.touch();"
            "create rule also as on delete to app.orders do also select 1;"
            "reset role; create schema customers authorization customer"
        )
    )

    assert [] == _found(connection)


@pytest.mark.parametrize(
    ("path", "is_safe"),
    [
        ("pg_catalog, pg_temp", True),
        ("finance, pg_catalog, pg_temp", True),
        ('"of extensions", pg_temp', True),
        ("pg_catalog", False),
        ("''", False),
        ("'pg_catalog, pg_temp'", False),
        ("pg_temp, pg_catalog", False),
        ("pg_catalog, pg_temp, pg_temp", False),
        ("pg_temp, pg_catalog, pg_temp", False),
        ("sandbox, pg_temp", False),
        ("Sandbox, pg_temp", False),
        ('"Sandbox", pg_temp', True),
        ('"with "" quote", pg_temp', False),
        ('"$user", pg_temp', True),
    ],
)
def test_a_search_path_is_compared_with_the_safe_form(
    place: Place,
    connection: psycopg.Connection[Any],
    path: str,
    is_safe: bool,  # noqa: FBT001
) -> None:
    """It ends in pg_temp, which is searched first for types unless it is named, and has no schema in which others may create."""
    connection.execute(
        place.fill(
            'create schema "of extensions"; create schema "with "" quote" authorization {ha};'
            "create function finance.leak() returns text language sql security definer"
        )
        + f" set search_path = {path} as $$ select current_user::text $$; alter function finance.leak() owner to dpe_transformer".encode()
    )

    assert is_safe == ([] == _found_by("RLS028", connection))


def test_a_fix_of_a_search_path_is_safe(connection: psycopg.Connection[Any]) -> None:
    """The finding is gone."""
    connection.execute(
        "create function finance.leak(integer, text) returns text language sql security definer set search_path = pg_catalog"
        " as $$ select current_user::text $$; alter function finance.leak(integer, text) owner to dpe_transformer"
    )
    [finding] = _found_by("RLS028", connection)

    connection.execute(finding.fix.partition("; ")[0].encode())

    assert [] == _found_by("RLS028", connection)


def test_rows_that_a_subscription_writes_are_found(connection: psycopg.Connection[Any]) -> None:
    """They bypass the pipeline. The check cannot read how the subscription connects, and does not need to."""
    connection.execute("create subscription orders_of_others connection 'dbname=elsewhere' publication orders with (connect = false)")
    # The server records this once it is connected; the tests' servers do not send changes to others.
    connection.execute("set local allow_system_table_mods = on")
    connection.execute(
        "insert into pg_subscription_rel (srsubid, srrelid, srsubstate) select oid, 'finance.fct_orders'::regclass, 'r' from pg_subscription"
    )

    assert [("RLS052", "finance.fct_orders")] == [(finding.check_id, finding.subject) for finding in _found(connection)]


def test_a_foreign_key_that_shows_values_is_found(place: Place, connection: psycopg.Connection[Any]) -> None:
    """A reader that does not see an order learns from an error whether it exists."""
    connection.execute(
        "create unique index on finance.fct_orders (order_id); create table public.box (id integer references finance.fct_orders (order_id));"
        "grant insert on public.box to public"
    )
    assert _seen(connection, place.roles["ua"], "insert into public.box values (3)") is None
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        _seen(connection, place.roles["ua"], "insert into public.box values (4)")

    assert {"RLS022", "RLS047"} == {finding.check_id for finding in _found(connection)}


def test_a_part_is_judged_by_itself_and_by_what_bypasses_it(place: Place, connection: psycopg.Connection[Any]) -> None:
    """A build is judged without the published relations, but what a hook left elsewhere is a finding of this build."""
    connection.execute(
        place.fill(
            "create schema finance__next; alter schema finance__next owner to dpe_owner;"
            "alter table finance.fct_orders no force row level security;"
            f"create function public.leak() returns bigint language sql {DEFINER}"
        )
    )

    assert {"RLS002", "RLS042"} == {finding.check_id for finding in _found(connection)}
    assert {"RLS042"} == {finding.check_id for finding in _found(connection, judged=("finance__next",))}

    connection.execute(
        "set local role dpe_transformer; create table finance.copied as select 1 as id; grant select on finance.copied to dpe_reader; reset role"
    )
    assert {"RLS042", "RLS045"} == {finding.check_id for finding in _found(connection, judged=("finance__next",))}


def test_a_plan_shows_what_the_documentation_says(place: Place, connection: psycopg.Connection[Any]) -> None:
    """Estimates of hidden rows unless statistics are off, and how many an index finds unless it begins with the tenant."""
    of_tenant = "select * from finance.fct_orders where shop = 'HA'"
    of_amount = "(analyze, costs off, timing off, summary off) select * from finance.fct_orders where amount = {}"

    def plan(query: str) -> str:
        with connection.transaction():
            connection.execute(place.fill("set local role {ua}"))
            lines = connection.execute(f"explain {query}".encode()).fetchall()
            connection.execute("reset role")
        return "\n".join(line for (line,) in lines)

    def estimate() -> int:
        return int(plan(of_tenant).partition("rows=")[2].partition(" ")[0])

    # As for a table without masks.
    connection.execute(UNMASKED)
    connection.execute("insert into finance.fct_orders select number, 'HA', number from generate_series(100, 2099) as number")
    connection.execute("create index on finance.fct_orders (shop, amount)")
    connection.execute("alter table finance.fct_orders alter column shop set statistics 0; analyze finance.fct_orders")
    assert estimate() < 100
    # It reads at most its own two rows.
    assert "Rows Removed by Filter: 1" not in plan(of_amount.format(100))

    connection.execute("create index on finance.fct_orders (amount)")
    connection.execute("alter table finance.fct_orders alter column shop set statistics -1; analyze finance.fct_orders")
    assert 1900 < estimate() < 2100
    assert "Rows Removed by Filter: 1" in plan(of_amount.format(100))
    assert "Rows Removed" not in plan(of_amount.format(3000))
    assert "Rows Removed by Filter: 2001" in plan("(analyze, costs off, timing off, summary off) select * from finance.fct_orders")
