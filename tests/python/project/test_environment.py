"""The project's .env: its variables count unless the environment sets them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dpe_cli.errors import UsageError
from dpe_cli.project import dotenv

NAMES = ("DOTENV_URL", "DOTENV_SECRET", "DOTENV_EMPTY")


@pytest.fixture(autouse=True)
def _without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the variables, before and after."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def _load(directory: Path, content: str | bytes) -> dict[str, str | None]:
    (directory / ".env").write_bytes(content.encode() if isinstance(content, str) else content)
    dotenv.load(directory)
    return {name: os.environ.get(name) for name in NAMES}


def test_values_are_taken_literally(tmp_path: Path) -> None:
    """With or without quotes, with comments; a dollar is a dollar."""
    content = "# of the shop\nexport DOTENV_URL='http://127.0.0.1:8102'  # here\nDOTENV_SECRET=pa$$w0rd-${DOTENV_URL}\nDOTENV_EMPTY=\n"

    assert {"DOTENV_URL": "http://127.0.0.1:8102", "DOTENV_SECRET": "pa$$w0rd-${DOTENV_URL}", "DOTENV_EMPTY": ""} == _load(
        tmp_path, content
    )


def test_the_environment_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if it sets a variable to an empty value."""
    monkeypatch.setenv("DOTENV_URL", "")

    assert {"DOTENV_URL": "", "DOTENV_SECRET": "b", "DOTENV_EMPTY": None} == _load(tmp_path, "DOTENV_URL=a\nDOTENV_SECRET=b\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("DOTENV_URL=a\nthis: is s3cr3t\n", "line 2: is not NAME=value"),
        ("DOTENV_URL=a\nDOTENV_SECRET='s3cr3t\n", "line 2: is not NAME=value"),
        ("DOTENV_URL=a\nDOTENV_SECRET=s3cr3t\0\n", "line 2: is not NAME=value"),
        ("DOTENV_URL=a\n'DOTENV=SECRET'=s3cr3t\n", "line 2: is not NAME=value"),
        (b"DOTENV_SECRET=s3cr3t\xff\n", "cannot be read (it is not valid UTF-8)"),
    ],
)
def test_what_cannot_be_read_is_refused_without_showing_it(tmp_path: Path, content: str | bytes, says: str) -> None:
    """With its line, and without setting any of its variables."""
    with pytest.raises(UsageError) as refused:
        _load(tmp_path, content)

    assert (True, False, False) == (says in str(refused.value), "s3cr3t" in str(refused.value), "DOTENV_URL" in os.environ)


def test_a_project_without_one_does_not_pay_for_it(tmp_path: Path) -> None:
    """The library is imported only if there is a file."""
    program = "import sys, pathlib; from dpe_cli.project import dotenv; dotenv.load(pathlib.Path.cwd()); print('dotenv' in sys.modules)"
    found = []
    for content in (None, "DOTENV_URL=a\n"):
        if content:
            (tmp_path / ".env").write_text(content, encoding="utf-8")
        found.append(subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True).stdout)

    assert ["False\n", "True\n"] == found


def test_commands_use_it(tmp_path: Path) -> None:
    """It may name the server; a file that cannot be read is reported before anything else."""
    (tmp_path / "dbt_project.yml").write_text("{name: shop, profile: shop}\n", encoding="utf-8")
    (tmp_path / "profiles.yml").write_text("shop: {target: dev}\n", encoding="utf-8")
    results = []
    for content in (f"PGHOST={tmp_path / 'nowhere'}\n", "what is this\n"):
        (tmp_path / ".env").write_text(content, encoding="utf-8")
        done = subprocess.run([sys.executable, "-m", "dpe_cli", "loads", "list"], cwd=tmp_path, capture_output=True, text=True, check=False)
        results.append((done.returncode, done.stderr))

    assert (1, True) == (results[0][0], f"{tmp_path / 'nowhere'}" in results[0][1]), results
    assert (2, f"Error: {tmp_path / '.env'}, line 1: is not NAME=value; correct it, or put a # before it\n") == results[1]
