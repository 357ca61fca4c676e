"""What the kinds of rule find, and what the models of DPE-101 do with difficult flights."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from pathlib import Path

import pytest
from conftest import Cluster
from support import dbt_projects

from dpe_cli.ingest import extract
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.server.contexts import system_context
from dpe_cli.server.server import Server


@dataclass(frozen=True)
class Kind:
    """A kind of rule on some rows: its arguments, the rows, and how many of them fail it."""

    arguments: str
    rows: str
    failures: int


# Each has rows that fail, rows that do not, and nulls.
KINDS = {
    "accepted_length": Kind(
        "{column_name: a, min_value: 2, max_value: 3}", "(values ('ab'), ('abc'), ('é€ß'), ('a'), (''), ('abcd'), (null)) as t (a)", 3
    ),
    "accepted_range": Kind("{column_name: a, min_value: 1, max_value: 9}", "(values (1), (5), (9), (0), (10), (null)) as t (a)", 2),
    # June lacks its last two days, and September all but its last; July and August are not in the delivery.
    "dates_fill_their_months": Kind(
        "{column_name: a}",
        "(select generate_series('2013-06-01', '2013-06-28', interval '1 day')::date union values (date '2013-09-30'), (null)) as t (a)",
        2 + 29,
    ),
    "dates_have_no_gaps": Kind(
        "{column_name: a}", "(values (date '2013-02-27'), ('2013-02-28'), ('2013-03-02'), ('2013-03-05'), (null)) as t (a)", 3
    ),
    "equal_rowcount": Kind("{compare_model: ref('accepted_range_rows')}", "(values (1), (2), (null)) as t (a)", 1),
    "expression_is_true": Kind("{expression: a <= b}", "(values (1, 1), (1, 2), (2, 1), (3, 1), (null, 1)) as t (a, b)", 2),
    # Half a date is not a date: only here a null fails.
    "is_calendar_date": Kind(
        "{year_column: a, month_column: b, day_column: c}",
        "(values (2012, 2, 29), (2013, 12, 31), (2013, 2, 29), (2013, 4, 31), (2013, 13, 1), (2013, 1, 0), (0, 1, 1), (2013, null, 1))"
        " as t (a, b, c)",
        6,
    ),
    "is_clock_time": Kind("{column_name: a}", "(values (0), (2359), (2400), (60), (2401), (-1), (null)) as t (a)", 3),
    "matches_pattern": Kind(
        "{column_name: a, pattern: '^[A-Z0-9]{2}$'}", "(values ('UA'), ('9E'), ('ua'), ('UAL'), (''), (null)) as t (a)", 3
    ),
    "is_castable": Kind(
        "{column_name: a, data_type: 'numeric(4, 1)'}", "(values ('1'), ('123.4'), (' 5 '), ('12345'), ('x'), (''), (null)) as t (a)", 3
    ),
    "is_email": Kind(
        "{column_name: a}",
        "(values ('a@b.de'), ('first.o''last+tag@sub.example.org'), ('a@b'), ('@b.de'), ('a b@c.de'), ('a@-b.de'), (''), (null)) as t (a)",
        5,
    ),
    "is_iso_code": Kind(
        "{column_name: a, standard: country}", "(values ('DE'), ('US'), ('SS'), ('UK'), ('de'), ('USA'), (''), (null)) as t (a)", 4
    ),
    "is_uuid": Kind(
        "{column_name: a}",
        "(values ('123e4567-e89b-12d3-a456-426614174000'), ('123E4567-E89B-12D3-A456-426614174000'),"
        " ('123e4567e89b12d3a456426614174000'), ('x'), (null)) as t (a)",
        2,
    ),
    "not_null_proportion": Kind(
        "{column_name: a, at_least: 0.6, group_by_columns: [b]}",
        "(values (1, 'x'), (2, 'x'), (null, 'x'), (1, 'y'), (null, 'y'), (null, 'z')) as t (a, b)",
        2,
    ),
    "required_fields": Kind("{columns: [a, b]}", "(values (1, 'x'), (1, ''), (null, 'y'), (2, null), (null, null)) as t (a, b)", 3),
    "row_count_against_published": Kind("{max_decrease: 0}", "(values (1), (null)) as t (a)", 0),
    "row_count_between": Kind("{min_value: 3, max_value: 9}", "(values (1), (null)) as t (a)", 1),
    "sequential_values": Kind(
        "{column_name: a, group_by_columns: [b]}",
        "(values (1, 'x'), (2, 'x'), (4, 'x'), (null, 'x'), (7, 'y'), (7, 'y'), (8, 'y')) as t (a, b)",
        2,
    ),
    "allowed_transitions": Kind(
        "{column_name: state, entity_column: id, order_column: n, transitions: [[new, paid], [paid, shipped]]}",
        "(values (1, 1, 'new'), (1, 2, 'paid'), (1, 3, 'paid'), (1, 4, 'shipped'), (2, 1, 'new'), (2, 2, 'shipped'),"
        " (3, 1, 'paid'), (3, 2, null), (3, 3, 'new'), (null, 1, 'new'), (null, 2, 'shipped')) as t (id, n, state)",
        2,
    ),
    "arrives_within": Kind(
        "{column_name: a, event_column: b, interval: 2 days}",
        "(values (timestamp '2024-01-03', timestamp '2024-01-01'), ('2024-01-03 00:00:01', '2024-01-01'), (null, '2024-01-01'),"
        " ('2024-01-09', null)) as t (a, b)",
        1,
    ),
    "equal_sets": Kind(
        "{column_name: a, compare_model: ref('accepted_range_rows')}", "(values (1), (5), (9), (0), (0), (11), (null)) as t (a)", 2
    ),
    "equal_sums": Kind("{column_name: a, compare_model: ref('accepted_range_rows')}", "(values (20), (4), (null)) as t (a)", 1),
    "mutually_exclusive_ranges": Kind(
        "{lower_bound_column: a, upper_bound_column: b, partition_by: c}",
        "(values (1, 3, 'x'), (3, 5, 'x'), (4, 6, 'x'), (1, 2, 'y'), (9, 8, 'y'), (10, null, 'y')) as t (a, b, c)",
        3,
    ),
    "not_in_the_future": Kind(
        "{column_name: a, tolerance: 10 minutes}",
        "(values (now()), (now() - interval '1 hour'), (now() + interval '5 minutes'), (now() + interval '1 hour'), (null)) as t (a)",
        1,
    ),
    "recency": Kind(
        "{datepart: day, field: a, interval: 2, group_by_columns: [b]}",
        "(values (now(), 'x'), (now() - interval '5 days', 'x'), (now() - interval '5 days', 'y'), (null, 'z')) as t (a, b)",
        2,
    ),
    "reconciles_with": Kind(
        "{compare_model: ref('not_null_proportion_rows'), group_by_columns: [b]}",
        "(values (1, 'x'), (null, 'x'), (3, 'x'), (1, 'y'), (1, 'w')) as t (a, b)",
        3,
    ),
    "relationships_where": Kind(
        "{column_name: a, to: ref('accepted_range_rows'), field: a, from_condition: b > 0, to_condition: a < 10}",
        "(values (1, 1), (10, 1), (7, 1), (7, 0), (null, 1)) as t (a, b)",
        2,
    ),
    "within_n_standard_deviations": Kind(
        "{date_column: a}",
        "(select date '2024-01-01' + n as a from generate_series(0, 7) as n, generate_series(1, 1 + n % 2)"
        " union all select date '2024-01-09' from generate_series(1, 20) union all select null) as t",
        1,
    ),
    "not_before": Kind("{column_name: a, earlier_column: b}", "(values (2, 1), (1, 1), (1, 2), (1, null), (null, 1)) as t (a, b)", 1),
    # Two combinations occur twice; one of them contains a null.
    "unique_combination_of_columns": Kind(
        "{combination_of_columns: [a, b]}", "(values (1, 'x'), (1, 'y'), (2, 'x'), (2, 'x'), (null, 'z'), (null, 'z')) as t (a, b)", 2
    ),
}
# The kinds at their limits.
LIMITS = {
    "a value is the same however it is written": (
        "reconciles_with",
        Kind(
            "{compare_model: ref('accepted_range_rows'), group_by_columns: [a]}", "(values (1.00), (5), (9), (0), (10), (null)) as t (a)", 0
        ),
    ),
    "a sum of nothing is 0": (
        "reconciles_with",
        Kind("{compare_model: ref('accepted_range_rows'), column_name: a, tolerance: 24}", "(values (null::integer)) as t (a)", 1),
    ),
    "a period without a value sums to 0": (
        "within_n_standard_deviations",
        Kind(
            "{date_column: a, column_name: b}",
            "(select date '2024-01-01' + n as a, 5 + n % 2 as b from generate_series(0, 7) as n"
            " union all select date '2024-01-09', null) as t",
            1,
        ),
    ),
    "a constant has no deviation": (
        "within_n_standard_deviations",
        Kind("{date_column: a}", "(select date '2024-01-01' + n as a from generate_series(0, 8) as n) as t", 0),
    ),
    "transitions by the state before": (
        "allowed_transitions",
        Kind(
            "{column_name: a, entity_column: b, order_column: c, transitions: {x: [y, z], y: z}}",
            "(values ('x', 1, 1), ('y', 1, 2), ('z', 1, 3), ('x', 1, 4), ('z', 1, 5)) as t (a, b, c)",
            1,
        ),
    ),
    "no transition is allowed": (
        "allowed_transitions",
        Kind(
            "{column_name: a, entity_column: b, order_column: c, transitions: []}",
            "(values ('x', 1, 1), ('x', 1, 2), ('y', 1, 3)) as t (a, b, c)",
            1,
        ),
    ),
    "dbt has quoted a column": (
        "accepted_range",
        Kind("""{column_name: '"A"', min_value: 2}""", '(values (1), (2)) as t ("A")', 1),
    ),
    "a quarter ago": (
        "recency",
        Kind("{datepart: quarter, field: a, interval: 1}", "(values (now() - interval '2 months')) as t (a)", 0),
    ),
    "quarters follow each other": (
        "sequential_values",
        Kind("{column_name: a, datepart: quarter}", "(values (date '2024-01-01'), ('2024-04-01'), ('2024-10-01')) as t (a)", 1),
    ),
    "a day of big numbers": (
        "is_calendar_date",
        Kind(
            "{year_column: a, month_column: b, day_column: c}",
            "(values (2024::bigint, 2::bigint, 29::bigint), (2023, 2, 29)) as t (a, b, c)",
            1,
        ),
    ),
    "a time is of its day": (
        "dates_have_no_gaps",
        Kind("{column_name: a}", "(values (timestamp '2024-01-01 10:00'), ('2024-01-02 09:00'), ('2024-01-04 11:00')) as t (a)", 1),
    ),
    "more than a quarter ago": (
        "recency",
        Kind("{datepart: quarter, field: a, interval: 1}", "(values (now() - interval '4 months')) as t (a)", 1),
    ),
}
# What fails without rows: only what counts them, or compares them with another relation's.
EMPTY = dict.fromkeys(KINDS, 0) | {
    "equal_rowcount": 1,
    "equal_sets": 5,
    "equal_sums": 1,
    "reconciles_with": 3,
    "row_count_between": 1,
}
# Kinds whose arguments are expressions, or name a column of the other relation, quote names themselves.
QUOTED_BY_THE_USER = {
    "expression_is_true",
    "relationships_where",
    "mutually_exclusive_ranges",
    "equal_sets",
    "equal_sums",
    "reconciles_with",
}
MIXED_CASE = sorted(set(KINDS) - QUOTED_BY_THE_USER)
RULE = """
  - name: {name}_rows
    data_tests:
      - dpe.{kind}: {{name: {name}, arguments: {arguments}, config: {{severity: warn}}}}"""


def _in_mixed_case(kind: Kind) -> Kind:
    """Give the same rows and arguments with columns that have to be quoted."""
    [columns] = re.findall(r"(?:as t \(|as )([a-z, ]+)(?:\)| from .*)$", kind.rows)
    names = columns.split(", ")
    arguments = re.sub(r"\b(" + "|".join(names) + r")\b(?=[,\]}])", r"Mixed \1", kind.arguments)
    selected = ", ".join(f'{name} as "Mixed {name}"' for name in names)
    return Kind(arguments, f"(select {selected} from {kind.rows}) as mixed", kind.failures)


def _name(text: str) -> str:
    return text.replace(" ", "_")


@pytest.fixture(scope="module")
def found(scratch: Path, cluster_18: Cluster) -> Iterator[dict[str, int | None]]:
    """Give the number of failing rows that each kind of rule found, by the name of the test."""
    instances = {kind: (kind, one) for kind, one in KINDS.items()}
    instances |= {_name(limit): one for limit, one in LIMITS.items()}
    instances |= {f"{kind}_mixed": (kind, _in_mixed_case(KINDS[kind])) for kind in MIXED_CASE}
    instances |= {f"{kind}_empty": (kind, replace(one, rows=f"(select * from {one.rows} limit 0) as none")) for kind, one in KINDS.items()}
    files = {f"models/staging/{name}_rows.sql": f"select * from {one.rows}" for name, (_, one) in instances.items()}
    rules = "".join(RULE.format(name=name, kind=kind, arguments=one.arguments) for name, (kind, one) in instances.items())
    directory = dbt_projects.make(scratch / "kinds", {**files, "models/staging/_rules.yml": f"models:{rules}"})
    with cluster_18.new_database() as server:
        yield {result.name: result.failures for result in run_dbt(Project(directory), server, ["build"])}


def test_every_kind_of_rule_is_shown() -> None:
    """A new one has to show what it finds."""
    assert set(KINDS) == {path.stem for path in (dbt_projects.REPOSITORY / "tests" / "generic").glob("*.sql")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_rule_finds_what_fails_it(found: dict[str, int | None], kind: str) -> None:
    """It finds that, but neither passing rows nor nulls."""
    assert KINDS[kind].failures == found[kind]


@pytest.mark.parametrize("limit", LIMITS)
def test_a_kind_of_rule_works_at_its_limits(found: dict[str, int | None], limit: str) -> None:
    """Constants, nothing, and the same in another form."""
    assert LIMITS[limit][1].failures == found[_name(limit)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_rule_works_on_an_empty_relation(found: dict[str, int | None], kind: str) -> None:
    """No row fails if there is none."""
    assert EMPTY[kind] == found[f"{kind}_empty"]


@pytest.mark.parametrize("kind", MIXED_CASE)
def test_a_kind_of_rule_quotes_columns(found: dict[str, int | None], kind: str) -> None:
    """A column's name may have mixed case and spaces."""
    assert KINDS[kind].failures == found[f"{kind}_mixed"]


