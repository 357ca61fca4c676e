"""Approvals of specs: each is for the text that was approved, of which a copy is kept in specs/approved/."""

from __future__ import annotations

import difflib
from pathlib import Path

from dpe_cli.errors import SpecError, UsageError
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.requirement import Requirement

DIRECTORY = "approved"


def approved_text(path: Path) -> str | None:
    """
    Return the text of a spec that was approved; None if no approval is kept.

    Raises:
        SpecError: it cannot be read.
    """
    kept = path.parent / DIRECTORY / path.name
    try:
        return kept.read_text(encoding="utf-8") if kept.is_file() else None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{kept}: cannot be read ({error}); restore it, or remove it and approve {path.name} again") from error


def approve(path: Path) -> Path:
    """
    Keep a spec's present text as the approved one, and return the file.

    Raises:
        UsageError: it cannot be written.
    """
    kept = path.parent / DIRECTORY / path.name
    try:
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(path.read_text(encoding="utf-8-sig"), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{kept}: cannot be written ({error.strerror}); make the directory writable") from error
    return kept


def difference(path: Path) -> list[str]:
    """
    Return what was changed in a spec since its approval, as lines of a unified diff; none if nothing was, or no approval is kept.

    Raises:
        SpecError: a text cannot be read.
    """
    before = approved_text(path)
    if before is None:
        return []
    after = path.read_text(encoding="utf-8-sig")
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), "approved", "now", lineterm="", n=1))


def findings(requirement: Requirement) -> list[SpecFinding]:
    """
    Return the finding that a spec was edited after its approval, at the first line that differs.

    Raises:
        SpecError: the approved text cannot be read.
    """
    before = approved_text(requirement.path)
    after = requirement.path.read_text(encoding="utf-8-sig")
    if before is None or before.splitlines() == after.splitlines():
        return []
    lines, approved = after.splitlines(), before.splitlines()
    line = next(
        (number for number, (one, other) in enumerate(zip(lines, approved, strict=False), 1) if one != other),
        min(len(lines), len(approved)),
    )
    approver = requirement.text_of("approved_by").bare or "its approver"
    return [
        finding(
            "approval_outdated",
            line,
            f"the spec was changed after its approval, first in line {line}",
            f"The spec of {requirement.ticket} was changed after {approver} approved it (first in line {line}; "
            f"`dpe spec show {requirement.ticket}` prints the difference). Is the new text approved as well?",
        )
    ]
