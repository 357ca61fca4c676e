"""Hold the specs of a project against their sources: as the project declares them, or where the spec says that they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from dpe_cli.blocks import reading
from dpe_cli.blocks.inputs import QueryInput
from dpe_cli.errors import SpecError
from dpe_cli.infer.sample import parts_of, take_sample
from dpe_cli.ingest.extract import inputs_of
from dpe_cli.progress import Progress
from dpe_cli.project.project import Project
from dpe_cli.project.source import Source
from dpe_cli.quality import coverage, spec_differences
from dpe_cli.specs import approval, gate
from dpe_cli.specs.gate import Verdict
from dpe_cli.specs.reading.read import read
from dpe_cli.specs.source_data import SourceData

# Of each source; what is beyond them is checked when it is loaded.
_MOST_RECORDS = 1_000_000
_NAMED = frozenset({"model", "seed", "snapshot"})


def check(project: Project, paths: Sequence[Path], progress: Progress) -> tuple[list[Verdict], list[SpecError]]:
    """
    Check specs; return their verdicts, and why others cannot be read at all.

    Raises:
        ProjectError: a pattern of the project is not valid, or its sources are not.
    """
    readings = {name: partial(_read, source, project.directory) for name, source in project.sources.items()}
    nodes = frozenset(str(node["name"]).casefold() for node in project.manifest["nodes"].values() if node["resource_type"] in _NAMED)
    tests, models = coverage.rule_tests(project.manifest), list(project.models.values())
    verdicts: list[Verdict] = []
    errors: list[SpecError] = []
    for path in paths:
        with progress.task(path.name):
            try:
                requirement = replace(read(path), project_names=nodes)
                others = [*spec_differences.differences(requirement, tests, models), *approval.findings(requirement)]
                verdicts.append(gate.check(requirement, project.directory, readings, others))
            except SpecError as error:
                errors.append(error)
    return verdicts, errors


@contextmanager
def _read(source: Source, project_dir: Path) -> Iterator[SourceData]:
    with reading.searching(source.name):
        inputs = inputs_of(source, project_dir=project_dir)
    for input_ in inputs:
        if isinstance(input_, QueryInput):
            # All that there is, not what is new.
            input_.begin(None)
    with take_sample(lambda: parts_of(inputs, _MOST_RECORDS)) as sample:
        sample.load(str(getattr(source.external, "null_string", "") or ""))
        yield SourceData(sample.connection, sample.places, sample.records, sample.is_cut)
