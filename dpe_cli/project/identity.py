"""Which project and target dpe works for: their names, as dbt would find them, without starting dbt unless Jinja decides them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_cli.errors import ProjectError
from dpe_cli.project.dbt_inputs import profiles_file, settings_of

# dbt's, for a profile without `target:` (dbt/config/profile.py, render_profile).
DEFAULT_TARGET = "default"


@dataclass(frozen=True)
class Identity:
    """The names of a dbt project, and of its target in profiles.yml."""

    project: str
    target: str


def identify(directory: Path, *, profiles_dir: Path | None = None, target: str | None = None, variables: str | None = None) -> Identity:
    """
    Return the name of the project in a directory, and of the target that dbt takes; `target` is the one that was asked for.

    Raises:
        ProjectError: the project has no name, or no profile of that name.
    """
    path = directory / "dbt_project.yml"
    project = settings_of(path)
    name = rendered(project.get("name"), variables)
    if not name:
        raise ProjectError(f"{path}: the project has no name; write it as `name: …`, because the ledger keeps projects apart by it")
    chosen = target or os.environ.get("DBT_TARGET")
    return Identity(name, chosen or _target_of(project, profiles_file(directory, profiles_dir), path, variables))


def _target_of(project: Mapping[str, Any], profiles: Path, declared_in: Path, variables: str | None) -> str:
    profile = os.environ.get("DBT_PROFILE") or rendered(project.get("profile"), variables)
    if not profile:
        raise ProjectError(f"{declared_in}: names no profile; write `profile: …`, a name in profiles.yml")
    if not profiles.exists():
        raise ProjectError(f"{profiles}: does not exist; write dbt's profile {profile} there, or name its directory with --profiles-dir")
    found = settings_of(profiles).get(profile)
    if not isinstance(found, Mapping):
        raise ProjectError(f"{profiles}: has no profile {profile}, which {declared_in.name} names; add it, or correct the name")
    return rendered(found.get("target"), variables) or DEFAULT_TARGET


def rendered(value: object, variables: str | None) -> str:
    """
    Return a setting as dbt renders it, or an empty text if there is none.

    Raises:
        ProjectError: dbt cannot render it.
    """
    text = "" if value is None else str(value)
    return _rendered_by_dbt(text, variables) if "{" in text else text


def _rendered_by_dbt(text: str, variables: str | None) -> str:
    import yaml
    from dbt.config.renderer import ProfileRenderer  # it takes over a second to import
    from dbt_common.context import set_invocation_context
    from dbt_common.exceptions import DbtBaseException

    set_invocation_context(os.environ)
    try:
        return str(ProfileRenderer(yaml.safe_load(variables or "{}")).render_value(text))
    except (DbtBaseException, yaml.YAMLError) as error:
        raise ProjectError(f"{text}: dbt cannot render this setting ({' '.join(str(error).split())}); correct it") from error
