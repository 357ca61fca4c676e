"""Runs what a guide says, so that a test fails if it does not work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]


def commands(guide: str | Path, heading: str, language: str = "bash") -> str:
    """Return the commands under a heading of a guide, or of another file, in their order."""
    text = (REPOSITORY / "docs" / "guides" / guide).read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
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
