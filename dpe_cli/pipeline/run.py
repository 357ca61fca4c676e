"""What the commands do, and in which order: extract, build, check, document."""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from dpe_cli.access import checks as rls_check
from dpe_cli.access import matrix, visibility
from dpe_cli.access import strays as rls_strays
from dpe_cli.access.checks import Finding
from dpe_cli.access.matrix import Cell
from dpe_cli.access.visibility import Sight
from dpe_cli.errors import DpeError, PublishError, ServerError, UsageError
from dpe_cli.ingest.extract import ExtractSummary, analyze, extract
from dpe_cli.pipeline import checks as validation
from dpe_cli.pipeline import judging
from dpe_cli.pipeline.checks import Check
from dpe_cli.pipeline.judging import Judged
from dpe_cli.progress import Progress
from dpe_cli.project.dbt_runner import NodeResult, read_project, run_dbt
from dpe_cli.project.project import Project, Rule, Source
from dpe_cli.publishing import old_versions, publication, swap
from dpe_cli.publishing.publication import Exchanged, Publication
from dpe_cli.quality import freshness, quarantine, reconcile_config, reconciliation
from dpe_cli.quality import results as rule_memory
from dpe_cli.quality.freshness import Freshness
from dpe_cli.quality.quarantine import Quarantined
from dpe_cli.quality.reconciliation import Reconciliation
from dpe_cli.quality.rules import find_all
from dpe_cli.safe_text.redaction import hide
from dpe_cli.server.patience import BLOCKED, limited
from dpe_cli.server.relations import NEXT, PREVIOUS, Relation
from dpe_cli.server.server import Server
from dpe_cli.server.sessions import Ender
from dpe_cli.server.watching import DBT, watching
from dpe_cli.site import pages
from dpe_cli.specs.spec import Spec, read_all
from dpe_cli.specs.spec import find as find_spec

Connection = psycopg.Connection[tuple[object, ...]]

_RELATIONS = {"model", "seed", "snapshot"}
_MANAGED_SCHEMAS = {"dpe", "quality"}
_PARENTS = re.compile(r"^\d*\+")


@dataclass(frozen=True)
class Validation:
    """The checks and the results of the rules' tests."""

    checks: list[Check]
    results: list[NodeResult]
    sights: list[Sight]
    reconciliation: Reconciliation = field(default_factory=Reconciliation)
    freshness: list[Freshness] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every check holds and no test of error severity failed."""
        return all(check.holds for check in self.checks) and not any(result.has_failed for result in self.results)


@dataclass(frozen=True)
class RunOptions:
    """
    How to run. Unless `publishes`, the build stays in the shadow schemas; `documents`: build the docs site.

    `ends_sessions`: end the sessions that block an extract, dbt or a publication.
    """

    full_refresh: bool = False
    threads: int | None = None
    jobs: int | None = None
    publishes: bool = True
    documents: bool = True
    ends_sessions: bool = False


@dataclass
class RunSummary:
    """What a run did; parts that it did not reach are empty."""

    extracted: ExtractSummary
    validation: Validation | None = None
    publication: Publication | None = None
    exchanged: Exchanged | None = None
    not_published: str | None = None
    quarantined: list[Quarantined] = field(default_factory=list)
    site: Path | None = None
    not_documented: str | None = None
    seconds: float = 0.0
    results: list[NodeResult] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether everything was loaded, built and documented, and every check holds."""
        is_done = not self.extracted.refused and self.not_published is None and self.not_documented is None
        return is_done and self.validation is not None and self.validation.holds


def run(
    project: Project,
    server: Server,
    select: Sequence[str],
    exclude: Sequence[str],
    progress: Progress,
    options: RunOptions = RunOptions(),
) -> RunSummary:
    """
    Run the pipeline: extract its sources, build its models and test its rules, publish, build the docs site, check the result.

    Stops after the extract if a source is refused: models are not built on part of a delivery. Publishes nothing if a rule of
    error severity fails, or unless `publishes`.

    Raises:
        PublishError: another run is building.
        SpecError: a spec is broken.
        UsageError: nothing is selected.
    """
    started = time.monotonic()
    # A broken spec is reported before the work, not after it.
    specs = read_all(project.directory / "specs")
    selected = with_parents(select)
    sources = project.sources_among(selected, exclude)
    summary = RunSummary(
        extract(
            project,
            server,
            sources,
            progress,
            full_refresh=options.full_refresh,
            jobs=options.jobs,
            ends_sessions=options.ends_sessions,
        )
    )
    if not summary.extracted.refused:
        analyze(server, sources, summary.extracted)
        build_and_publish(project, server, selected, exclude, progress, options, summary)
        # dbt renders the models once more, which runs their Jinja: what it may have changed is checked afterwards.
        if options.documents:
            _document(project, server, progress, summary)
        summary.validation = _validate(project, server, specs, project.rules, sources, summary.results, say=progress.say)
    summary.seconds = time.monotonic() - started
    return summary


