"""The text of the project is plain English: words that a native reader stumbles over are rare."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PLACES = ("dpe_cli", "macros", "tests", "docs", "specs", "README.md", "CONTRIBUTING.md")
# Each is right now and then; CONTRIBUTING.md says what to write instead.
HABITS = {
    "is no …": r"\b(is|are|was|were) no [a-z]",
    "behind": r"\bbehind\b",
    "beside": r"\bbeside\b",
    "nobody": r"\b(nobody|whoever)\b",
    "anew": r"\banew\b",
    "take back": r"\b(take|takes|taken|took) back\b",
    "go on": r"\b(goes|went|go) on\b",
    "is told": r"\b(is|are) told\b",
}
MOST = 15


@pytest.mark.parametrize("habit", HABITS)
def test_a_habit_is_rare(habit: str) -> None:
    """In code, messages, help texts, tests and documentation."""
    listed = subprocess.run(["git", "ls-files", "-z", *PLACES], cwd=REPOSITORY, check=False, capture_output=True).stdout.decode()
    files = [REPOSITORY / name for name in listed.split("\0") if name] or [
        path for place in PLACES for path in [REPOSITORY / place, *(REPOSITORY / place).rglob("*")]
    ]
    lines = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for path in files
        if path.suffix in {".py", ".sql", ".md", ".yml", ".yaml", ".toml"} and path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(HABITS[habit], line)
    ]

    assert len(lines) < MOST, lines