# Two of a hundred rows fail: the result, by the shares in the test's meta and dbt's severity.
SHARES = {
    "error_share: 0.01": "fail",
    "error_share: 0.02": "pass",
    "warn_share: 0.01, error_share: 0.1": "warn",
    "warn_share: 0.02, error_share: 0.1": "pass",
}


@pytest.fixture(scope="module")
def shares(scratch: Path, cluster_18: Cluster) -> Iterator[dict[str, str]]:
    """Give a test's result, by the shares that it allows."""
    tests = "".join(
        f"""
      - dpe.accepted_range:
          name: share_{number}
          arguments: {{column_name: number, max_value: 98}}
          config: {{meta: {{{share}}}, warn_if: "> 100", error_if: "> 100"}}"""
        for number, share in enumerate(SHARES)
    )
    files = {
        "models/staging/numbers.sql": "select generate_series(1, 100) as number",
        "models/staging/_rules.yml": f"models:\n  - name: numbers\n    data_tests:{tests}\n",
    }
    directory = dbt_projects.make(scratch / "shares", files)
    with cluster_18.new_database() as server:
        results = {result.name: result.status for result in run_dbt(Project(directory), server, ["build"])}
        with server.connect("transformer") as connection, system_context(connection, actor="test"):
            remembered = connection.execute("select distinct failures from dpe.rule_results").fetchall()
        # Whatever the result, two rows fail, and that is stored.
        assert [(2,)] == remembered
        yield {share: results[f"share_{number}"] for number, share in enumerate(SHARES)}


