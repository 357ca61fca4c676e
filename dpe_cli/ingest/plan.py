"""What extracts of sources would do, for `dpe run --plan`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from dpe_cli.blocks import reading
from dpe_cli.ingest.extract import inputs_of, load_request_of, refused
from dpe_cli.load import foresight
from dpe_cli.load.foresight import ACTOR
from dpe_cli.load.prepare import Staging
from dpe_cli.progress import Progress
from dpe_cli.project.source import Source
from dpe_cli.safe_text import redaction
from dpe_cli.server.server import Server
from dpe_cli.sources.options.files import Files
from dpe_cli.sources.options.queries import Rest, Singer, Sql


@dataclass(frozen=True)
class PlannedExtract:
    """
    What an extract of a source would do; `error` says why it would be refused, or fails because of a bug (`is_bug`).

    `files` counts the files that exist; it is None for a query, which is asked each time: from `starts_at` on, or for everything.
    `loads` counts the inputs that would be loaded: `new` files, `changed` ones, or the query. `moved` files only changed their names.
    """

    source: str
    location: str
    how: str
    relation: str
    staging: Staging | None = None
    files: int | None = None
    loads: int = 0
    new: int = 0
    changed: int = 0
    moved: int = 0
    starts_at: str | None = None
    error: str | None = None
    retryable: bool = False
    is_bug: bool = False


def plan(
    project_dir: Path, server: Server | None, sources: Sequence[Source], progress: Progress, *, full_refresh: bool
) -> list[PlannedExtract]:
    """
    Compare the inputs of sources with what is in staging; without a `server`, nothing is. One that cannot be read does not end the plan.

    Files may have to be read to recognize them; no query is asked.
    """
    found: list[PlannedExtract] = []
    for source in sources:
        described = PlannedExtract(
            source=source.name,
            location=redaction.redact(_location(source)),
            how=_how(source, full_refresh=full_refresh),
            relation=source.table.relation,
        )
        with redaction.forgetting_issued(), progress.task(source.name):
            try:
                found.append(_plan_one(described, project_dir, server, source, full_refresh=full_refresh))
            except Exception as error:  # noqa: BLE001 as in extract()
                why = refused(source, error)
                found.append(replace(described, error=why.error, retryable=why.retryable, is_bug=why.is_bug))
                progress.say(f"Error: {why.error}")
    return found


def _plan_one(described: PlannedExtract, project_dir: Path, server: Server | None, source: Source, *, full_refresh: bool) -> PlannedExtract:
    with reading.searching(source.name):
        inputs = inputs_of(source, project_dir=project_dir)
    connect = None if server is None else partial(server.connect, "loader", application_name=ACTOR)
    found = foresight.foresee(connect, load_request_of(source), inputs, full_refresh=full_refresh)
    is_query = not isinstance(source.external, Files)
    return replace(
        described,
        staging=found.staging,
        files=None if is_query else len(inputs),
        loads=found.loads,
        new=0 if is_query else found.new,
        changed=found.changed,
        moved=found.moved,
        starts_at=_start(source, found.after) if is_query else None,
    )


def _start(source: Source, after: str | None) -> str | None:
    """Return where a query starts: where the last extract ended, or at the value that its YAML names for the first one."""
    incremental = getattr(source.external, "incremental", None)
    start = after if incremental is None else incremental.start(after)
    return None if start is None else str(start)


def _location(source: Source) -> str:
    """Return the place of a source as its YAML names it, with the endpoint, table or stream."""
    options = source.external
    match options:
        case Rest():
            part = options.path
        case Sql():
            part = options.table or "query"
        case Singer():
            part = options.stream or options.tap_stream_id or source.name.rpartition(".")[2]
        case _:
            part = ""
    return f"{options.location} {part}".rstrip()


def _how(source: Source, *, full_refresh: bool) -> str:
    """Return how a source is loaded, in a few words."""
    options = source.external
    incremental = getattr(options, "incremental", None)
    if full_refresh:
        return "full refresh"
    if incremental is not None and options.disposition != "replace":
        return f"incremental by {incremental.cursor_path}"
    if isinstance(options, Files) and options.changed_files == "replace" and options.disposition == "append":
        return "append, changed files replace theirs"
    return options.disposition
