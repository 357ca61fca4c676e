"""Check the present state: counts, reconciliation, rules, row-level security, freshness and coverage of the specs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from dpe_cli.access import visibility
from dpe_cli.access.matrix import Cell
from dpe_cli.access.visibility import Visibility
from dpe_cli.errors import UsageError
from dpe_cli.pipeline import checks as validation
from dpe_cli.pipeline import protection
from dpe_cli.pipeline.build import BuildResult
from dpe_cli.pipeline.checks import Check
from dpe_cli.progress import Progress
from dpe_cli.project.dbt_runner import RELATIONS, NodeResult, run_dbt
from dpe_cli.project.project import Project, Source
from dpe_cli.quality import freshness, reconcile_config, reconciliation
from dpe_cli.quality.coverage import RuleTest, rule_tests
from dpe_cli.quality.freshness import Freshness
from dpe_cli.quality.reconciliation import Reconciliation
from dpe_cli.server.server import Server
from dpe_cli.specs.spec import Spec, read_all
from dpe_cli.specs.spec import find as find_spec


@dataclass(frozen=True)
class Validation:
    """The checks and the results of the rules' tests."""

    checks: list[Check]
    results: list[NodeResult]
    visibility: list[Visibility]
    reconciliation: Reconciliation = field(default_factory=Reconciliation)
    freshness: list[Freshness] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every check holds and no test of error severity failed."""
        return all(check.holds for check in self.checks) and not any(result.has_failed for result in self.results)


def validate(project: Project, server: Server, wanted: str | None, progress: Progress) -> Validation:
    """
    Check the present state, for one spec or all: counts, reconciliation, rules, row-level security, freshness and spec coverage.

    Raises:
        ProjectError: a declaration of a model or source cannot be applied.
        SpecError: a spec is broken, or this ticket has none.
        UsageError: no rule of the spec has a test.
    """
    directory = project.specs_directory
    specs = [find_spec(directory, wanted)] if wanted else read_all(directory)
    sources = list(project.sources.values())
    tests = rule_tests(project.manifest)
    selection: list[str] = []
    models: Collection[str] | None = None
    if wanted:
        spec = specs[0]
        models = reconcile_config.ancestry(project, spec.front_matter.models)
        sources = [source for source in sources if source.name in spec.front_matter.sources]
        tests = [test for test in tests if test.rule_id in spec.rules or test.rule_id.startswith(f"{spec.ticket}-")]
        if not tests:
            raise UsageError(f"{spec.path.name}: none of its rules has a test, so there is nothing to check; give tests its rules' ids")
        selection = ["--select", *sorted({test.test for test in tests})]
    with progress.task("dbt test", len(selection) - 1 if wanted else project.test_count) as advance:
        results = run_dbt(project, server, ["test", *selection], on_node=lambda _name: advance(1))
    cells = protection.measure_published(project, server, only_of_tenants=True)
    return check(project, server, specs, tests, sources, BuildResult(results), cells, models)


def check(
    project: Project,
    server: Server,
    specs: Sequence[Spec],
    tests: Sequence[RuleTest],
    sources: Sequence[Source],
    build: BuildResult,
    cells: Sequence[Cell],
    models: Collection[str] | None = None,
) -> Validation:
    """
    Check the present state; count the balances of what was built, if anything was, else those of `models`, or all.

    `cells` are the measurement of who sees what, by protection.measure_published().
    """
    visible_rows = visibility.of_models(cells, project.models.values())
    built = [result for result in build.results if result.resource_type in RELATIONS]
    made = {result.unique_id: result.schema for result in built if result.status == "success"}
    with server.connect("transformer") as connection, server.connect("loader") as loader:
        wanted = reconcile_config.declared(project, made if built else models, reconciliation.unpublished(connection, project, made))
        reconciled = reconciliation.reconcile(loader, connection, sources, wanted)
        fresh = freshness.measure(connection, project, sources)
        counts = validation.check_counts(connection, sources)
    checks = [
        counts,
        validation.check_reconciliation(reconciled),
        validation.check_freshness(fresh),
        # After everything that runs the models' code.
        protection.check_protection(project, server, waiting=build.waiting),
        validation.check_visibility(visible_rows),
        validation.check_coverage(rule_tests(project.manifest), specs, sources=project.sources, models=project.models),
        validation.check_rules(tests, specs),
    ]
    return Validation(checks, build.results, visible_rows, reconciled, fresh)
