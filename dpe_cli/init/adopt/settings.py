"""What the project's settings need: the package dpe, its place in `dispatch`, and a connection that comes from the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpe_cli.errors import ProjectError
from dpe_cli.init import templates
from dpe_cli.init.adopt.changes import Changes
from dpe_cli.project.dbt_inputs import settings_of
from dpe_cli.project.package import NAME, PLACE
from dpe_cli.yaml_insertion import parsed, with_item, with_value

SETTINGS = "dbt_project.yml"
PROFILES = "profiles.yml"
_IGNORED = ("dbt_packages/", "target/", "logs/", ".env")
# Where dpe's variables give a part of the connection; the former value stays as the default.
_FROM_ENVIRONMENT = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "database": "PGDATABASE", "user": "PGUSER"}
_PASSWORD = "{{ env_var('DPE_TRANSFORMER_PASSWORD', env_var('PGPASSWORD', '')) }}"  # noqa: S105 the variables' names
_PASSWORDS = ("password", "pass")
_ONE_EXPRESSION = re.compile(r"\{\{((?:(?!\}\}).)*)\}\}", re.DOTALL)
_AS_NUMBER = re.compile(r"\|\s*(as_number|as_native|int)\s*$")


def add_package(changes: Changes) -> None:
    """
    Name the package dpe among the project's.

    Raises:
        ProjectError: the file cannot be extended safely.
    """
    path = "dependencies.yml" if "packages" in _content(changes, "dependencies.yml") else "packages.yml"
    packages = _content(changes, path).get("packages")
    if isinstance(packages, list) and any(isinstance(package, dict) and package.get("local") == str(PLACE) for package in packages):
        return
    changes.edit(path, lambda text: with_item(text, ["packages"], {"local": str(PLACE)}))


def put_first(changes: Changes, name: str) -> None:
    """
    Put dpe first where dbt looks for its macros; `name` is the project's.

    Raises:
        ProjectError: the file cannot be extended safely.
    """
    dispatch = _content(changes, SETTINGS).get("dispatch")
    entries = [entry for entry in dispatch if isinstance(entry, dict)] if isinstance(dispatch, list) else []
    of_dbt = next((entry for entry in entries if entry.get("macro_namespace") == "dbt"), None)
    if of_dbt is None:
        entry = {"macro_namespace": "dbt", "search_order": [NAME, name, "dbt"]}
        changes.edit(SETTINGS, lambda text: with_item(text, ["dispatch"], entry))
        return
    order = of_dbt.get("search_order")
    if not isinstance(order, list):
        raise ProjectError(f"{SETTINGS}: dispatch: has no search_order for macro_namespace dbt; write a list of packages")
    if order[:1] == [NAME]:
        return
    if NAME in order:
        raise ProjectError(f"{SETTINGS}: dispatch: {NAME} is not first in the search_order for dbt; move it to the first place")
    changes.edit(SETTINGS, lambda text: with_item(text, ["dispatch", ("macro_namespace", "dbt"), "search_order"], NAME, first=True))


def connect_by_environment(changes: Changes, profile: str, profiles: Path) -> None:
    """
    Have the outputs of a profile connect to the server that dpe uses, as dpe_transformer, by the variables that dpe sets.

    If `profiles`, the file that dbt reads, is not the project's, the profile is copied into one of the project, without passwords.

    Raises:
        ProjectError: the file cannot be read, or extended safely.
    """
    is_own = profiles.resolve() == (changes.directory / PROFILES).resolve()
    if not is_own:
        found = settings_of(profiles).get(profile)
        copied = {name: output for name, output in outputs(found).items() if output.get("type") == "postgres"}
        document = {profile: {"target": found.get("target") if isinstance(found, Mapping) else None, "outputs": _without_passwords(copied)}}
        changes.edit(PROFILES, lambda _: _in_blocks(document))
    for name in outputs(_content(changes, PROFILES).get(profile)):
        for key, setting in _connection(_output(changes, profile, name)).items():
            # YAML's merge keys may have changed it already, with another output.
            if _output(changes, profile, name).get(key) != setting:
                changes.edit(PROFILES, _setting([profile, "outputs", name, key], setting))


def _connection(output: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of an output that have to change, with their new values."""
    if output.get("type") != "postgres":
        return {}
    found = {
        key: _or_former(variable, output[key])
        for key, variable in _FROM_ENVIRONMENT.items()
        if key in output and variable not in str(output[key])
    }
    named = [key for key in _PASSWORDS if key in output] or ["password"]
    return found | {key: _PASSWORD for key in named if "DPE_TRANSFORMER_PASSWORD" not in str(output.get(key))}


