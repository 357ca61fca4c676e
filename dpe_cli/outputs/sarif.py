"""
The findings of `dpe rls check` and `dpe spec check` as SARIF for code hosts and security dashboards.

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
from dpe_cli.specs.findings import Kind
from dpe_cli.specs.gate import Verdict

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def write(path: Path, checks: Sequence[RlsCheck], findings: Sequence[Finding], files: Mapping[str, str], *, otherwise: str) -> None:
    """
    Write findings as SARIF.

    `files` are the project's files, by the name of their relation; `otherwise` is used for findings without a file.

    Raises:
        UsageError: the file cannot be written.
    """
    _write(path, document(checks, findings, files, otherwise=otherwise))


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


def write_specs(path: Path, kinds: Sequence[Kind], verdicts: Sequence[Verdict], *, directory: Path) -> None:
    """
    Write the questions about specs as SARIF; their files are relative to a directory.

    Raises:
        UsageError: the file cannot be written.
    """
    numbers = {kind.id: number for number, kind in enumerate(kinds)}
    rules = [
        {
            "id": kind.id,
            "name": kind.name,
            "shortDescription": {"text": f"{kind.title}."},
            "fullDescription": {"text": kind.why},
            "defaultConfiguration": {"level": "error"},
        }
        for kind in kinds
    ]
    results = [
        {
            "ruleId": finding.kind.id,
            "ruleIndex": numbers[finding.kind.id],
            "level": "error",
            "message": {"text": on_one_line(f"{finding.what}. For the {finding.answers}: {finding.question}")},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(verdict.requirement.path, directory)},
                        "region": {"startLine": finding.line},
                    }
                }
            ],
        }
        for verdict in verdicts
        for finding in verdict.findings
    ]
    run = {"tool": {"driver": {"name": "dpe spec check", "version": __version__, "rules": rules}}, "results": results}
    _write(path, {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]})


def _uri(path: Path, directory: Path) -> str:
    return quote(str(path.relative_to(directory) if path.is_relative_to(directory) else path), errors="surrogateescape")


def _write(path: Path, document: Mapping[str, object]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--sarif: {path} cannot be written ({error.strerror}); name a file that can") from error


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