@pytest.mark.parametrize("share", SHARES)
def test_a_threshold_may_be_a_share(shares: dict[str, str], share: str) -> None:
    """Of the model's rows: dbt's own thresholds are numbers of rows."""
    assert SHARES[share] == shares[share]


FLIGHTS = """
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,7,1,NA,900,NA,NA,1030,NA,UA,1,NA,EWR,BOS,NA,200,9,0,2013-07-01T13:00:00Z
2013,7,1,900,900,0,1044,1030,14,UA,2,N1,EWR,BOS,60,200,9,0,2013-07-01T13:00:00Z
2013,7,1,900,900,0,1045,1030,15,UA,3,N1,EWR,BOS,60,200,9,0,2013-07-01T13:00:00Z
2013,7,1,900,900,0,1500,1030,NA,UA,4,N1,EWR,BOS,NA,200,9,0,2013-07-01T13:00:00Z
2013,7,1,2400,2230,90,140,2400,100,UA,5,N1,EWR,BOS,60,200,22,30,2013-07-02T02:00:00Z
2013,7,1,900,900,0,1430,1430,0,HA,6,N2,JFK,HNL,600,4983,9,0,2013-07-01T13:00:00Z
2013,11,3,130,130,0,600,600,0,B6,7,N3,JFK,SJU,200,1598,1,30,2013-11-03T06:00:00Z
2013,7,1,900,900,0,1300,1300,0,B6,8,N3,JFK,STT,200,1623,9,0,2013-07-01T13:00:00Z
"""
# JFK repeats a local hour (two points in time), and has two observations of one point in time.
WEATHER = """
origin,year,month,day,hour,temp,dewp,humid,wind_dir,wind_speed,wind_gust,precip,pressure,visib,time_hour
JFK,2013,11,3,1,53.96,NA,NA,NA,5,NA,0,NA,10,2013-11-03T05:00:00Z
JFK,2013,11,3,1,51.98,NA,NA,NA,5,NA,0,NA,10,2013-11-03T06:00:00Z
JFK,2013,7,1,9,NA,NA,NA,NA,NA,NA,0,NA,10,2013-07-01T13:00:00Z
JFK,2013,7,1,9,75.02,NA,NA,NA,5,NA,0,NA,10,2013-07-01T13:00:00Z
"""
# STT is among those that are added if the delivery lacks them; this one has it.
AIRPORTS = """
faa,name,lat,lon,alt,tz,dst,tzone
BOS,Boston,42.4,-71.0,19,-5,A,America/New_York
HNL,Honolulu,21.3,-157.9,13,-10,N,Pacific/Honolulu
STT,Delivered,18.3,-65.0,24,-4,N,America/St_Thomas
"""
DELIVERY = {
    "data/nyc_flights/weather.csv": WEATHER,
    "data/nyc_flights/airports.csv": AIRPORTS,
    "data/nyc_flights/flights/2013.csv": FLIGHTS,
    "data/nyc_flights/airlines.csv": "carrier,name\nUA,United\nHA,Hawaiian\nB6,JetBlue\n",
    "data/nyc_flights/planes.csv": "tailnum,year,type,manufacturer,model,engines,seats,speed,engine\nN1,1999,NA,NA,NA,2,150,NA,NA\n",
}


