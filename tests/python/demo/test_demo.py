"""The project itself, end to end, as with `make demo`: a year of flights and weather, to tables of which each tenant sees its part."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from psycopg import sql
from support import demo_project, guides
from support.demo_project import WeatherApi, dpe, dpe_here, variables_of
from support.long_tests import LONG
from support.result_schemas import check

from dpe_cli.server.contexts import admin_context
from dpe_cli.server.programs import wheel_programs
from dpe_cli.server.server import Server

FLIGHTS_OF_CARRIERS = {
    "UA": 58_665,
    "B6": 54_635,
    "EV": 54_173,
    "DL": 48_110,
    "AA": 32_729,
    "MQ": 26_397,
    "US": 20_536,
    "9E": 18_460,
    "WN": 12_275,
    "VX": 5_162,
    "FL": 3_260,
    "AS": 714,
    "F9": 685,
    "YV": 601,
    "HA": 342,
    "OO": 32,
}
HOURS_OF_AIRPORTS = {"EWR": 6_266, "JFK": 6_935, "LGA": 6_285}
ROWS = {
    "staging.flights": 336_776,
    "staging.weather": 26_115,
    "staging.planes": 3_322,
    "staging.airports": 1_458,
    "staging.airlines": 16,
    "staging.observations": 26_115,
    "staging.hourly_departures": 19_486,
    "staging.stations": 3,
    "marts.fct_flights": 336_776,
    "marts.dim_carriers": 16,
    "marts.dim_airports": 1_462,
    "marts.dim_planes": 3_322,
    "marts.fct_departure_weather": 19_486,
    "marts.fct_weather_impact": 15,
    "marts.dim_weather_stations": 3,
}
# What the faulty month is part of.
FLIGHTS = "fct_flights"
# What protects each relation: policies with their expressions, and the options of views.
PROTECTION = """
    select
        nspname, relname, relkind, relrowsecurity, relforcerowsecurity, reloptions,
        polname, polroles::regrole[]::text, polcmd, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
    from pg_class
    inner join pg_namespace on pg_namespace.oid = relnamespace
    left join pg_policy on polrelid = pg_class.oid
    where nspname in ('staging', 'intermediate', 'marts', 'quality', 'dpe') and relkind in ('r', 'p', 'v', 'm')
    order by 1, 2, 7
"""


@dataclass(frozen=True)
class Demo:
    """A copy of the project and its server, with the output of the first run."""

    directory: Path
    server: Server
    api: WeatherApi
    first_run: subprocess.CompletedProcess[str]

    @property
    def variables(self) -> dict[str, str]:
        """The variables of a shell in which the guide is followed."""
        return variables_of(self.server, DBT_WRITE_JSON="true", **self.api.variables)

    def dpe(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run dpe in the project, on the test's server."""
        return dpe_here(self.directory, self.server, *arguments, **self.api.variables, **variables)

    def dbt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run plain dbt with the variables that `dpe env` prints."""
        command = f'eval "$({sys.executable} -m dpe_cli env)" && exec {Path(sys.executable).parent / "dbt"} "$@"'
        return subprocess.run(
            ["bash", "-euc", command, "dbt", *arguments],
            cwd=self.directory,
            env=variables_of(self.server),
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def demo(module_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Give the project after its first run; tests only read it, or change only what no other test reads."""
    directory = demo_project.copy(tmp_path_factory.mktemp("demo"))
    with demo_project.weather_api(directory.with_name("weather_api.log")) as api:
        yield Demo(directory, module_server, api, dpe(directory, module_server, "run", **api.variables))


@pytest.fixture
def login(demo: Demo, reader: Callable[..., str]) -> Callable[..., str]:
    """Create logins that are readers, with tenants."""
    return partial(reader, demo.server)


def count(server: Server, role: str, relation: str) -> int:
    """Return how many rows of a relation a role sees outside of any context."""
    with server.connect(role) as connection:
        row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*relation.split(".")))).fetchone()
    assert row is not None
    return int(row[0])


def test_the_first_run_succeeds(demo: Demo) -> None:
    """`dpe run` on a new database ends with DPE SUCCESS and exit status 0."""
    assert (0, "DPE SUCCESS") == (demo.first_run.returncode, demo.first_run.stdout.splitlines()[-1]), demo.first_run.stderr


