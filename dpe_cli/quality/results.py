"""Whether rules hold, for how long they have not, and which rows break them: what `macros/ledger` wrote to the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dpe_cli.quality.rules import Rule
from dpe_cli.server import contexts
from dpe_cli.server.server import Server
from dpe_cli.words import Limited

ACTOR = "dpe rules"
SHOWN_RUNS = 30
NOT_RUN = "not run"
# A rule has the worst status of its tests.
STATUSES = ("error", "fail", "warn", NOT_RUN, "pass")

# The newest result of each test, and the start of its current run of results that do not hold.
_STATES = """
    with

    newest as (

        select distinct on (test_id)
            test_id,
            status,
            failures,
            share,
            ran_at
        from dpe.rule_results
        where test_id = any(%s)
        order by test_id, ran_at desc

    )

    select
        test_id,
        status,
        failures,
        share,
        ran_at,
        case
            when status <> 'pass'
                then (
                    select min(results.ran_at)
                    from dpe.rule_results as results
                    where results.test_id = newest.test_id and results.ran_at > coalesce(
                        (
                            select max(held.ran_at)
                            from dpe.rule_results as held
                            where held.test_id = newest.test_id and held.status = 'pass'
                        ),
                        '-infinity'
                    )
                )
        end
    from newest
"""
_HISTORIES = """
    with

    aged as (

        select
            rule,
            ran_at,
            invocation_id,
            status,
            failures,
            dense_rank() over (partition by rule order by ran_at desc, invocation_id) as age
        from dpe.rule_results
        where rule = any(%s)

    )

    select
        rule,
        ran_at,
        array_agg(status),
        sum(failures)::bigint
    from aged
    where age <= %s
    group by rule, ran_at, invocation_id
    order by ran_at, invocation_id
"""
_FAILURES = """
    select test, row_key, failing_row, first_seen_at, last_seen_at, resolved_at, count(*) over ()
    from dpe.rule_failures
    where test_id = any(%s)
    order by resolved_at desc nulls first, last_seen_at desc, first_seen_at, test, row_hash
    limit %s
"""


@dataclass(frozen=True)
class State:
    """Whether a rule holds now: `failures` of all its tests together, `since` is when it stopped holding."""

    status: str
    failures: int | None
    since: datetime | None
    last_run_at: datetime | None


@dataclass(frozen=True)
class Run:
    """A rule's result in one run."""

    ran_at: datetime
    status: str
    failures: int | None


@dataclass(frozen=True)
class FailingRow:
    """A row that breaks a rule, or did until `resolved_at`. `key` are the columns that identify it, if they are known."""

    test: str
    key: Mapping[str, Any] | None
    row: Mapping[str, Any]
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None


def states(server: Server, rules: Sequence[Rule]) -> dict[str, State]:
    """Return the present state of each rule, by id."""
    wanted = [test.test_id for rule in rules for test in rule.tests]
    with server.connect("transformer") as connection, contexts.system_context(connection, actor=ACTOR):
        found = {test_id: result for test_id, *result in connection.execute(_STATES, [wanted])}
    return {rule.rule_id: _state([found[test.test_id] for test in rule.tests if test.test_id in found], rule) for rule in rules}


def histories(server: Server, rules: Sequence[Rule], *, runs: int) -> dict[str, list[Run]]:
    """Return the last runs of each rule that ever ran, oldest first, by id."""
    found: dict[str, list[Run]] = {}
    with server.connect("transformer") as connection, contexts.system_context(connection, actor=ACTOR):
        for rule_id, ran_at, statuses, failures in connection.execute(_HISTORIES, [[rule.rule_id for rule in rules], runs]):
            found.setdefault(rule_id, []).append(Run(ran_at, _worst(statuses), failures))
    return found


def failing_rows(server: Server, rule: Rule, *, limit: int) -> Limited[FailingRow]:
    """Return the rows that break a rule, then those that did, newest first."""
    with server.connect("transformer") as connection, contexts.system_context(connection, actor=ACTOR):
        rows = connection.execute(_FAILURES, [[test.test_id for test in rule.tests], limit]).fetchall()
    return Limited((FailingRow(*row[:-1]) for row in rows), total=int(str(rows[0][-1])) if rows else 0)


def _state(results: Sequence[Sequence[Any]], rule: Rule) -> State:
    """Combine the newest results of a rule's tests. A test that never ran makes the rule "not run" at best."""
    if not results:
        return State(NOT_RUN, None, None, None)
    found = [status for status, *_ in results]
    if len(found) < len(rule.tests):
        found.append(NOT_RUN)
    counted = [failures for _, failures, *_ in results if failures is not None]
    broken = [since for *_, since in results if since is not None]
    return State(_worst(found), sum(counted) if counted else None, min(broken, default=None), max(ran_at for *_, ran_at, _ in results))


def _worst(found: Sequence[str]) -> str:
    return min(found, key=STATUSES.index)
