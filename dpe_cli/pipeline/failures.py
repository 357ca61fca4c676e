"""What failed in a run or a validation, one line each, with what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpe_cli.pipeline.run import RunSummary
from dpe_cli.pipeline.validate import Validation
from dpe_cli.project.dbt_runner import NodeResult

# PostgreSQL's hint follows the error on the same line.
_HINT = re.compile(r"\s*HINT:\s*")
_TRACE = ("LINE ", "^", "CONTEXT:", "compiled code at", "> in macro", "> called by")


@dataclass(frozen=True)
class Failure:
    """A thing that failed, and what to do next; `fix` is empty if nothing but `what` says it."""

    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}; {self.fix}" if self.fix else self.what


def of_run(summary: RunSummary) -> list[Failure]:
    """Return what failed in a run: sources, models and tests, the publication, checks, and the docs site."""
    failures = [_of_error(extract.error or f"source {extract.source} failed") for extract in summary.extracted.refused]
    nodes = list(_of_nodes(summary.build.results))
    failures += nodes
    if summary.build.not_published and not nodes:
        failures += [_of_error(f"not published: {summary.build.not_published}")]
    if summary.validation is not None:
        failures += _of_checks(summary.validation)
    if summary.not_documented is not None:
        failures.append(_of_error(f"not documented: {summary.not_documented}"))
    return failures


def of_validation(validation: Validation) -> list[Failure]:
    """Return what failed in a validation: tests and checks."""
    return [*_of_nodes(validation.results), *_of_checks(validation)]


def message_of(result: NodeResult) -> str:
    """Return what dbt and PostgreSQL say of a node that could not be built or tested, on one line, with its file."""
    # The first line names the node, as we do; others show the statement.
    lines = [line.strip() for line in result.message.splitlines()]
    findings = [line for line in lines if not line.startswith(_TRACE) and " Error in " not in line]
    where = f"{result.name} ({result.path}): "
    return f"{where}{_HINT.sub('; ', ' '.join(findings).removeprefix(where))}"


def _of_nodes(results: Sequence[NodeResult]) -> Iterator[Failure]:
    failed = [result for result in results if result.has_failed]
    # What a test needs comes before it.
    for result in sorted(failed, key=lambda result: (result.resource_type in {"test", "unit_test"}, result.rule or "", result.name)):
        if result.resource_type == "unit_test":
            yield Failure(f"unit test {result.name} failed", f"`dpe dbt test --select {result.name}` shows the rows that differ")
        elif result.rule and result.failures:
            yield Failure(
                f"rule {result.rule} failed: {result.name}, {result.failures:,} failing", f"`dpe rules show {result.rule}` shows the rows"
            )
        elif result.resource_type == "test" and result.failures:
            yield Failure(
                f"test {result.name} failed, {result.failures:,} failing", f"`dpe dbt show --select {result.name}` shows the rows"
            )
        else:
            kind = "rule" if result.rule else result.resource_type
            yield Failure(f"{kind} {message_of(result)}", f"correct it, then `dpe run {result.name}`" if kind != "operation" else "")


def _of_checks(validation: Validation) -> Iterator[Failure]:
    for check in validation.checks:
        if check.holds:
            continue
        more = f" (and {len(check.faults) - 1:,} more, see above)" if len(check.faults) > 1 else ""
        first = _of_error(check.faults[0])
        yield Failure(f"{check.name}: {first.what}{more}", first.fix)


def _of_error(text: str) -> Failure:
    """Divide a message of dpe into what is wrong and what to do, which follows the last semicolon."""
    first, more, _ = text.partition("\n")
    what, _, fix = (f"{first.rstrip(':')} (see above)" if more else first).rpartition("; ")
    return Failure(what, fix) if what else Failure(fix, "")
