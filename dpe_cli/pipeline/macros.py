"""
Refuses a project without the dbt package of dpe, or with that of another version.

Its macros call functions of the ledger, and the command line reads what they write.
"""

from __future__ import annotations

import re

from dpe_cli import __version__
from dpe_cli.errors import ProjectError
from dpe_cli.project.package import NAME, PLACE
from dpe_cli.project.project import Project

_VERSION = f"macro.{NAME}.dpe_version"
_RETURNED = re.compile(r"return\(\s*'([^']+)'\s*\)")


def check(project: Project) -> None:
    """
    Check that the project uses the dbt package of this version.

    Raises:
        ProjectError: it uses that of another one, or none.
    """
    found = project.manifest["macros"].get(_VERSION)
    if not found:
        name = project.manifest["metadata"]["project_name"]
        raise ProjectError(
            f"{project.directory}: does not use the dbt package {NAME}, which protects what dbt builds; write in packages.yml "
            f"`packages: [{{local: {PLACE}}}]`, and in dbt_project.yml "
            f"`dispatch: [{{macro_namespace: dbt, search_order: [{NAME}, {name}, dbt]}}]`, then run again"
        )
    [version] = _RETURNED.findall(found["macro_sql"]) or [None]
    if version != __version__:
        raise ProjectError(
            f"{project.directory}: has the dbt package of dpe {version}, and this is dpe {__version__}; run `dpe dbt deps`, then run again"
        )