def build_and_publish(
    project: Project,
    server: Server,
    selected: Sequence[str],
    exclude: Sequence[str],
    progress: Progress,
    options: RunOptions,
    summary: RunSummary,
) -> None:
    """Build in the shadow schemas, and publish if nothing failed."""
    schemas = project.published_schemas
    with publication.building(server, schemas) as building:
        connection = building.connection
        left_out = untestable(connection, project, selected, exclude)
        with connection.transaction():
            before = {one.oid for one in old_versions.relations(connection, schemas)}
        if left_out:
            progress.say(f"Skipped, because they read models that have never been published: {', '.join(left_out)}")
        build = ["build", *_dbt_selection(selected, [*exclude, *left_out]), *(["--full-refresh"] if options.full_refresh else [])]
        build += ["--threads", str(options.threads)] if options.threads else []
        # dbt cannot reuse what it parsed for another suffix: each suffix has its own target directory.
        variables, target_path = {"dpe_schema_suffix": NEXT}, project.directory / ".dpe" / "next"
        ender = Ender(server) if options.ends_sessions else None
        with (
            progress.task("dbt build", project.node_count) as advance,
            watching(server, "transformer", DBT, ender=ender, say=progress.say),
        ):
            read = read_project(project, server, variables=variables, target_path=target_path)
            summary.results = run_dbt(
                project, server, build, variables=variables, target_path=target_path, read=read, on_node=lambda _name: advance(1)
            )
        built = [
            (result.schema.removesuffix(NEXT), result.alias)
            for result in summary.results
            if result.resource_type in _RELATIONS and result.status == "success" and result.schema.endswith(NEXT)
        ]
        made = {result.unique_id: result.schema for result in summary.results if (result.schema.removesuffix(NEXT), result.alias) in built}
        refusals = [*_refusals(summary.results), *(_tampered(one) for one in read.changed())]
        if not built and not refusals:
            return
        # Counting runs the models' code, in a separate session. Its effects are judged afterwards, in another one.
        with publication.connected(server) as counting, limited(counting, progress.say):
            refusals += reconciliation.reconcile_models(counting, reconcile_config.declared(project, made, made)).faults
            relations = judging.built(counting, project, built, made)
            summary.quarantined = quarantine.counts(counting, relations, schema_suffix=NEXT)
        judged = _judge(project, server, relations, suffix=NEXT, before=before)
        refusals += judged.faults
        summary.not_published = "; ".join(refusals) or None
        names = [*built, *(name for one in relations if (name := (one.schema, one.name)) not in built)]
        summary.publication = publication.record(connection, selected, names, refusals, lock=building.lock)
        if refusals or not options.publishes:
            return
        try:
            summary.exchanged = publication.publish(
                connection,
                summary.publication,
                schemas,
                judged=judged.protection,
                lock=building.lock,
                ender=ender,
                say=progress.say,
            )
            summary.publication = summary.exchanged.publication
        except PublishError as error:
            summary.not_published = str(error)


def _judge(
    project: Project, server: Server, relations: Sequence[Relation], *, suffix: str, before: Collection[int] | None = None
) -> Judged:
    with judging.apart(server) as connection:
        return judging.judge(connection, project, relations, protected_schemas(connection, project), suffix=suffix, before=before)


def publish(project: Project, server: Server, *, ends_sessions: bool, progress: Progress) -> Exchanged:
    """
    Publish the newest build after judging it again: hooks and Jinja of models may have run since it was built.

    Raises:
        PublishError: no build waits, it is not protected as the project declares, or as in publication.publish().
    """
    with publication.connected(server) as connection:
        built = publication.newest(connection, "built", "refused", "published", "undone")
        if built is None or built.status in {"published", "undone"}:
            raise PublishError("no build is waiting to be published (an undone one no longer counts); run `dpe run`")
        judged = _judge(project, server, built.relations, suffix=NEXT)
        if built.status == "built" and judged.faults:
            raise PublishError(f"publication {built.publication_id}: was not published ({'; '.join(judged.faults)}); run `dpe run`")
        return publication.publish(
            connection,
            built,
            project.published_schemas,
            judged=judged.protection,
            ender=Ender(server) if ends_sessions else None,
            say=progress.say,
        )


