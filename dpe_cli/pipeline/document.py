"""Build the docs site."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dpe_cli.access import visibility
from dpe_cli.access.matrix import Cell
from dpe_cli.pipeline import protection
from dpe_cli.progress import Progress
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.quality import results as rule_memory
from dpe_cli.quality.rules import find_all
from dpe_cli.server.server import Server
from dpe_cli.site import pages
from dpe_cli.specs.spec import Spec, read_all


def build(project: Project, server: Server, progress: Progress) -> Path:
    """Build the docs site as a single page, and return its path."""
    generate(project, server, progress)
    return write(project, server, read_all(project.specs_directory), protection.measure_published(project, server, progress))


def generate(project: Project, server: Server, progress: Progress) -> None:
    """Have dbt generate its docs. It renders every model, which runs their Jinja."""
    command = ["docs", "generate", "--target-path", str(_target(project))]
    with progress.task("dbt docs"):
        run_dbt(project, server, command)
        # dbt-osmosis leaves a parsed project that does not say whose it is, and dbt continues with it.
        if pages.read_manifest(_target(project))["metadata"]["project_name"] is None:
            run_dbt(project, server, [*command, "--no-partial-parse"])


def write(project: Project, server: Server, specs: Sequence[Spec], cells: Sequence[Cell]) -> Path:
    """Write the page from dbt's docs, with the rules, their history, and the rows that were seen in a measurement; return its path."""
    rules = find_all(project.manifest, specs)
    histories = rule_memory.histories(server, rules, runs=rule_memory.SHOWN_RUNS)
    return pages.write(_target(project), rules, rule_memory.states(server, rules), histories, visibility.table(cells, names_tenants=False))


def _target(project: Project) -> Path:
    """Return where dbt puts its docs: like dbt, where DBT_TARGET_PATH says."""
    return project.directory / os.environ.get("DBT_TARGET_PATH", "target")
