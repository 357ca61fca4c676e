"""dpe finds the names of the project and its target as dbt does, without starting dbt unless Jinja decides them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support.dbt_projects import write

from dpe_cli.errors import ProjectError
from dpe_cli.project.identity import Identity, identify

PLAIN = "shop: {target: dev, outputs: {dev: {}, prod: {}}}\nbare: {outputs: {}}\n"


@pytest.mark.parametrize(
    ("settings", "profiles", "asked", "variables", "found"),
    [
        ("name: shops\nprofile: shop", PLAIN, None, {}, Identity("shops", "dev")),
        ("name: shops\nprofile: shop", PLAIN, "prod", {}, Identity("shops", "prod")),
        ("name: shops\nprofile: shop", PLAIN, None, {"DBT_TARGET": "prod"}, Identity("shops", "prod")),
        ("name: shops\nprofile: shop", PLAIN, None, {"DBT_PROFILE": "bare"}, Identity("shops", "default")),
        ("name: shops\nprofile: bare", PLAIN, None, {}, Identity("shops", "default")),
        (
            "name: shops\nprofile: \"{{ env_var('PROFILE', 'shop') }}\"",
            "shop: {target: \"{{ env_var('STAGE') if var('a') == 1 else 'dev' }}\", outputs: {}}",
            None,
            {"STAGE": "prod"},
            Identity("shops", "prod"),
        ),
    ],
)
def test_names_are_those_that_dbt_takes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: str,
    profiles: str,
    asked: str | None,
    variables: dict[str, str],
    found: Identity,
) -> None:
    """From the options, the environment and the files; Jinja is rendered."""
    write(tmp_path, {"dbt_project.yml": settings, "profiles.yml": profiles})
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if "{{" not in settings:
        # An import of dbt takes over a second.
        monkeypatch.setitem(sys.modules, "dbt.config.renderer", None)

    assert found == identify(tmp_path, target=asked, variables="{a: 1}")


@pytest.mark.parametrize(
    ("settings", "profiles", "says"),
    [
        ("profile: shop", PLAIN, r"dbt_project.yml: the project has no name; write it as `name: …`"),
        ("name: shops", PLAIN, r"dbt_project.yml: names no profile; write `profile: …`"),
        ("name: shops\nprofile: other", PLAIN, r"profiles.yml: has no profile other, which dbt_project.yml names; add it"),
        ("name: shops\nprofile: shop", "shop: {target: \"{{ env_var('MISSING') }}\"}", r"MISSING.*: dbt cannot render this setting"),
    ],
)
def test_a_project_without_names_is_refused(tmp_path: Path, settings: str, profiles: str, says: str) -> None:
    """Before anything is read from the ledger."""
    write(tmp_path, {"dbt_project.yml": settings, "profiles.yml": profiles})
    with pytest.raises(ProjectError, match=says):
        identify(tmp_path)