@pytest.mark.parametrize(
    ("rule", "failures"),
    [
        ("DPE-101-01", "2,512"),
        ("DPE-101-02", "458"),
        ("DPE-101-03", "70"),
        ("DPE-101-06", "3"),
        ("DPE-101-07", "1"),
        ("DPE-101-08", "50,094"),
        ("DPE-101-09", "7,602"),
        ("DPE-102-02", "108"),
        ("DPE-102-03", "1"),
        ("DPE-102-06", "3"),
        ("DPE-102-10", "1"),
        ("DPE-102-18", "65"),
    ],
)
def test_real_faults_are_reported_with_their_counts(demo: Demo, rule: str, failures: str) -> None:
    """The summary names each rule that did not hold, as a warning, with the known count."""
    line = next(line for line in demo.first_run.stdout.splitlines() if line.startswith(rule))
    assert [rule, "warn", failures] == line.split()[:3]


def test_every_record_is_traced_to_what_delivered_it(demo: Demo) -> None:
    """Files, an API, a database: no record was lost on its way."""
    hops = {line.split("  ")[0]: line.split()[-1] for line in demo.first_run.stdout.splitlines() if " → " in line}

    assert {"API → met.observations", "database → met.stations", "files → met.hourly_departures", "files → nyc.flights"} <= hops.keys()
    assert {"0"} == set(hops.values())


def test_staging_and_marts_hold_the_known_counts(demo: Demo) -> None:
    """As an administrator: the delivered rows, in staging and published."""
    with demo.server.connect("admin") as connection, admin_context(connection, "auditor"):
        counts = {
            relation: connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*relation.split(".")))).fetchone()
            for relation in ROWS
        }
    assert {relation: (rows,) for relation, rows in ROWS.items()} == counts


def test_each_carrier_sees_its_own_flights(demo: Demo, login: Callable[..., str]) -> None:
    """A login with one tenant sees that tenant's rows; together the tenants see all of them, once."""
    seen = {carrier: count(demo.server, login(carrier), "marts.fct_flights") for carrier in FLIGHTS_OF_CARRIERS}
    assert FLIGHTS_OF_CARRIERS == seen


def test_each_airport_sees_its_own_hours(demo: Demo, login: Callable[..., str]) -> None:
    """A desk of an airport sees its departures and their weather, and no carrier's flight; a carrier sees none of them."""
    seen = {airport: count(demo.server, login(airport), "marts.fct_departure_weather") for airport in HOURS_OF_AIRPORTS}
    assert HOURS_OF_AIRPORTS == seen
    assert (5, 0) == (count(demo.server, login("EWR"), "marts.fct_weather_impact"), count(demo.server, login("EWR"), "marts.fct_flights"))
    assert 0 == count(demo.server, login("UA"), "marts.fct_departure_weather")


def test_a_stranger_sees_no_flight(demo: Demo, login: Callable[..., str]) -> None:
    """A reader without a tenant sees nothing."""
    assert count(demo.server, login(), "marts.fct_flights") == 0


def test_a_reader_sees_reference_data(demo: Demo, login: Callable[..., str]) -> None:
    """Shared tables are for every reader."""
    assert count(demo.server, login("UA"), "marts.dim_airports") == 1_462


def test_an_application_sees_the_tenant_it_chooses(demo: Demo, login: Callable[..., str]) -> None:
    """A login with access to every tenant sees one at a time, and none until it chooses."""
    application = login("*")
    with demo.server.connect(application) as connection:
        without = connection.execute("select count(*) from marts.fct_flights").fetchone()
        connection.execute("select set_config('dpe.tenant_id', 'HA', true)")
        chosen = connection.execute("select count(*) from marts.fct_flights").fetchone()
    assert ((0,), (342,)) == (without, chosen)


def test_a_reader_cannot_widen_what_it_sees(demo: Demo, login: Callable[..., str]) -> None:
    """No setting shows a login another tenant's rows, not even the ones that open a pipeline's context."""
    with demo.server.connect(login("UA")) as connection:
        connection.execute("select set_config('dpe.actor', 'dbt', true), set_config('dpe.tenant_id', 'HA', true)")
        assert (0,) == connection.execute("select count(*) from marts.fct_flights").fetchone()


@pytest.mark.parametrize(("role", "relation"), [("transformer", "marts.fct_flights"), ("loader", "staging.flights")])
def test_an_owner_without_a_context_sees_nothing(demo: Demo, role: str, relation: str) -> None:
    """The role that owns a table is bound by its policies."""
    assert count(demo.server, role, relation) == 0


def test_a_second_run_loads_nothing_new(demo: Demo) -> None:
    """Files are recognised by their content, and repeated records of the API and the database by their key."""
    again = demo.dpe("extract")
    assert (0, "0 rows loaded from 8 sources") == (again.returncode, again.stdout.splitlines()[0].partition(" in ")[0])


