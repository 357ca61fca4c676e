"""
What dbt's users have next to it: dbt packages, and programs in environments of their own.

`make compatibility-tools` installs the programs into .dpe/tools. dbt packages come from a hub that not every machine can reach:
DPE_TEST_DBT_PACKAGES is a directory with their sources.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.guides import REPOSITORY
from support.recipes import PATH, Deployment

# The tests remove it from the environment, like all variables of dpe.
PACKAGES = os.environ.get("DPE_TEST_DBT_PACKAGES")
# Where a package says its version: that in dbt_project.yml is often not that of the release.
VERSION_IN = {
    "dbt_utils": ("CHANGELOG.md", r"^# dbt utils v([\d.]+)"),
    "dbt_expectations": ("README.md", r"^ +version: ([\d.]+)"),
    "elementary": ("dbt_project.yml", r'^version: "([\d.]+)"'),
}
ENVIRONMENTS = REPOSITORY / ".dpe" / "tools"
TESTS = REPOSITORY / "tests" / "python"
# What docs/reference/compatibility.md shows.
TABLE: list[dict[str, Any]] = yaml.safe_load((TESTS / "tools" / "tools.yml").read_text(encoding="utf-8"))
# The options with which dbt-osmosis leaves contracts of sources as they are.
KEEP_CONTRACTS = "--skip-add-source-columns --numeric-precision-and-scale"


def needs_packages(*names: str) -> pytest.MarkDecorator:
    """Skip a test if the sources of a dbt package are not there."""
    missing = [name for name in names if not PACKAGES or not (Path(PACKAGES) / name / "dbt_project.yml").exists()]
    reason = f"DPE_TEST_DBT_PACKAGES names no directory with {', '.join(missing)}: sources of dbt packages, which come from a hub"
    return pytest.mark.skipif(bool(missing), reason=reason)


def needs_programs(name: str) -> pytest.MarkDecorator:
    """Skip a test if `make compatibility-tools` could not install a tool."""
    reason = f"{name} is not installed; `make compatibility-tools` installs it, where there is a network"
    return pytest.mark.skipif(not (ENVIRONMENTS / name / "installed").exists(), reason=reason)


def version_of_package(name: str) -> str:
    """Return the version of a dbt package, as its sources say."""
    file, pattern = VERSION_IN[name]
    [version, *_] = re.findall(pattern, (Path(str(PACKAGES)) / name / file).read_text(encoding="utf-8"), re.MULTILINE)
    return str(version)


def version_in(environment: Path, distribution: str) -> str:
    """Return the version of a distribution in an environment."""
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return subprocess.run([environment / "bin" / "python", "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def pinned(requirements: str, distribution: str) -> str:
    """Return the version of a distribution in a file of requirements."""
    [version] = re.findall(rf"^{re.escape(distribution)}==(.+)$", (TESTS / requirements).read_text(encoding="utf-8"), re.MULTILINE)
    return str(version)


def install(deployment: Deployment, *names: str) -> None:
    """
    Install copies of dbt packages in the project, which lie next to it.

    What they need of the hub has to be among `names`.
    """
    copies = deployment.directory.parent / "packages"
    for name in names:
        shutil.copytree(Path(str(PACKAGES)) / name, copies / name, ignore=shutil.ignore_patterns("integration_tests", ".*"))
        needed = copies / name / "packages.yml"
        if needed.exists():
            own = [entry["package"].rpartition("/")[2] for entry in yaml.safe_load(needed.read_text(encoding="utf-8"))["packages"]]
            needed.write_text(yaml.safe_dump(_local(*own)), encoding="utf-8")
    with (deployment.directory / "packages.yml").open("a", encoding="utf-8") as file:
        file.write("".join(f"  - local: ../packages/{name}\n" for name in names))
    dpe(deployment, "dbt deps")


def _local(*names: str) -> dict[str, list[dict[str, str]]]:
    return {"packages": [{"local": f"../packages/{name}"} for name in names]}


def dpe(deployment: Deployment, command: str, status: int = 0) -> str:
    """Run a command of dpe in the project, which ends with this exit status, and return what it writes to standard output."""
    return _run(deployment, f".venv/bin/dpe {command}", status)


def run(deployment: Deployment, name: str, command: str, status: int = 0) -> str:
    """Run a command of a tool like one of dpe, in a shell with the variables of `dpe env`."""
    programs = shlex.quote(str(ENVIRONMENTS / name / "bin"))
    return _run(deployment, f'eval "$(.venv/bin/dpe env)"; PATH={programs}:{PATH}; {command}', status)


def _run(deployment: Deployment, command: str, status: int) -> str:
    ran = deployment.run(command)
    assert status == ran.returncode, ran.stdout + ran.stderr
    return ran.stdout


def write(deployment: Deployment, files: Mapping[str, str]) -> None:
    """Write files of the project, by their paths."""
    for path, text in files.items():
        (deployment.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (deployment.directory / path).write_text(text, encoding="utf-8")


def change(deployment: Deployment, path: str, before: str, after: str) -> None:
    """Replace a text that a file of the project contains once."""
    text = (deployment.directory / path).read_text(encoding="utf-8")
    assert 1 == text.count(before), f"{path}: {before}"
    write(deployment, {path: text.replace(before, after)})
