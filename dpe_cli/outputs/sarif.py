"""
The findings of `dpe rls check` as SARIF for code hosts and security dashboards.

Source: Static Analysis Results Interchange Format 2.1.0 (OASIS).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from dpe_cli import __version__
from dpe_cli.access.checks import Finding, RlsCheck
from dpe_cli.errors import UsageError
from dpe_cli.safe_text.visible_text import on_one_line

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def write(path: Path, checks: Sequence[RlsCheck], findings: Sequence[Finding], files: Mapping[str, str], *, otherwise: str) -> None:
    """
    Write findings as SARIF.

    `files` are the project's files, by the name of their relation; `otherwise` is used for findings without a file.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document(checks, findings, files, otherwise=otherwise), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--sarif: {path} cannot be written ({error.strerror}); name a file that can") from error


def document(checks: Sequence[RlsCheck], findings: Sequence[Finding], files: Mapping[str, str], *, otherwise: str) -> dict[str, object]:
    """Return findings as SARIF."""
    numbers = {check.check_id: number for number, check in enumerate(checks)}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "dpe rls check", "version": __version__, "rules": [_rule(check) for check in checks]}},
                "results": [_result(finding, numbers[finding.check_id], files.get(finding.subject, otherwise)) for finding in findings],
            }
        ],
    }


def _rule(check: RlsCheck) -> dict[str, object]:
    return {
        "id": check.check_id,
        "name": check.name,
        "shortDescription": {"text": f"{check.title}."},
        "fullDescription": {"text": f"{check.title}: {check.why}."},
        "defaultConfiguration": {"level": check.severity},
    }


def _result(finding: Finding, number: int, file: str) -> dict[str, object]:
    return {
        "ruleId": finding.check_id,
        "ruleIndex": number,
        "level": finding.severity,
        "message": {"text": on_one_line(str(finding))},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": quote(file, errors="surrogateescape")}, "region": {"startLine": 1}},
                "logicalLocations": [{"fullyQualifiedName": on_one_line(finding.subject)}],
            }
        ],
    }