def test_nothing_is_wrong_with_its_protection(demo: Demo) -> None:
    """According to the catalog, and to every actor."""
    checked, measured = demo.dpe("rls", "check"), demo.dpe("rls", "matrix")
    assert (0, 0) == (checked.returncode, measured.returncode), checked.stdout + measured.stdout
    assert checked.stdout.strip().endswith("checks found nothing")
    assert measured.stdout.splitlines()[0].endswith("every role sees and writes exactly what is declared")


@LONG
def test_plain_dbt_protects_as_dpe_run_does(demo: Demo) -> None:
    """`dbt build` with the variables of `dpe env`, also --full-refresh, leaves the same policies on every relation."""

    def protection() -> list[object]:
        with demo.server.connect("admin") as connection:
            return list(connection.execute(PROTECTION.encode()).fetchall())

    before = protection()
    built = demo.dbt("build", "--full-refresh")
    assert built.returncode == 0, built.stdout
    assert before == protection()


@LONG
def test_the_guide_of_the_first_run_is_true(demo: Demo) -> None:
    """docs/start/first-run.md, from top to bottom: no command fails, and they print what it says."""
    steps = guides.steps("../start/first-run.md", "Look around")
    commands = [step.command for step in steps]
    (demo.directory / ".venv").symlink_to(sys.prefix, target_is_directory=True)
    try:
        ran = guides.run(guides.echoed(commands), demo.directory, programs=wheel_programs(), variables=demo.variables)
        assert 0 == ran.returncode, ran.stdout + ran.stderr
        printed = dict(zip(commands, guides.printed(ran.stdout), strict=True))
    finally:
        (demo.directory / ".venv").unlink()
        with demo.server.connect("admin") as connection, admin_context(connection, "test"):
            connection.execute("delete from dpe.tenant_access where role_name = to_regrole('ua_desk')")
            connection.execute("reset role; drop role if exists ua_desk")
    shown = [step for step in steps if step.output is not None]
    assert [(step.command, step.output) for step in shown] == [(step.command, printed[step.command]) for step in shown]
    # What the guide says of the others.
    of = {command.partition(" #")[0].rstrip(): text for command, text in printed.items()}
    assert of["dpe run"].startswith("0 rows loaded, ")
    assert ["DPE SUCCESS"] * 3 == [of[command].splitlines()[-1] for command in ("dpe run", "dpe validate", "dpe run --no-publish")]
    assert "nyc.flights " in of["dpe loads list"]
    assert "Done. PASS=" in of["dbt build"]
    assert (demo.directory / "target" / "catalog.json").exists()


@LONG
def test_validate_checks_one_spec(demo: Demo) -> None:
    """`dpe validate TICKET` ends with the verdict."""
    validated = demo.dpe("validate", "DPE-101")
    assert (0, "DPE SUCCESS") == (validated.returncode, validated.stdout.splitlines()[-1]), validated.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["extract", "source:nyc.flight"], 1, "did you mean source:nyc.flights?"),
        (["extract", "--project-dir", "nowhere"], 2, "nowhere"),
        (["validate", "DPE-999"], 1, "DPE-999: no such spec"),
        (["validate", "specs/missing-spec.md"], 1, "cannot be read"),
        (["loads", "show", "999"], 1, "extract 999: is not in the ledger"),
        (["loads", "undo", "999"], 1, "extract 999: is not in the ledger"),
        (["rejects", "show", "999"], 1, "reject 999: is not in the ledger"),
        (["run", "no_such_model"], 1, "no_such_model"),
        (["nonsense"], 1, "nonsense"),
    ],
)
def test_wrong_input_gets_one_clear_message(demo: Demo, arguments: list[str], status: int, says: str) -> None:
    """On standard error, with the right exit status and without a traceback."""
    refused = demo.dpe(*arguments)
    assert (status, True, False) == (refused.returncode, says in refused.stderr, "Traceback" in refused.stderr), refused.stderr


@pytest.mark.parametrize("command", [["run"], ["extract"], ["validate"], ["loads", "list"], ["rejects", "list"], ["bootstrap"]])
def test_a_server_that_is_not_running_is_reported(demo: Demo, command: list[str]) -> None:
    """No command shows a traceback for a server that does not answer."""
    missing = replace(demo.server, host=str(demo.directory))
    refused = dpe_here(demo.directory, missing, *command)
    assert (1, True, False) == (refused.returncode, "is not reachable" in refused.stderr, "Traceback" in refused.stderr), refused.stderr


