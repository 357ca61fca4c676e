"""Why a run or a validation failed: one problem for each source, node, check and step that did."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dpe_cli.pipeline import refusals
from dpe_cli.problems import Problem, Where, of_message
from dpe_cli.project.dbt_runner import SKIPPED, NodeResult

if TYPE_CHECKING:
    from dpe_cli.ingest.extract import ExtractSummary
    from dpe_cli.ingest.plan import PlannedExtract
    from dpe_cli.load.result import ExtractResult
    from dpe_cli.pipeline.run import RunSummary
    from dpe_cli.pipeline.validate import Validation

# PostgreSQL's hint follows the error on the same line.
_HINT = re.compile(r"\s*HINT:\s*")
_TESTS = ("test", "unit_test")
_TRACE = ("LINE ", "^", "CONTEXT:", "compiled code at", "> in macro", "> called by")


def of_run(summary: RunSummary) -> list[Problem]:
    """Return why a run failed; nothing if it holds."""
    if summary.holds:
        return []
    build = summary.build
    # What refuses a publication because of nodes is said of the nodes.
    of_nodes = set(refusals.of_nodes(build.results, ()))
    return _distinct(
        [
            *of_extracts(summary.extracted),
            *_nodes(build.results),
            *(of_message("not_published", reason) for reason in build.refused if reason not in of_nodes),
            *(_checks(summary.validation) if summary.validation else ()),
            *([of_message("not_documented", summary.not_documented)] if summary.not_documented else ()),
        ]
    )


def of_validation(validation: Validation) -> list[Problem]:
    """Return why a validation failed; nothing if it holds."""
    return [] if validation.holds else _distinct([*_nodes(validation.results), *_checks(validation)])


def of_extracts(summary: ExtractSummary) -> list[Problem]:
    """Return why sources were not loaded."""
    return of_sources(summary.refused)


def of_sources(refused: Sequence[ExtractResult | PlannedExtract]) -> list[Problem]:
    """Return why sources were not, or would not be, loaded."""
    problems = [of_message("bug" if extract.is_bug else "extract", extract.error or "", retryable=extract.retryable) for extract in refused]
    return [
        Problem(
            problem.code,
            problem.what if extract.source in problem.what else f"{extract.source}: {problem.what}",
            Where(problem.where.file, problem.where.line, extract.source),
            problem.fix,
            problem.retryable,
        )
        for problem, extract in zip(problems, refused, strict=True)
    ]


def explanation(result: NodeResult) -> str:
    """Return what dbt says of a node, with the name and file of the node, on one line."""
    # The first line names the node, as we do; others show the statement.
    lines = [line.strip() for line in result.message.splitlines()]
    findings = [line for line in lines if not line.startswith(_TRACE) and " Error in " not in line]
    where = f"{result.name} ({result.path}): "
    return f"{where}{_HINT.sub('; ', ' '.join(findings).removeprefix(where))}"


def _nodes(results: Sequence[NodeResult]) -> list[Problem]:
    """Return the nodes that failed; if none did, those that were skipped."""
    # What a test needs comes before it.
    failed = sorted(
        (result for result in results if result.has_failed),
        key=lambda result: (result.resource_type in _TESTS, result.rule or "", result.name),
    )
    return [_node(result) for result in failed] or [
        of_message("node_skipped", reason, where=Where(file=result.path or None))
        for result in results
        if result.status in SKIPPED
        for reason in refusals.of_nodes([result], ())
    ]


def _node(result: NodeResult) -> Problem:
    where = Where(file=result.path or None, relation=f"{result.schema}.{result.alias}" if result.resource_type not in _TESTS else None)
    if result.status == "fail" and result.resource_type == "unit_test":
        fix = f"`dpe dbt test --select {result.name}` shows the rows that differ"
        return Problem("test_failed", f"unit test {result.name} failed", where, fix)
    if result.status == "fail" and result.resource_type == "test":
        shows = f"dpe rules show {result.rule}" if result.rule else f"dpe dbt show --select {result.name}"
        return Problem("rule_failed" if result.rule else "test_failed", refusals.of_node(result), where, f"`{shows}` shows the rows")
    if "No space left on device" in result.message:
        fix = "free some space on the disk of the server, then run again"
    elif result.resource_type == "operation":
        fix = "correct the hook, then run again"
    else:
        fix = f"correct {result.path or 'it'}, then `dpe run {result.name}`"
    rule = f"rule {result.rule} cannot be tested: " if result.rule else ""
    return Problem("node_failed", f"{rule}{result.resource_type} {explanation(result)}".rstrip(": "), where, fix)


def _checks(validation: Validation) -> Iterable[Problem]:
    return (of_message("check_failed", f"{check.name}: {fault}") for check in validation.checks for fault in check.faults)


def _distinct(problems: Iterable[Problem]) -> list[Problem]:
    """Leave out what was said before: a fault that refuses the publication is often found by a check too."""
    kept: list[Problem] = []
    for problem in problems:
        if not any(str(problem).endswith(str(other)) for other in kept):
            kept.append(problem)
    return kept