@pytest.fixture(scope="module")
def built(scratch: Path, cluster_18: Cluster) -> Iterator[Server]:
    """Load a small delivery, and build the repository's own models from it."""
    directory = dbt_projects.make(scratch / "difficult", DELIVERY)
    for name in ("models", "seeds"):
        shutil.copytree(dbt_projects.REPOSITORY / name, directory / name)
    sources = directory / "models" / "staging" / "nyc" / "_nyc__sources.yml"
    sources.write_text(sources.read_text(encoding="utf-8").replace(".csv.gz", ".csv"), encoding="utf-8")
    # The schemas and folders of the demo.
    settings = directory / "dbt_project.yml"
    text = settings.read_text(encoding="utf-8")
    for name, of_demo in {"raw": "staging", "core": "intermediate", "finance": "marts"}.items():
        text = text.replace(f" {name}: {{", f" {of_demo}: {{").replace(f"+schema: {name}", f"+schema: {of_demo}")
    settings.write_text(text, encoding="utf-8")
    project = Project(directory)
    with cluster_18.new_database() as server:
        flights = [source for source in project.sources.values() if source.spec == "DPE-101"]
        loaded = extract.extract(project.directory, server, flights, dbt_projects.Silence())
        assert [] == loaded.refused
        results = run_dbt(project, server, ["build", "--exclude", "resource_type:test", "source:met+"])
        assert {"success"} == {result.status for result in results}, results
        yield server


