"""Check the present state: counts, reconciliation, rules, row-level security, freshness and coverage of the specs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
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
from dpe_cli.project import dbt
from dpe_cli.project.dbt_runner import SKIPPED, NodeResult, read_project, run_dbt
from dpe_cli.project.jinja_changes import ReadManifest
from dpe_cli.project.model import RELATIONS
from dpe_cli.project.project import Project
from dpe_cli.project.source import Source
from dpe_cli.quality import freshness, reconcile_config, reconciliation
from dpe_cli.quality.coverage import RuleTest, rule_tests
from dpe_cli.quality.freshness import Freshness
from dpe_cli.quality.reconciliation import Reconciliation
from dpe_cli.server.patience import limited
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
        """Whether every check holds, no test of error severity failed, and none was skipped."""
        return all(check.holds for check in self.checks) and not any(
            result.has_failed or result.status in SKIPPED for result in self.results
        )


@dataclass(frozen=True)
class Scope:
    """What is checked: the specs, the tests of their rules, the sources, and the balances of `models`, or of all of them."""

    specs: Sequence[Spec]
    tests: Sequence[RuleTest]
    sources: Sequence[Source]
    models: Collection[str] | None = None


def validate(project: Project, server: Server, wanted: str | None, progress: Progress) -> Validation:
    """
    Check the present state, for one spec or all: counts, reconciliation, rules, row-level security, freshness and spec coverage.

    Raises:
        ProjectError: a declaration of a model or source cannot be applied.
        ServerError: sessions did not release what a check reads.
        SpecError: a spec is broken, or this ticket has none.
        UsageError: no rule of the spec has a test.
    """
    scope = _of_spec(project, find_spec(project.specs_directory, wanted)) if wanted else _of_project(project)
    selected = {test.unique_id for test in scope.tests} if wanted else None
    protection.refuse_code_in_sources(project, server, selected)
    with progress.task("dbt test", project.test_count if selected is None else len(selected)) as advance:
        results = _run_tests(project, server, selected, lambda _name: advance(1))
    cells = protection.measure_published(project, server, progress, only_of_tenants=True)
    return check(project, server, scope, BuildResult(results), cells, progress)


def _run_tests(project: Project, server: Server, selected: set[str] | None, on_node: Callable[[str], None]) -> list[NodeResult]:
    """Run the tests with these ids, or those that dbt selects by itself."""
    if selected is None:
        return run_dbt(project, server, ["test"], on_node=on_node)
    manifest = read_project(project, server)
    tests = {unique_id for unique_id, node in manifest.nodes.items() if node.resource_type == "test"}
    dbt.remove_tests(manifest, tests - selected)
    # Nothing else is left to select, whatever the project selects by default.
    return run_dbt(project, server, ["test", "--select", "test_type:data"], read=ReadManifest(manifest), on_node=on_node)


def _of_project(project: Project) -> Scope:
    return Scope(read_all(project.specs_directory), rule_tests(project.manifest), list(project.sources.values()))


def _of_spec(project: Project, spec: Spec) -> Scope:
    tests = [test for test in rule_tests(project.manifest) if test.rule_id in spec.rules or test.rule_id.startswith(f"{spec.ticket}-")]
    if not tests:
        raise UsageError(f"{spec.path.name}: none of its rules has a test, so there is nothing to check; give tests its rules' ids")
    sources = [source for source in project.sources.values() if source.name in spec.sources]
    return Scope([spec], tests, sources, reconcile_config.ancestry(project.manifest, spec.models))


def check(project: Project, server: Server, scope: Scope, build: BuildResult, cells: Sequence[Cell], progress: Progress) -> Validation:
    """
    Check the present state; count the balances of what `build` made, or if it made nothing, those of the scope.

    `cells` are the measurement of who sees what, by protection.measure_published().

    Raises:
        ServerError: sessions did not release what a check reads.
    """
    visible_rows = visibility.of_models(cells, project.models.values(), project.target)
    built = [result for result in build.results if result.resource_type in RELATIONS]
    made = {result.unique_id: result.schema for result in built if result.status == "success"}
    with (
        server.connect("transformer") as connection,
        server.connect("loader") as loader,
        limited(connection, progress.say),
        limited(loader, progress.say),
    ):
        unpublished = reconciliation.unpublished(connection, project.models, made)
        wanted = reconcile_config.declared(project.manifest, project.sources, made if built else scope.models, unpublished)
        reconciled = reconciliation.reconcile(loader, connection, scope.sources, wanted)
        fresh = freshness.measure(connection, project.manifest, scope.sources)
        counts = validation.check_counts(connection, scope.sources)
    checks = [
        counts,
        validation.check_reconciliation(reconciled),
        validation.check_freshness(fresh),
        # After everything that runs the models' code.
        protection.check_protection(project, server, build.waiting),
        validation.check_visibility(visible_rows),
        validation.check_coverage(scope.tests, scope.specs, sources=project.sources, models=project.models_named),
        validation.check_rules(scope.tests, scope.specs),
    ]
    return Validation(checks, build.results, visible_rows, reconciled, fresh)
