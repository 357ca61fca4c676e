"""`dpe rules`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.options import Commands
from dpe_cli.cli.report import Facts, Lines, Report, Table
from dpe_cli.quality import coverage, quarantine, results, rules_document, spec_differences
from dpe_cli.quality import rules as known
from dpe_cli.quality.results import NOT_RUN, FailingRow, Run, State
from dpe_cli.quality.rules import Rule
from dpe_cli.specs.spec import read_all
from dpe_cli.words import Limited, plural

_BLOCKS = " ▁▂▃▄▅▆▇█"
_HEIGHT = 4
_SIGNS = {"pass": "·", "warn": "w", "fail": "F", "error": "E"}


@click.group(cls=Commands, invoke_without_command=True)
@click.option("--write", is_flag=True, help="Write DATA_QUALITY_RULES.md; needs no server.")
@click.option("--check", is_flag=True, help="Fail if that file is not up to date, or if specs and tests differ; needs no server.")
@click.pass_context
def rules(context: click.Context, *, write: bool, check: bool) -> Report | None:
    """Show the rules, whether they hold, and since when they have not."""
    app = context.ensure_object(App)
    if write and check:
        raise click.UsageError("--write and --check cannot be combined; write first, then check")
    if context.invoked_subcommand is not None:
        if write or check:
            raise click.UsageError(f"--write and --check cannot be combined with {context.invoked_subcommand}; leave one of them out")
        return None
    if write:
        return _written(app)
    return _checked(app) if check else _listed(app)


@rules.command()
@click.argument("rule_id", metavar="ID")
@click.option(
    "--limit",
    envvar="DPE_LIMIT",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="How many violating rows to show, newest first.",
)
@click.pass_obj
def show(app: App, rule_id: str, limit: int) -> Report:
    """Show a rule with its last runs and the rows that violate it."""
    rule = known.find(known.find_all(app.project.manifest, read_all(app.project.specs_directory)), rule_id)
    state = results.states(app.server, [rule])[rule.rule_id]
    runs = results.histories(app.server, [rule], runs=results.SHOWN_RUNS).get(rule.rule_id, [])
    rows = results.failing_rows(app.server, rule, limit=limit)
    kept_out = quarantine.kept_out(app.server, app.project.manifest, rule)
    return Report(
        data={
            **asdict(rule),
            **asdict(state),
            "rows_in_quarantine": kept_out,
            "runs": [asdict(run) for run in runs],
            "rows": [asdict(row) for row in rows],
        },
        headline=f"{rule.rule_id}: {rule.definition}",
        sections=[
            Facts(
                {
                    "because": rule.because,
                    "dimension": rule.dimension,
                    "severity": f"{rule.severity}: {rule.thresholds}",
                    "owner": rule.owner,
                    "spec": rule.spec,
                    "status": state.status,
                    "failing rows": state.failures,
                    **({} if kept_out is None else {"rows in quarantine": kept_out}),
                    "failing since": state.since,
                    "last run": state.last_run_at,
                }
            ),
            Table(["test", "asks", "in"], [[test.name, test.asks, test.path] for test in rule.tests], title="Implemented by"),
            *([Lines(["", "History", *plot(runs)])] if runs else []),
            *([_rows_table(rows)] if rows else []),
        ],
    )


def plot(runs: Sequence[Run]) -> list[str]:
    """Plot how many rows failed in each run, oldest first; below it, each run's result: `·` passed, w warned, F failed, E an error."""
    highest = max((run.failures or 0 for run in runs), default=0)
    width = len(f"{highest:,}")
    # A run with failures shows at least the lowest block, however few there are.
    eighths = [0 if not run.failures else max(1, round(run.failures * 8 * _HEIGHT / highest)) for run in runs]
    lines = []
    for level in reversed(range(_HEIGHT)):
        label = {0: "0", _HEIGHT - 1: f"{highest:,}" if highest else ""}.get(level, "")
        blocks = "".join(_BLOCKS[min(8, max(0, eighth - 8 * level))] for eighth in eighths)
        lines.append(f"{label:>{width}} ┤{blocks}".rstrip())
    lines.append(" " * (width + 2) + "".join(_SIGNS[run.status] for run in runs))
    period = plural(len(runs), "run") + f" from {runs[0].ran_at:%Y-%m-%d %H:%M} to {runs[-1].ran_at:%Y-%m-%d %H:%M}" if runs else "no run"
    lines.append(" " * (width + 2) + f"{period}; · passed, w warned, F failed, E error")
    return lines


def _rows_table(rows: Limited[FailingRow]) -> Table:
    return Table(
        ["first seen", "last seen", "resolved", "row"],
        [[row.first_seen_at, row.last_seen_at, row.resolved_at, _shown(row)] for row in rows],
        title=f"Rows that violate it, or did: {rows.counted('row')}",
    )


def _shown(row: FailingRow) -> str:
    """Show a row's columns, those of its key first."""
    key = row.key or {}
    ordered = {**{name: row.row.get(name) for name in key}, **row.row}
    return ", ".join(f"{name} {'null' if value is None else value}" for name, value in ordered.items())


def _listed(app: App) -> Report:
    found = known.find_all(app.project.manifest, read_all(app.project.specs_directory))
    states = results.states(app.server, found)
    broken = sum(state.status not in {"pass", NOT_RUN} for state in states.values())
    return Report(
        data=[{**asdict(rule), **asdict(states[rule.rule_id])} for rule in found],
        headline=f"{plural(len(found), 'rule')}, {broken:,} failing",
        sections=[
            Table(
                ["rule", "dimension", "severity", "owner", "status", "failures", "failing since", "last run"],
                [_line(rule, states[rule.rule_id]) for rule in found],
            )
        ]
        if found
        else [],
    )


def _line(rule: Rule, state: State) -> list[object]:
    return [rule.rule_id, rule.dimension, rule.severity, rule.owner, state.status, state.failures, state.since, state.last_run_at]


def _written(app: App) -> Report:
    specs = read_all(app.project.specs_directory)
    path = app.project_dir / rules_document.FILE
    path.write_text(rules_document.document(known.find_all(app.project.manifest, specs), specs), encoding="utf-8")
    return Report(data={"path": path}, headline=f"{path.name} is written")


def _checked(app: App) -> Report:
    specs = read_all(app.project.specs_directory)
    tests = coverage.rule_tests(app.project.manifest)
    faults = [
        *coverage.rules_without_test(tests, specs),
        *coverage.tests_without_spec(tests, specs),
        *spec_differences.different_from_specs(tests, specs, list(app.project.models.values())),
    ]
    path, text = app.project_dir / rules_document.FILE, rules_document.document(known.find_all(app.project.manifest, specs), specs)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        faults.append(f"{path.name}: {'is not up to date' if path.is_file() else 'is missing'}; run `dpe rules --write`")
    return Report(
        data={"faults": faults},
        headline=f"{path.name} is up to date, and specs and tests have the same rules" if not faults else plural(len(faults), "fault"),
        sections=[Lines(faults)] if faults else [],
        exit_status=1 if faults else 0,
    )
