"""Write a new project: one that can be run immediately, on the embedded server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpe_cli import __version__
from dpe_cli.errors import UsageError
from dpe_cli.init import templates
from dpe_cli.server.relations import MOST_BYTES, PREVIOUS

# dbt's own packages, and dpe's: dbt refuses two packages of one name.
_TAKEN = {"dbt", "dbt_postgres", "dpe"}
_NAME = re.compile(r"[a-z_][a-z0-9_]*")
# The longest name of a schema is made of it: dbt puts the target's schema, which has the project's name, before `_intermediate`.
_LONGEST = MOST_BYTES - len("_intermediate") - len(PREVIOUS)


@dataclass(frozen=True)
class NewProject:
    """A project that was written: its directory, its name, and its files by their paths in it."""

    directory: Path
    name: str
    files: tuple[str, ...]


def check(directory: Path, name: str | None = None) -> str:
    """
    Return the name of a project that can be written into a directory: `name`, or one that is made of the directory's.

    Raises:
        UsageError: there is something in the directory, or dbt could not use the name.
    """
    chosen = _checked(name) if name is not None else _name_of(directory)
    _require_empty(directory)
    return chosen


def write(directory: Path, name: str, *, pipeline: Mapping[str, str] | None = None, with_docker: bool = False) -> NewProject:
    """
    Write a project into a new directory, or an empty one: with the files of a `pipeline`, or with those of a small sample.

    Nothing that exists is overwritten.

    Raises:
        UsageError: there is something in the directory.
    """
    _require_empty(directory)
    kinds = ("project", *(["sample"] if pipeline is None else []), *(["docker"] if with_docker else []))
    values = {"name": name, "version": __version__, "with_docker": with_docker}
    files = {**templates.render(kinds, values), **(pipeline or {})}
    _write(directory, files)
    return NewProject(directory, name, tuple(sorted(files)))


def _name_of(directory: Path) -> str:
    written = re.sub(r"\W+", "_", directory.resolve().name.lower(), flags=re.ASCII).strip("_")
    if not _NAME.fullmatch(written) or written in _TAKEN or len(written) > _LONGEST:
        raise UsageError(f"{directory}: cannot derive a project name from it; give one with --name, such as --name shop")
    return written


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"--name: {name} is not a name for a dbt project; write it in lower case, with letters, digits and _")
    if name in _TAKEN:
        raise UsageError(f"--name: {name} is the name of a package that each project uses; give another one")
    if len(name) > _LONGEST:
        raise UsageError(f"--name: {name} has {len(name)} characters, and names of schemas are made of it; give one of at most {_LONGEST}")
    return name


def _require_empty(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise UsageError(f"{directory}: is a file; name a directory")
    # A repository that was just created, or cloned, has its own.
    if found := sorted(path.name for path in directory.iterdir() if path.name != ".git"):
        raise UsageError(f"{directory}: is not empty ({', '.join(found[:3])}{', …' if len(found) > 3 else ''}); name a new directory")


def _write(directory: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Refuses to follow a link, or to replace what somebody else has just written.
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
