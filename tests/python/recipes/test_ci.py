"""
The CI configuration that `dpe init` writes, and that of docs/guides/scheduling/ci.md: its steps, run in a fresh clone as a runner does.

The last test takes the steps of the Dockerfile and of the Compose file, without containers.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from conftest import numbers
from support import wheel
from support.long_tests import LONG
from support.recipes import BROKEN, Deployment

from dpe_cli.cli import main
from dpe_cli.server.server import Server

pytestmark = LONG
EXPRESSION = re.compile(r"\$\{\{ (\S+) \}\}")


@dataclass(frozen=True)
class Runner:
    """A machine with Python as setup-python or the image python:3.11 has it: `dpe` is installed by the job. `index` stands in for PyPI."""

    python: Path
    index: Path

    def run(self, shell: Sequence[str], script: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script in a directory, with what every job has and these variables."""
        environment = {
            "PATH": f"{self.python}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(directory.parent),
            "CI": "true",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        return subprocess.run(
            [*shell, script], cwd=directory, env=environment | variables, capture_output=True, text=True, check=False, timeout=250
        )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a directory with the wheel that a project's requirements.txt names."""
    directory = tmp_path_factory.mktemp("index")
    wheel.build(directory)
    return directory


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a Python that has what dpe depends on, to save the time of its installation, but not dpe."""
    directory = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", directory / "python"], check=True)
    (directory / "dependencies").mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("data_provisioning_engine", "_editable", "pip")):
            (directory / "dependencies" / path.name).symlink_to(path)
    [packages] = (directory / "python/lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{directory / 'dependencies'}\n", encoding="utf-8")
    program = directory / "python/bin/dbt"
    program.write_text(f"#!{directory}/python/bin/python\nfrom dbt.cli.main import cli\n\ncli()\n", encoding="utf-8")
    program.chmod(0o755)
    return directory / "python"


@pytest.fixture
def runner(python: Path, index: Path) -> Iterator[Runner]:
    """Give a machine on which dpe is not installed."""
    assert not (python / "bin/dpe").exists()
    yield Runner(python, index)
    subprocess.run([python / "bin/python", "-m", "pip", "--quiet", "uninstall", "--yes", "data-provisioning-engine"], check=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository with a new project, all committed but what it ignores."""
    directory = tmp_path / "repository"
    assert main.run(["init", str(directory), "--name", "shop"]) == 0
    commit(directory)
    return directory


def commit(directory: Path) -> None:
    """Commit everything."""
    git = ["git", "-C", str(directory), "-c", "user.name=shop", "-c", "user.email=shop@example.org"]
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "Change"]):
        subprocess.run([*git, *arguments], check=True)


@pytest.fixture
def clone(repository: Path, scratch: Path) -> Iterator[Path]:
    """Name the directory of a runner's clone, in which an embedded server may run."""
    place = scratch / f"ci-{next(numbers)}"
    place.mkdir()
    yield place / repository.name
    if (place / repository.name / ".dpe/postgres").exists():
        assert main.run(["--project-dir", str(place / repository.name), "db", "stop"]) == 0


def check_out(repository: Path, clone: Path) -> None:
    """Clone the repository, as a job begins."""
    subprocess.run(["git", "clone", "--quiet", str(repository), str(clone)], check=True)


def github(runner: Runner, job: Mapping[str, Any], clone: Path, values: Mapping[str, str] | None = None) -> list[int]:
    """Run the job's steps until one fails; return their exit statuses. `values` are what expressions like `vars.PGHOST` stand for."""

    def resolved(text: str) -> str:
        return EXPRESSION.sub(lambda found: (values or {}).get(found[1], ""), text)

    variables = {name: resolved(value) for name, value in job.get("env", {}).items()}
    variables |= {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "shop/shop",
        "GITHUB_RUN_ID": "1",
    }
    statuses: list[int] = []
    for step in job["steps"]:
        if "run" in step and not any(statuses):
            ran = runner.run(["bash", "-ec"], step["run"], clone, **variables)
            print(ran.stdout, ran.stderr, sep="\n")
            statuses.append(ran.returncode)
    return statuses


