"""
The dbt half of dpe: the package `dpe`, which comes with the command line, and where a project finds it.

A project names it in packages.yml by a path of its own, `.dpe/package`, so that no path of a machine lands in package-lock.yml. Every
command of dpe keeps a link there to the package of its own version.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dpe_cli.errors import ProjectError
from dpe_cli.state import ignored

NAME = "dpe"
# Within the project, whatever DPE_STATE says: packages.yml has to name one place.
PLACE = Path(".dpe") / "package"
DIRECTORY = Path(__file__).parents[1] / "dbt"
_NAMED_IN = ("packages.yml", "dependencies.yml")
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


def keep(project_dir: Path) -> None:
    """
    Link the package to the place where packages.yml names it, if it does, unless the link is right.

    In a project that is read-only, this does nothing; dbt itself reports a missing package.

    Raises:
        ProjectError: something else is in the place of the link.
    """
    link = project_dir / PLACE
    if not _may_be_named(project_dir):
        return
    if link.is_symlink() and os.readlink(link) == str(DIRECTORY):  # noqa: PTH115 as it was written
        return
    is_copy = link.exists() and not link.is_symlink()
    if is_copy and not _is_package(link):
        raise ProjectError(
            f"{link}: already exists and was not created by dpe, which keeps the link to its dbt package there; move it elsewhere"
        )
    try:
        ignored(link.parent)
        if is_copy:
            # The project was copied in a way that follows links.
            shutil.rmtree(link)
        # Another command of dpe may be doing the same.
        new = link.with_name(f"{link.name}.{os.getpid()}")
        new.unlink(missing_ok=True)
        new.symlink_to(DIRECTORY, target_is_directory=True)
        new.replace(link)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise


def install(project_dir: Path, deps: Callable[[], object]) -> None:
    """
    Have dbt install the project's packages with `deps`, if that of dpe is one of them and is not there.

    Raises:
        ProjectError: packages.yml or dbt_project.yml cannot be read.
    """
    from dpe_cli.project.dbt_inputs import packages_directory

    keep(project_dir)
    if _is_named(project_dir) and not (packages_directory(project_dir) / NAME / "dbt_project.yml").is_file():
        deps()


def _is_package(directory: Path) -> bool:
    settings = directory / "dbt_project.yml"
    return settings.is_file() and _read(settings).get("name") == NAME


def _may_be_named(project_dir: Path) -> bool:
    """Return false if the project surely does not name the package: quickly, because each command asks."""
    return any(str(PLACE).encode() in path.read_bytes() for name in _NAMED_IN if (path := project_dir / name).is_file())


def _is_named(project_dir: Path) -> bool:
    """Return whether the project names the package by its place."""
    return any(Path(package.get("local") or "") == PLACE for package in _packages(project_dir))


def _packages(project_dir: Path) -> Iterator[dict[str, Any]]:
    for name in _NAMED_IN:
        settings = _read(project_dir / name) if (project_dir / name).is_file() else {}
        yield from (package for package in settings.get("packages") or [] if isinstance(package, dict))


def _read(path: Path) -> dict[str, Any]:
    from dpe_cli.project.dbt_inputs import settings_of

    return dict(settings_of(path))
