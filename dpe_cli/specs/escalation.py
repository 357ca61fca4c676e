"""The escalation report: what is unclear in a spec, who has to answer, and the questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpe_cli.errors import UsageError
from dpe_cli.safe_text.visible_text import on_one_line
from dpe_cli.specs.findings import Answers, SpecFinding
from dpe_cli.specs.gate import Verdict
from dpe_cli.specs.requirement import Requirement

# In the order of the report.
ANSWERING: tuple[Answers, ...] = ("analyst", "architect", "data owner")


def addressee(requirement: Requirement, answers: Answers) -> str:
    """Return who answers, with the name that the spec gives: `the analyst (flight operations)`."""
    wanted = {"analyst": ("analyst", "owner", "requested_by"), "architect": ("architect",), "data owner": ("data_owner",)}[answers]
    name = next((requirement.text_of(field).bare for field in wanted if requirement.text_of(field)), "")
    if not name and answers == "data owner":
        owners = dict.fromkeys(source.owner.bare for source in requirement.sources if source.owner)
        name = ", ".join(owners)
    return f"the {answers} ({name})" if name else f"the {answers}"


def by_addressee(findings: Sequence[SpecFinding]) -> list[tuple[Answers, list[SpecFinding]]]:
    """Return the findings by who has to answer."""
    grouped = [(answers, [finding for finding in findings if finding.answers == answers]) for answers in ANSWERING]
    return [(answers, found) for answers, found in grouped if found]


def write(path: Path, verdicts: Sequence[Verdict], *, directory: Path) -> None:
    """
    Write the report as Markdown, to be sent.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document(verdicts, directory=directory), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--report: {path} cannot be written ({error.strerror}); name a file that can") from error


def document(verdicts: Sequence[Verdict], *, directory: Path) -> str:
    """Return the report as Markdown; paths of files are relative to a directory."""
    parts = []
    for verdict in verdicts:
        requirement = verdict.requirement
        shown = requirement.path.relative_to(directory) if requirement.path.is_relative_to(directory) else requirement.path
        parts.append(f"# {requirement.ticket}: {'accepted' if verdict.is_accepted else 'questions'}\n\n{_escaped(str(shown))}")
        for answers, found in by_addressee(verdict.findings):
            parts.append(f"## For {_escaped(addressee(requirement, answers))}")
            parts += [
                f"{number}. **Line {finding.line}** ({finding.kind.id}): {_escaped(finding.what)}\n\n   {_escaped(finding.question)}"
                for number, finding in enumerate(found, 1)
            ]
        if verdict.inspected:
            parts.append("## Held against\n\n" + "\n".join(f"- {_escaped(line)}" for line in inspected(verdict)))
    return "\n\n".join(parts) + "\n"


def inspected(verdict: Verdict) -> list[str]:
    """Return the sources and figures that a spec was held against, one per line."""
    lines = [
        f"{source.source}: {source.records:,} records{' read, and there may be more' if source.is_cut else ''}"
        for source in verdict.inspected
    ]
    if verdict.compared:
        lines.append(f"figures compared with the sources: {verdict.compared}")
    if verdict.not_compared:
        lines.append(f"figures that a person has to compare: {'; '.join(verdict.not_compared)}")
    return lines


def _escaped(text: str) -> str:
    """Return a text of a spec so that Markdown shows it as it is."""
    line = on_one_line(text)
    for mark in ("\\", "<", "*", "_", "[", "|", "#"):
        line = line.replace(mark, "\\" + mark)
    return line
