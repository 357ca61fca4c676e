"""The directory in which dpe keeps what it creates for a project: its embedded server, and what dbt has parsed."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "DPE_STATE"


def state_path(project_dir: Path) -> Path:
    """Return the directory: the one that DPE_STATE names, for a project that is read-only, or `.dpe` in the project."""
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else project_dir / ".dpe"


def state_directory(project_dir: Path) -> Path:
    """
    Return the directory, outside version control, after creating it.

    Raises:
        OSError: it cannot be created; the project may be read-only.
    """
    return ignored(state_path(project_dir))


def ignored(directory: Path) -> Path:
    """
    Return a directory, outside version control, after creating it.

    Raises:
        OSError: it cannot be created; the project may be read-only.
    """
    directory.mkdir(parents=True, exist_ok=True)
    ignore = directory / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return directory
