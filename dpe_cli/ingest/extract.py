"""Extract sources one after the other, for `dpe extract` and `dpe run`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dpe_cli import machine
from dpe_cli.blocks import reading
from dpe_cli.blocks.inputs import Input
from dpe_cli.errors import BUG, DpeError, explained
from dpe_cli.load import staging, staging_schema
from dpe_cli.load.extraction import Extractor
from dpe_cli.load.inputs import LoadRequest, RejectLimits, Uniqueness
from dpe_cli.load.result import ExtractResult
from dpe_cli.progress import Progress
from dpe_cli.project.source import Source
from dpe_cli.safe_text import redaction
from dpe_cli.server.ending import Ender
from dpe_cli.server.server import Server
from dpe_cli.server.watching import EXTRACT, watching
from dpe_cli.sources.files import find
from dpe_cli.sources.options.base import External
from dpe_cli.sources.options.files import Files
from dpe_cli.sources.options.queries import Rest, Singer, Sql

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractSummary:
    """What the extracts of a run did, one entry per source."""

    extracts: list[ExtractResult]
    seconds: float

    @property
    def refused(self) -> list[ExtractResult]:
        """The extracts that failed; nothing of them is visible."""
        return [extract for extract in self.extracts if extract.error]

    @property
    def exit_status(self) -> int:
        """The exit status of a command that extracts: a bug counts more than a source that was refused."""
        return max((BUG if extract.is_bug else 1 for extract in self.refused), default=0)


def default_jobs(source: Source | None = None) -> int:
    """
    Return two more than the cores this process may use: while a writer waits, for the disk or a repair, another one uses its core.

    For sources other than files, one per core: the server or program that is read works too.
    """
    return machine.cores() + (2 if source is None or isinstance(source.external, Files) else 0)


def extract(
    project_dir: Path,
    server: Server,
    sources: Sequence[Source],
    progress: Progress,
    *,
    tenant_id: str | None = None,
    full_refresh: bool = False,
    jobs: int | None = None,
    ends_sessions: bool = False,
) -> ExtractSummary:
    """
    Extract sources one after the other. One that is refused, or ends in a bug, does not keep the others from being loaded.

    `ends_sessions`: end the sessions that keep an extract waiting.
    """
    started = time.monotonic()
    ender = Ender(server) if ends_sessions else None
    done: list[ExtractResult] = []
    for source in sources:
        with redaction.forgetting_issued():
            try:
                streams = jobs or default_jobs(source)
                with watching(server, "loader", EXTRACT, ender=ender, say=progress.say):
                    done.append(
                        _extract_one(project_dir, server, source, progress, tenant_id=tenant_id, full_refresh=full_refresh, jobs=streams)
                    )
            # Recorded rather than raised: a delivery to one source must not keep the others from being loaded.
            except Exception as error:  # noqa: BLE001
                done.append(refused(source, error))
                progress.say(f"Error: {done[-1].error}")
    return ExtractSummary(done, time.monotonic() - started)


def _extract_one(
    project_dir: Path, server: Server, source: Source, progress: Progress, *, tenant_id: str | None, full_refresh: bool, jobs: int
) -> ExtractResult:
    request = load_request_of(source)
    with reading.searching(source.name):
        inputs = inputs_of(source, project_dir=project_dir)
    staging_schema.open_to_loader(server, source.table.schema)
    with progress.task(source.name, unit="bytes") as advance:
        return Extractor(
            partial(server.connect, "loader", application_name=f"dpe extract {source.name}"),
            request,
            jobs=jobs,
            tenant_id=tenant_id,
            full_refresh=full_refresh,
            progress=advance,
        ).run(inputs)


def refused(source: Source, error: Exception) -> ExtractResult:
    """Return the result of an extract that ended in an error: a refusal, or a bug."""
    if isinstance(error, DpeError):
        return ExtractResult(source.name, error=str(error), retryable=error.retryable)
    exit_status, text = explained(error)
    is_bug = exit_status == BUG
    _log.debug("%s: the traceback", source.name, exc_info=error)
    return ExtractResult(source.name, error=f"{source.name}: {text}", is_bug=is_bug, retryable=not is_bug)


def load_request_of(source: Source) -> LoadRequest:
    """Return the loader's instructions for a source."""
    options = source.external
    incremental = getattr(options, "incremental", None)
    key = tuple(getattr(options, "key", None) or (incremental and incremental.key) or ())
    return LoadRequest(
        source.table,
        options.disposition,
        RejectLimits(options.rejects.max_rows, options.rejects.max_ratio),
        spec=source.spec,
        ignore_extra_columns=options.extra_columns == "ignore",
        replaces_changed=isinstance(options, Files) and options.changed_files == "replace",
        key=key,
        unique=_unique(options) if key else None,
        increment=incremental.increment(source.table.columns) if incremental else None,
    )


def _unique(options: External) -> Uniqueness | None:
    """Return where a key of a source may occur only once; None if it may occur again, as another version of the record."""
    by_place = isinstance(options, Rest) and options.counts_places
    if options.disposition == "append" and not by_place:
        return None
    # A record that comes or goes moves the others to another page, where they are read again or missed.
    first = "extract again if records came or went while the pages were read" if by_place else "ask the sender to correct the delivery"
    advice = f"{first}, or add the columns to the key that tell such records apart"
    return Uniqueness("table" if options.disposition == "replace" else "extract", advice)


def inputs_of(source: Source, *, project_dir: Path) -> list[Input]:
    """
    Return the inputs of a source: its files, or one query.

    Raises:
        InputError: no file matches, or one cannot be read.
        UsageError: a package that the source needs is not installed.
    """
    options, columns = source.external, source.table.columns
    if isinstance(options, Files):
        return [*find.find(options, columns, declared_at=source.table.declared_at, project_dir=project_dir)]
    if isinstance(options, Rest):
        from dpe_cli.sources.api import Api

        return [Api(options, columns, declared_at=source.table.declared_at)]
    if isinstance(options, Singer):
        from dpe_cli.sources.singer.tap import Tap

        return [Tap(options, source.table, name=source.name, project_dir=project_dir)]
    assert isinstance(options, Sql)  # noqa: S101 all formats are handled
    if options.is_postgres:
        from dpe_cli.sources.databases.postgres import PostgresTable

        return [PostgresTable(options, columns)]
    from dpe_cli.sources.databases.other_databases import SqlTable

    return [SqlTable(options, columns, project_dir=project_dir)]


def analyze(server: Server, sources: Sequence[Source], summary: ExtractSummary) -> None:
    """Update the statistics of the staging tables that an extract added to, for the models that are built on them next."""
    loaded = {extract.source for extract in summary.extracts if extract.loads}
    with server.connect("loader", application_name="dpe analyze", autocommit=True) as connection:
        for source in sources:
            if source.name in loaded:
                staging.analyze(connection, source.table)