def _flight(server: Server, number: int, *columns: str) -> tuple[object, ...]:
    """Return columns of the published flight of this number; there has to be one."""
    with server.connect("transformer") as connection, system_context(connection, actor="test"):
        statement = f"select {', '.join(columns)} from marts.fct_flights where flight_number = {number}"
        [row] = connection.execute(statement.encode()).fetchall()
    return tuple(row)


def _at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2013, 7, day, hour, minute, tzinfo=UTC)


def test_a_flight_that_did_not_depart_is_cancelled(built: Server) -> None:
    """It did not arrive, and was not on time."""
    assert (True, False, False) == _flight(built, 1, "is_cancelled", "has_arrived", "is_on_time")


@pytest.mark.parametrize(("number", "is_on_time"), [(2, True), (3, False)])
def test_on_time_is_less_than_15_minutes_late(built: Server, number: int, is_on_time: bool) -> None:  # noqa: FBT001
    """As the Bureau of Transportation Statistics counts it: 14 minutes are, 15 are not."""
    assert (is_on_time,) == _flight(built, number, "is_on_time")


def test_a_diverted_flight_has_not_arrived(built: Server) -> None:
    """It landed somewhere else than scheduled."""
    assert (False, True, None) == _flight(built, 4, "has_arrived", "is_diverted_or_unrecorded", "arrived_at")