def gitlab(runner: Runner, job: Mapping[str, Any], clone: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the job's script, whose lines share a shell and end at the first that fails."""
    ran = runner.run(["bash", "-eo", "pipefail", "-c"], "\n".join(job["script"]), clone, GITLAB_CI="true", **variables)
    print(ran.stdout, ran.stderr, sep="\n")
    return ran


def suites(report: Path) -> dict[str, tuple[str | None, str | None]]:
    """Return the failures and errors of each suite of a report."""
    return {str(suite.get("name")): (suite.get("failures"), suite.get("errors")) for suite in ET.parse(report).getroot()}  # noqa: S314 our own


def test_the_workflow_of_a_new_project_succeeds(runner: Runner, repository: Path, clone: Path) -> None:
    """On GitHub: each of its steps, on the embedded server; the artifact that it uploads is a report without failures."""
    check_out(repository, clone)
    job = yaml.safe_load((clone / ".github/workflows/dpe.yml").read_text())["jobs"]["validate"]

    assert [0, 0] == github(runner, job, clone)

    [upload] = [step for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
    found = suites(clone / upload["with"]["path"])
    assert {"counts", "rules: validity", "row-level security"} < found.keys()
    assert {("0", "0")} == set(found.values())


def test_the_workflow_of_a_new_project_fails_with_its_rules(
    runner: Runner, repository: Path, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On GitHub: the log of `dpe run` names the rule, and so does the report."""
    (repository / "data/orders/2026-02.csv").write_text(BROKEN, encoding="utf-8")
    commit(repository)
    check_out(repository, clone)
    job = yaml.safe_load((clone / ".github/workflows/dpe.yml").read_text())["jobs"]["validate"]

    assert [0, 1] == github(runner, job, clone)

    assert "- rule SHOP-1-01 failed: orders_have_an_amount (1 failing)" in capsys.readouterr().out
    assert ("1", "0") == suites(clone / "dpe.xml")["rules: validity"]


def test_the_job_of_a_new_project_succeeds(runner: Runner, repository: Path, clone: Path) -> None:
    """On GitLab: its script, on the embedded server; the report is one of JUnit without failures."""
    check_out(repository, clone)
    job = yaml.safe_load((clone / ".gitlab-ci.yml").read_text())["validate"]

    assert 0 == gitlab(runner, job, clone).returncode

    assert {("0", "0")} == set(suites(clone / job["artifacts"]["reports"]["junit"]).values())


def test_the_nightly_workflow_publishes_to_a_server(deployment: Deployment, runner: Runner, repository: Path, clone: Path) -> None:
    """On GitHub: with the variables that the guide says to create, of which a secret that does not exist is empty."""
    check_out(repository, clone)
    workflow = yaml.safe_load(deployment.code("scheduling/ci", "GitHub Actions", "yaml"))
    job = workflow["jobs"]["run"]
    server = deployment.server

    assert [0, 0] == github(runner, job, clone, {"vars.PGHOST": server.host, "vars.PGDATABASE": server.database})

    assert [1, 2, 3, 4, 5, 6] == deployment.orders()
    assert not (clone / ".dpe/postgres").exists()
    named = {name for text in job["env"].values() for name in EXPRESSION.findall(text)}
    assert {"vars.PGHOST", "vars.PGDATABASE"} | {
        f"secrets.{name}" for name in ("DPE_LOADER_PASSWORD", "DPE_TRANSFORMER_PASSWORD", "DPE_RUN_NOTIFY")
    } == named


def test_the_nightly_job_publishes_to_a_server(deployment: Deployment, runner: Runner, repository: Path, clone: Path) -> None:
    """On GitLab: added to the file that `dpe init` wrote; a second run loads nothing twice."""
    with (repository / ".gitlab-ci.yml").open("a", encoding="utf-8") as file:
        file.write(deployment.code("scheduling/ci", "GitLab", "yaml"))
    commit(repository)
    server = deployment.server
    for _ in range(2):
        check_out(repository, clone)
        jobs = yaml.safe_load((clone / ".gitlab-ci.yml").read_text())
        assert {"validate", "nightly"} == jobs.keys()
        assert 0 == gitlab(runner, jobs["nightly"], clone, PGHOST=server.host, PGDATABASE=server.database).returncode
        shutil.rmtree(clone)

    assert ([1, 2, 3, 4, 5, 6], [6]) == (deployment.orders(), deployment.loads())


def test_the_containers_build_and_run_the_project(runner: Runner, server: Server, tmp_path: Path) -> None:
    """Each instruction of the Dockerfile in its order, then what Compose runs, with its variables; passwords are not in the image."""
    project, image = tmp_path / "shop", tmp_path / "image/shop"
    assert main.run(["init", str(project), "--docker"]) == 0
    (project / ".env").write_text("POSTGRES_PASSWORD=hunter2\n", encoding="utf-8")
    image.mkdir(parents=True)
    ignored = [line.strip("/") for line in (project / ".dockerignore").read_text(encoding="utf-8").splitlines()]
    lines = (project / "Dockerfile").read_text(encoding="utf-8").splitlines()
    instructions = [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines if line and not line.startswith("#")]

    for instruction, rest in instructions:
        if instruction == "COPY" and rest.split()[-2:] == [".", "."]:
            shutil.copytree(project, image, ignore=shutil.ignore_patterns(*ignored), dirs_exist_ok=True)
        elif instruction == "COPY":
            shutil.copy(project / rest.split()[-2], image)
        elif instruction == "RUN" and not rest.startswith("useradd"):
            # In the image, pip installs for the user; here, into an environment, where it refuses that.
            done = runner.run(["/bin/sh", "-ec"], rest.replace(" --user", ""), image)
            assert 0 == done.returncode, done.stdout + done.stderr

    assert not (image / ".env").exists()
    services = yaml.safe_load((project / "compose.yml").read_text(encoding="utf-8"))["services"]
    command = json.loads(dict(instructions)["CMD"])
    place = {"PGHOST": server.host, "PGPORT": str(server.port), "PGDATABASE": server.database}
    for name, said in (("bootstrap", "already there"), ("pipeline", "DPE SUCCESS")):
        variables = {variable: value.replace("${", "").partition(":?")[0] for variable, value in services[name]["environment"].items()}
        assert {"PGHOST": "database", "PGDATABASE": "shop"}.items() <= variables.items()
        done = runner.run(["/bin/sh", "-ec"], shlex.join(services[name].get("command", command)), image, **variables | place)
        assert (0, True) == (done.returncode, said in done.stdout), done.stdout + done.stderr
