"""
Refuses a project with the macros of another version of dpe.

They call functions of the ledger, and the command line reads what they write.
"""

from __future__ import annotations

import re

from dpe_cli import __version__
from dpe_cli.errors import ProjectError
from dpe_cli.project.project import Project
from dpe_cli.server import versions

_NAME = "dpe_version"
_RETURNED = re.compile(r"return\(\s*'([^']+)'\s*\)")


def check(project: Project) -> None:
    """
    Check that the project has the macros of this version.

    Raises:
        ProjectError: it has those of another one, or none.
    """
    found = [macro["macro_sql"] for macro in project.manifest["macros"].values() if macro["name"] == _NAME]
    if not found:
        raise ProjectError(
            f"{project.directory}: has no macros of dpe, or those of a version before {__version__}; "
            f"copy macros/ and dbt_project.yml's hooks from dpe {__version__} into the project"
        )
    [version] = _RETURNED.findall(found[0]) or [None]
    if versions.is_newer(version):
        raise ProjectError(f"{project.directory}: has the macros of dpe {version}, and this is dpe {__version__}; install dpe {version}")
    if version != __version__:
        raise ProjectError(
            f"{project.directory}: has the macros of dpe {version}, and this is dpe {__version__}; "
            f"copy macros/ and dbt_project.yml's hooks from dpe {__version__} into the project"
        )