@dataclass(frozen=True)
class FaultyMonth:
    """The results of a faulty delivery, and of the corrected one after it."""

    faulty_run: subprocess.CompletedProcess[str]
    seen_meanwhile: dict[str, int]
    rejects: subprocess.CompletedProcess[str]
    corrected_run: subprocess.CompletedProcess[str]


def faulty(month: bytes) -> bytes:
    """Return a month's file with shifted columns, duplicated rows, and an unknown carrier."""
    header, *lines = gzip.decompress(month).decode().splitlines()
    carrier = header.split(",").index("carrier")
    damaged = [header]
    for number, line in enumerate(lines):
        fields = line.split(",")
        if number % 700 == 5:
            fields = [*fields[1:], fields[0]]
        if number % 5000 == 7:
            fields[carrier] = "ZZ"
        damaged.append(",".join(fields))
        if number % 3000 == 11:
            damaged.append(line)
    return gzip.compress("\n".join([*damaged, ""]).encode())


@pytest.fixture(scope="module")
def faulty_month(demo: Demo) -> FaultyMonth:
    """Deliver June with faults, and then corrected; at the end everything is as before."""
    june = demo.directory / "data" / "nyc_flights" / "flights" / "2013-06.csv.gz"
    original = june.read_bytes()
    june.write_bytes(faulty(original))
    faulty_run = demo.dpe("run", "--no-docs", FLIGHTS)
    seen = {relation: visible(demo.server, relation) for relation in ("marts.fct_flights", "staging.flights")}
    rejects = demo.dpe("rejects", "list", "--output", "json")
    june.write_bytes(original)
    return FaultyMonth(faulty_run, seen, rejects, demo.dpe("run", "--no-docs", FLIGHTS))


def visible(server: Server, relation: str) -> int:
    """Return how many rows of a relation the administrator sees."""
    with server.connect("admin") as connection, admin_context(connection, "auditor"):
        [(rows,)] = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*relation.split(".")))).fetchall()
    return int(rows)


@LONG
def test_a_faulty_month_is_caught_and_not_published(faulty_month: FaultyMonth) -> None:
    """The rule is named, and readers still see the previous version."""
    run = faulty_month.faulty_run
    assert 1 == run.returncode, run.stderr
    assert "- rule DPE-101-05 failed: flights_are_scheduled_once (10 failing)" in run.stdout.partition("\nDPE FAILED\n")[2]
    assert ROWS["marts.fct_flights"] == faulty_month.seen_meanwhile["marts.fct_flights"]


@LONG
def test_a_faulty_month_loses_nothing(faulty_month: FaultyMonth) -> None:
    """Its shifted records are rejects with their lines; its other rows are in staging, ten of them twice."""
    rejects = json.loads(faulty_month.rejects.stdout)
    assert {("nyc.flights", "data/nyc_flights/flights/2013-06.csv.gz", "22P02")} == {
        (reject["source"], reject["location"], reject["sqlstate"]) for reject in rejects
    }
    assert ROWS["staging.flights"] + 10 == faulty_month.seen_meanwhile["staging.flights"] + len(rejects)


@LONG
def test_the_corrected_month_recovers_automatically(demo: Demo, faulty_month: FaultyMonth) -> None:
    """It replaces the faulty one, without having to undo anything."""
    run = faulty_month.corrected_run
    assert (0, "DPE SUCCESS") == (run.returncode, run.stdout.splitlines()[-1]), run.stderr
    assert ROWS == {relation: visible(demo.server, relation) for relation in ROWS}


@LONG
def test_rules_of_all_dimensions_have_a_history(demo: Demo, faulty_month: FaultyMonth) -> None:
    """For each run, including plain dbt's; the rule that failed shows for how long."""
    assert faulty_month.corrected_run.returncode == 0
    rules = json.loads(demo.dpe("rules", "--output", "json").stdout)
    check("rules", rules)
    check("rejects list", json.loads(faulty_month.rejects.stdout))
    assert {"completeness", "uniqueness", "validity", "accuracy", "consistency", "timeliness"} == {rule["dimension"] for rule in rules}
    shown = json.loads(demo.dpe("rules", "show", "DPE-101-05", "--output", "json").stdout)
    assert ["pass", "fail", "pass"] == [shown["runs"][number]["status"] for number in (0, -2, -1)]
    assert 10 == len([row for row in shown["rows"] if row["resolved_at"]])
