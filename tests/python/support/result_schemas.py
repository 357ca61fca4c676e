"""Whether what commands write with --output json is what docs/reference says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema

from dpe_cli.cli import report
from dpe_cli.cli.report import Report

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
RESULTS: dict[str, Any] = json.loads((REFERENCE / "results.schema.json").read_text(encoding="utf-8"))
ERRORS: dict[str, Any] = json.loads((REFERENCE / "errors.schema.json").read_text(encoding="utf-8"))


def check(command: str, data: object) -> None:
    """Fail unless a command may write this: its result, or only errors."""
    if isinstance(data, dict) and [*data] == ["errors"]:
        jsonschema.validate(data, ERRORS)
        return
    validator = jsonschema.Draft202012Validator({**RESULTS, "$ref": f"#/$defs/{command.replace(' ', '%20')}"})
    assert [] == [f"{'.'.join(map(str, error.path))}: {error.message}"[:1000] for error in validator.iter_errors(data)], command
    if isinstance(data, dict) and "verdict" in data:
        jsonschema.validate(data, ERRORS)


def check_report(command: str, shown: Report) -> None:
    """Fail unless a command may write this report as JSON."""
    check(command, json.loads(json.dumps(shown.data, default=report._for_json)))


def command_of(arguments: Sequence[str]) -> str:
    """Return the name of the command that arguments call; nothing if there is no such command."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    names = [name for number, word in enumerate(words) for name in (" ".join(words[number : number + 2]), word)]
    return next((name for name in names if name in RESULTS["$defs"]), "")
