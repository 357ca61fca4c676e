"""
Measure how much of a build protection, rule memory and publishing take: DPE-101's models, built in four ways, in turns.

    make bench-build                       everything
    make bench-build ARGS="--rounds 3"     a quick run

Each build is a process of its own on the same embedded server, into the same database. Markdown goes to standard output,
progress to standard error.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import measure
import report

from dpe_cli.cli.app import App
from dpe_cli.project import package
from dpe_cli.server.bootstrap import bootstrap
from dpe_cli.server.embedded.server import EmbeddedServer

REPOSITORY = Path(__file__).parent.parent
DIRECTORY = REPOSITORY / ".bench" / "build"
PLAIN_DIRECTORY = REPOSITORY / ".bench" / "build-plain"
OPEN_DIRECTORY = REPOSITORY / ".bench" / "build-open"
PROJECT = ("dbt_project.yml", "profiles.yml", "demo/macros", "models", "seeds", "specs", "tests/singular", "data")
# Each project has a copy of dpe's dbt package, in which parts can be left out.
PACKAGE = "package"

# What dpe adds to dbt at the end of a build.
MEMORY = ', "{{ dpe.remember_rules() }}"'
# It also closes what is not protected as it was recorded, which would be everything in the way without protection.
CLOSING = '"{{ dpe.close_changed_relations() }}", "{{ dpe.close_changed_relations() }}"'
# What dpe adds to dbt when a relation is created, and when it is granted. Quarantines and foreign keys are not protection.
OVERRIDES = '  - "{{ dpe.refuse_overrides() }}"\n'
POLICY_MACROS = ("postgres__create_table_as.sql", "postgres__create_view_as.sql")
PROTECTION = (
    "{{ dpe.apply_policies(relation, grant_config or {}) }}",
    "select dpe.refuse_changes_of_hooks({{ dpe.regclass_of(relation) }}, {{ dpe.literal_of(model.unique_id) }});",
)
OPEN = "dbt build, no rule remembered, nothing protected"
PLAIN, REMEMBERED, PUBLISHED = "dbt build, no rule remembered", "dbt build", "build, test and publish, as dpe run does"
STEP = """
import sys
from dpe_cli.cli.app import App
from dpe_cli.cli.report import ProgressDisplay
from dpe_cli.pipeline.build import build_and_publish
from dpe_cli.pipeline.options import RunOptions

app = App()
with ProgressDisplay() as progress:
    built = build_and_publish(app.project, app.server, (), ("source:met+",), progress, RunOptions())
sys.exit(built.not_published)
"""


def main() -> None:
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(
        description="Measure how much of a build protection, rule memory and publishing take.", allow_abbrev=False
    )
    parser.add_argument("--rounds", type=int, default=5, help="builds in each way (default: %(default)s)")
    rounds = parser.parse_args().rounds
    for name in [name for name in os.environ if name.startswith(("PG", "DPE_", "DBT_"))]:
        del os.environ[name]
    for directory in (DIRECTORY, PLAIN_DIRECTORY, OPEN_DIRECTORY):
        _make_project(directory)
    _leave_out(PLAIN_DIRECTORY / PACKAGE / "dbt_project.yml", MEMORY)
    opened = OPEN_DIRECTORY / PACKAGE
    for part in (MEMORY, CLOSING, OVERRIDES):
        _leave_out(opened / "dbt_project.yml", part)
    for part in PROTECTION:
        # dbt sends a statement all the same.
        _leave_out(opened / "macros" / "rls" / "postgres__apply_grants.sql", part, instead="select 1;")
    for name in POLICY_MACROS:
        (opened / "macros" / "rls" / name).unlink()
    server = App(given_project_dir=DIRECTORY).identified_server()
    try:
        with server.connect("admin") as connection:
            bootstrap(connection)
            version = str(connection.info.parameter_status("server_version"))
        dpe = str(Path(sys.executable).parent / "dpe")
        # DPE-102 calls an API, which is not part of a build.
        subprocess.run([dpe, "extract", "source:nyc"], cwd=DIRECTORY, check=True, stdout=subprocess.DEVNULL)
        dbt = [str(Path(sys.executable).parent / "dbt"), "build", "--quiet", "--exclude", "source:met+"]
        ways = {
            OPEN: (dbt, OPEN_DIRECTORY),
            PLAIN: (dbt, PLAIN_DIRECTORY),
            REMEMBERED: (dbt, DIRECTORY),
            PUBLISHED: ([sys.executable, "-c", STEP], DIRECTORY),
        }
        environment = os.environ | server.environment()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 1):
            for name, (command, directory) in ways.items():
                measured = measure.run(command, environment=environment, directory=directory)
                if measured.exit_status:
                    sys.exit(f"{name}: {measured.output}")
                # The first round parses the project.
                if number:
                    seconds[name].append(measured.seconds)
                print(f"round {number}, {name}: {measured.seconds:.2f} s", file=sys.stderr, flush=True)
    finally:
        EmbeddedServer(DIRECTORY / ".dpe" / "postgres").stop()
    base = statistics.median(seconds[OPEN])
    rows = [
        f"| {name} | {statistics.median(taken):.2f} | {min(taken):.1f} to {max(taken):.1f} | {statistics.median(taken) / base:.2f} |"
        for name, taken in seconds.items()
    ]
    head = ["| build | median s | range s | times the first |", "| --- | ---: | ---: | ---: |"]
    print(report.machine(version), "\n".join([*head, *rows]), sep="\n\n")


def _leave_out(file: Path, part: str, *, instead: str = "") -> None:
    text = file.read_text()
    if part not in text:
        sys.exit(f"{file}: contains no {part}; correct bench/build.py")
    file.write_text(text.replace(part, instead))


def _make_project(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in PROJECT:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, directory / name, dirs_exist_ok=True)
        else:
            shutil.copy(source, directory)
    shutil.rmtree(directory / PACKAGE, ignore_errors=True)
    shutil.copytree(package.DIRECTORY, directory / PACKAGE)
    (directory / "packages.yml").write_text(f"packages: [{{local: {PACKAGE}}}]\n")
    subprocess.run([Path(sys.executable).parent / "dbt", "deps", "--quiet"], cwd=directory, check=True)


if __name__ == "__main__":
    main()