def _output(changes: Changes, profile: str, name: str) -> Mapping[str, Any]:
    return outputs(_content(changes, PROFILES).get(profile))[name]


def outputs(profile: object) -> dict[str, Mapping[str, Any]]:
    """Return the outputs of a profile by the names of their targets."""
    found = profile.get("outputs") if isinstance(profile, Mapping) else None
    return {str(name): output for name, output in found.items() if isinstance(output, Mapping)} if isinstance(found, Mapping) else {}


def passwords(profile: object) -> list[str]:
    """Return the passwords that stand in a profile as they are; a diff must not show them."""
    texts = (output.get(key) for output in outputs(profile).values() for key in _PASSWORDS)
    return [str(text) for text in texts if text and "{" not in str(text)]


def keep_out(changes: Changes) -> None:
    """Keep what dbt makes, and the file with secrets, out of version control."""
    before = changes.text(".gitignore") or ""
    present = {line.strip().strip("/") for line in before.splitlines()}
    missing = [name for name in _IGNORED if name.strip("/") not in present]
    if missing:
        end = "\n" if before and not before.endswith("\n") else ""
        changes.edit(".gitignore", lambda text: "".join([text, end, *(f"{name}\n" for name in missing)]))


def add_variables(changes: Changes, name: str, present: Mapping[str, str]) -> None:
    """List the variables that dpe reads in .env.example, with those of the present database, if the project has no such file."""
    if changes.text(".env.example") is not None:
        return
    text = templates.render(("project",), {"name": name, "version": "", "with_docker": False})[".env.example"]
    lines = []
    for line in text.splitlines():
        variable = line.lstrip("#").partition("=")[0]
        lines.append(f"{variable}={present[variable]}" if variable in present else line)
    changes.edit(".env.example", lambda _: "".join(f"{line}\n" for line in lines))


def _content(changes: Changes, path: str) -> Mapping[str, Any]:
    content = parsed(changes.text(path) or "")
    return content if isinstance(content, Mapping) else {}


def _setting(path: list[str], value: str) -> Any:
    return lambda text: with_value(text, path, value, repeated=True)


def _or_former(variable: str, former: object) -> str:
    """Return the Jinja for a variable of dpe, or what stood there before if the variable is not set."""
    text = str(former)
    as_number = " | as_number" if variable == "PGPORT" else ""
    if expression := _ONE_EXPRESSION.fullmatch(text.strip()):
        given = f"env_var('{variable}', '') or {_AS_NUMBER.sub('', expression[1].strip()).strip()}"
        return f"{{{{ ({given}){as_number} }}}}" if as_number else f"{{{{ {given} }}}}"
    if "{" in text or "'" in text:
        raise ProjectError(f"{PROFILES}: {text}: is neither a value nor one Jinja expression; write it as one, then repeat")
    return f"{{{{ env_var('{variable}', '{text}'){as_number} }}}}"


def _without_passwords(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {key: value for key, value in output.items() if key not in _PASSWORDS} for name, output in outputs.items()}


def _in_blocks(document: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(document, default_flow_style=False, sort_keys=False, width=10_000, allow_unicode=True)
