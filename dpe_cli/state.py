"""The directory in which dpe keeps what it creates for a project."""

from __future__ import annotations

from pathlib import Path


def state_directory(project_dir: Path) -> Path:
    """Return the directory `.dpe`, where dpe keeps what it creates for a project, outside version control."""
    directory = project_dir / ".dpe"
    directory.mkdir(exist_ok=True)
    ignore = directory / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return directory