def undo(project: Project, server: Server, *, ends_sessions: bool, progress: Progress) -> Exchanged:
    """
    Restore what the last publication replaced, if it is protected as the project now declares.

    Raises:
        PublishError: it is not, or as in publication.undo().
    """
    with publication.connected(server) as connection:
        last = publication.to_undo(connection)
        judged = _judge(project, server, last.replaced or [], suffix=PREVIOUS)
        if judged.faults:
            raise PublishError(
                f"publication {last.publication_id}: was not undone, because what it replaced is not protected as the project declares "
                f"({'; '.join(judged.faults)}); check out the files of that version, then run `dpe publish --undo`"
            )
        return publication.undo(
            connection,
            project.published_schemas,
            judged=None if last.replaced is None else judged.protection,
            ender=Ender(server) if ends_sessions else None,
            say=progress.say,
        )


def untestable(connection: Connection, project: Project, selected: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the tests of a part of the project that read relations of the rest that were never published."""
    with connection.transaction():
        return project.untestable(selected, exclude, swap.names(connection, project.published_schemas))


def _refusals(results: Sequence[NodeResult]) -> list[str]:
    """Return what prevents a build from being published."""
    return [_refusal(result) for result in results if result.has_failed]


def _tampered(unique_id: str) -> str:
    return f"{unique_id}: was changed in dbt while the project was built; check for Jinja that changes the graph, nodes or macros"


def _refusal(result: NodeResult) -> str:
    if result.rule and result.failures:
        return f"rule {result.rule} failed ({result.name}: {result.failures:,} failing)"
    if result.rule:
        return f"rule {result.rule} cannot be tested ({result.name})"
    return f"{result.resource_type} {result.name} failed"


def validate(project: Project, server: Server, wanted: str | None, progress: Progress) -> Validation:
    """
    Check the present state, for one spec or all: counts, reconciliation, rules, row-level security, freshness and spec coverage.

    Raises:
        ProjectError: a declaration of a model or source cannot be applied.
        SpecError: a spec is broken, or this ticket has none.
        UsageError: no rule of the spec has a test.
    """
    directory = project.directory / "specs"
    specs = [find_spec(directory, wanted)] if wanted else read_all(directory)
    sources = list(project.sources.values())
    rules = project.rules
    selection: list[str] = []
    models: Collection[str] | None = None
    if wanted:
        spec = specs[0]
        models = reconcile_config.ancestry(project, spec.front_matter.models)
        sources = [source for source in sources if source.name in spec.front_matter.sources]
        rules = [rule for rule in rules if rule.rule_id in spec.rules or rule.rule_id.startswith(f"{spec.ticket}-")]
        if not rules:
            raise UsageError(f"{spec.path.name}: none of its rules has a test, so there is nothing to check; give tests its rules' ids")
        selection = ["--select", *sorted({rule.test for rule in rules})]
    with progress.task("dbt test", len(selection) - 1 if wanted else project.test_count) as advance:
        results = run_dbt(project, server, ["test", *selection], on_node=lambda _name: advance(1))
    return _validate(project, server, specs, rules, sources, results, models, say=progress.say)


def _validate(
    project: Project,
    server: Server,
    specs: Sequence[Spec],
    rules: Sequence[Rule],
    sources: Sequence[Source],
    results: list[NodeResult],
    models: Collection[str] | None = None,
    *,
    say: Callable[[str], None],
) -> Validation:
    """Check the present state; count the balances of what was built, if `results` are a build's, else those of `models`, or all."""
    built = [result for result in results if result.resource_type in _RELATIONS]
    made = {result.unique_id: result.schema for result in built if result.status == "success"}
    with server.connect("transformer") as connection, server.connect("loader") as loader, limited(connection, say), limited(loader, say):
        wanted = reconcile_config.declared(project, made if built else models, reconciliation.standing(connection, project, made))
        reconciled = reconciliation.reconcile(loader, connection, sources, wanted)
        fresh = freshness.measure(connection, project, sources)
        sights = visibility.measure_sights(connection, project)
        counts = validation.check_counts(connection, sources)
    checks = [
        counts,
        validation.check_reconciliation(reconciled),
        validation.check_freshness(fresh),
        # After everything that runs the models' code.
        _check_protection(project, server),
        validation.check_sights(sights),
        validation.check_coverage(project, specs),
        validation.check_rules(rules, specs),
    ]
    return Validation(checks, results, sights, reconciled, fresh)


def _check_protection(project: Project, server: Server) -> Check:
    with judging.apart(server) as connection:
        check = validation.check_protection(connection, protected_schemas(connection, project))
        strays = rls_strays.find(connection, project, _open_schemas(project))
    return replace(check, faults=(*check.faults, *map(str, strays)))


def _open_schemas(project: Project) -> list[str]:
    """Return the schemas in which only the project's relations may be readable."""
    return sorted({*project.published_schemas, old_versions.FAILURES})


def protected_schemas(connection: Connection, project: Project) -> list[str]:
    """Return the schemas that dpe protects: the ledger's, the sources', and the models' with their other versions."""
    published = project.published_schemas
    shadow = [schema + suffix for schema in published for suffix in (NEXT, PREVIOUS)]
    with connection.transaction():
        old = old_versions.old_schemas(connection, published)
    return sorted({*_MANAGED_SCHEMAS, *published, *shadow, *old, *(source.table.schema for source in project.sources.values())})


def check_rls(project: Project, server: Server) -> list[Finding]:
    """Return what is wrong with the roles and with the protection of the project's relations; errors first."""
    with judging.apart(server) as connection:
        found = rls_check.check(connection, protected_schemas(connection, project))
        found += rls_strays.find(connection, project, _open_schemas(project))
    return sorted(found, key=lambda one: one.severity)


def measure_rls(project: Project, server: Server, wanted: Sequence[str], logins: Sequence[str], progress: Progress) -> list[Cell]:
    """
    Measure what each role can do with the project's relations, or with those that match `wanted`.

    Raises:
        ContextError: the administrator's login may not act as one of them.
        UsageError: nothing matches.
    """
    with server.connect("admin") as connection, limited(connection, progress.say):
        found = matrix.find_relations(connection, project, protected_schemas(connection, project))
        chosen = [one for one in found if not wanted or any(fnmatch.fnmatchcase(str(one), pattern) for pattern in wanted)]
        if not chosen:
            raise UsageError(f"{', '.join(wanted) or 'the project'}: no relation matches; `dpe rls matrix` shows all relations")
        try:
            with progress.task("dpe rls matrix", len(chosen)) as advance:
                return matrix.measure(connection, chosen, logins=logins, on_relation=advance)
        except BLOCKED:
            raise
        except psycopg.OperationalError as error:
            raise ServerError(f"{server}: the measurement ended ({error}); find out what ends sessions, then measure again") from error


def _document(project: Project, server: Server, progress: Progress, summary: RunSummary) -> None:
    """Build the docs site; if that fails, the present state is checked anyway, and the run fails."""
    try:
        summary.site = build_docs(project, server, progress)
    except DpeError as error:
        summary.not_documented = str(error)
    except psycopg.Error as error:
        summary.not_documented = hide(f"{server}: the docs cannot be built ({error}); correct it, then run `dpe docs`")


def build_docs(project: Project, server: Server, progress: Progress) -> Path:
    """Build the docs site as a single page, and return its path."""
    target = project.directory / "target"
    with progress.task("dbt docs"):
        run_dbt(project, server, ["docs", "generate", "--target-path", str(target)])
        rules = find_all(project, read_all(project.directory / "specs"))
        histories = rule_memory.histories(server, rules, runs=rule_memory.SHOWN_RUNS)
        with server.connect("transformer") as connection:
            published = [one for one in matrix.find_relations(connection, project, project.published_schemas) if one.declared != "private"]
            cells = matrix.measure(connection, published, roles=matrix.TRANSFORMERS_ROLES)
        return pages.write(target, rules, rule_memory.states(server, rules), histories, matrix.seen(cells, names_tenants=False))


def with_parents(select: Sequence[str]) -> list[str]:
    """Return the selectors, extended to everything that the selection is built from."""
    parts = [part for one in select for part in one.split()]
    return [part if part.startswith("@") else f"+{_PARENTS.sub('', part)}" for part in parts]


def _dbt_selection(select: Sequence[str], exclude: Sequence[str]) -> list[str]:
    return [*(["--select", *select] if select else []), *(["--exclude", *exclude] if exclude else [])]
