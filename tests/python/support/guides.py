"""Runs what a guide says, so that a test fails if it does not work."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


# Before a command's output.
_MARK = "\x1e"


@dataclass(frozen=True)
class Step:
    """A command of a guide, and what it prints according to the guide; None if the guide does not show it."""

    command: str
    output: str | None


def steps(guide: str | Path, heading: str) -> list[Step]:
    """Return the commands under a heading of a guide: those in bash, one per line, and those in consoles, with their output."""
    found: list[Step] = []
    for language, block in re.findall(r"^```(bash|console)\n(.*?)^```$", _section(guide, heading), re.DOTALL | re.MULTILINE):
        if language == "bash":
            found += [Step(line, None) for line in block.splitlines()]
        else:
            for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = step.partition("\n")
                found.append(Step(command, _without_ends(output)))
    assert found, f"{guide} has no commands under {heading}"
    return found


def echoed(commands: Sequence[str]) -> str:
    """Return a script that runs commands, and marks where the output of each begins."""
    return "\n".join(part for command in commands for part in (f"printf %s {shlex.quote(_MARK)}", command))


def printed(output: str) -> list[str]:
    """Return what each command of such a script printed."""
    return [_without_ends(part) for part in output.split(_MARK)[1:]]


def _without_ends(text: str) -> str:
    """Return a text without the spaces at the ends of its lines, which psql prints and editors remove."""
    return re.sub(r" +$", "", text, flags=re.MULTILINE).strip()


def _section(guide: str | Path, heading: str) -> str:
    text = (REPOSITORY / "docs" / "guides" / guide).read_text(encoding="utf-8")
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def commands(guide: str | Path, heading: str, language: str = "bash") -> str:
    """Return the commands under a heading of a guide, or of another file, in their order."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", _section(guide, heading), re.DOTALL | re.MULTILINE)
    assert found, f"{guide} has no commands in {language} under {heading}"
    return "\n".join(found)


def run(commands: str, directory: Path, *, programs: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run commands in a directory until one fails; `programs` are those of PostgreSQL, and `dpe` is this one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), str(programs), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=directory,
        env={**os.environ, **variables, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