def test_midnight_is_the_first_minute_of_a_day(built: Server) -> None:
    """It is delivered as 2400, which PostgreSQL accepts, but Python does not."""
    assert (time(0), time(0)) == _flight(built, 5, "departure_time", "scheduled_arrival_time")


def test_a_flight_may_arrive_on_the_next_day(built: Server) -> None:
    """Scheduled for midnight, and 100 minutes late."""
    assert (_at(2, 4), _at(2, 4), _at(2, 5, 40)) == _flight(built, 5, "departed_at", "scheduled_arrival_at", "arrived_at")


def test_arrivals_are_in_local_time_at_the_destination(built: Server) -> None:
    """Half past two in the afternoon in Honolulu is half past midnight of the next day in Greenwich."""
    assert (_at(2, 0, 30),) == _flight(built, 6, "arrived_at")


def test_a_flight_has_the_weather_of_its_point_in_time(built: Server) -> None:
    """Not that of the other hour with the same local time, when the clocks are set back."""
    assert (51.98,) == _flight(built, 7, "temperature_fahrenheit")


def test_the_more_complete_of_two_observations_counts(built: Server) -> None:
    """And the flight remains one row."""
    assert (75.02,) == _flight(built, 8, "temperature_fahrenheit")


def test_a_flight_without_an_observation_has_no_weather(built: Server) -> None:
    """It is published anyway."""
    assert (False, None) == _flight(built, 2, "has_weather", "temperature_fahrenheit")


def test_a_delivered_airport_replaces_the_added_one(built: Server) -> None:
    """The others of the seed are added, and marked."""
    with built.connect("transformer") as connection, system_context(connection, actor="test"):
        rows = connection.execute("select airport, is_added, airport_name = 'Delivered' from marts.dim_airports order by 1").fetchall()

    added = [("BQN", True, False), ("PSE", True, False), ("SJU", True, False)]
    assert sorted([("BOS", False, False), ("HNL", False, False), ("STT", False, True), *added]) == rows


def test_punctuality_is_counted_by_carrier_and_day(built: Server) -> None:
    """Cancelled and diverted flights are scheduled, and not on time."""
    with built.connect("transformer") as connection, system_context(connection, actor="test"):
        row = connection.execute(
            """
            select scheduled_count, cancelled_count, arrived_count, on_time_count, mean_arrival_delay_minutes::float
            from marts.fct_carrier_daily_performance where carrier = 'UA'
            """
        ).fetchone()

    assert (5, 1, 3, 1, 43.0) == row
