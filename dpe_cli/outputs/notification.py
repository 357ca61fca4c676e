"""
Notify a webhook when a run has failed, and when it works again.

The webhook gets one JSON document with a `text`, which Slack and similar services accept, and fields of our own. It contains
neither secrets nor rows, only names and counts of sources, rules and checks, their owners, the project, the database, and a link.
A problem with the notification is a warning and does not change the outcome of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from types import MappingProxyType
from typing import Any, Literal

import psycopg

from dpe_cli.ending_signals import EndedError
from dpe_cli.errors import DpeError
from dpe_cli.outputs.origin import Origin
from dpe_cli.outputs.webhook import Patience, UndeliveredError, check_url, post
from dpe_cli.pipeline import refusals
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.safe_text.redaction import redact
from dpe_cli.safe_text.visible_text import on_one_line
from dpe_cli.server import contexts
from dpe_cli.server.server import Server

ACTOR = "dpe notify"
EVERYTHING = "everything"
UNKNOWN = Origin()
WITHOUT_OWNERS: Mapping[str, str] = MappingProxyType({})
_MOST_LINES = 20
_LONGEST_LINE = 500
_WORDS = {"failure": "failed", "recovery": "works again"}

Event = Literal["failure", "recovery"]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `faults` are lines for people, `fields` are for programs."""

    has_failed: bool
    faults: Sequence[str]
    fields: dict[str, Any]


@contextmanager
def on_outcome(
    url: str | None,
    server: Callable[[], Server],
    select: Sequence[str],
    say: Say,
    *,
    origin: Callable[[], Origin] = Origin,
    owners: Callable[[], Mapping[str, str]] = dict,
    patience: Patience | None = None,
) -> Iterator[Callable[[RunSummary], RunSummary]]:
    """
    Notify a webhook of how the block ends: it passes on the run's summary, or raises. Without an address nothing is sent.

    `select` is what was run: a recovery follows a failure of the same selection. `owners` are those of nodes and sources.

    Raises:
        UsageError: the address is not valid; raised before the block.
    """
    if url is None:
        yield lambda summary: summary
        return
    check_url(url)
    summaries: list[RunSummary] = []

    def ended(summary: RunSummary) -> RunSummary:
        summaries.append(summary)
        return summary

    pipeline = " ".join(sorted(select)) or EVERYTHING
    try:
        yield ended
    except (Exception, KeyboardInterrupt, EndedError) as error:
        tell(url, server, pipeline, of_error(error), say, origin=origin(), patience=patience)
        raise
    # A build that waits to be published does not concern readers.
    if summaries and not _waits(summaries[-1]):
        tell(url, server, pipeline, of_summary(summaries[-1], owners()), say, origin=origin(), patience=patience)


def _waits(summary: RunSummary) -> bool:
    return summary.holds and summary.build.publication is not None and summary.build.publication.status == "built"


def of_error(error: BaseException) -> Outcome:
    """Return the outcome of a run that raised. A bug's message may contain anything, and is omitted."""
    if isinstance(error, KeyboardInterrupt):
        message = "interrupted; what was published stays visible"
    elif isinstance(error, EndedError):
        message = f"{error}; what was published stays visible"
    elif isinstance(error, DpeError):
        message = str(error).partition("\n")[0]
    else:
        message = f"{type(error).__name__}; run it again with --debug"
    return Outcome(has_failed=True, faults=[message], fields={"error": message})


def of_summary(summary: RunSummary, owners: Mapping[str, str] = WITHOUT_OWNERS) -> Outcome:
    """Return the outcome of a run without rows or values: only the first line of each message, which names things."""
    refused = [
        {"source": extract.source, "error": (extract.error or "").partition("\n")[0], "owner": owners.get(extract.source)}
        for extract in summary.extracted.refused
    ]
    broken = [result for result in summary.build.results if result.has_failed]
    rules = [
        {
            "rule": result.rule,
            "name": result.name,
            "dimension": result.dimension,
            "count": result.failures,
            "severity": result.severity,
            "owner": owners.get(result.unique_id),
        }
        for result in broken
    ]
    checks = [check for check in summary.validation.checks if not check.holds] if summary.validation else []
    faults = [
        *(_owned(f"source {refusal['error']}", refusal["owner"]) for refusal in refused),
        *(_owned(refusals.of_node(result), owners.get(result.unique_id)) for result in broken),
        *(f"{check.name}: {len(check.faults):,} {'fault' if len(check.faults) == 1 else 'faults'}" for check in checks),
    ]
    # If something failed, that is the reason; otherwise the publication itself was refused.
    not_published = (summary.build.not_published or "").partition("\n")[0]
    if not_published and not broken:
        faults.append(f"nothing was published: {not_published}")
    return Outcome(
        has_failed=not summary.holds,
        faults=faults,
        fields={
            "seconds": round(summary.seconds, 1),
            "rows_loaded": sum(extract.rows_loaded for extract in summary.extracted.extracts),
            "records_rejected": sum(extract.rows_rejected for extract in summary.extracted.extracts),
            "refused": refused,
            "is_published": summary.build.publication is not None and summary.build.publication.status == "published",
            "failed": rules,
            "warned": sum(result.status == "warn" for result in summary.build.results),
            "checks": [{"check": check.name, "faults": len(check.faults)} for check in checks],
        },
    )


def _owned(fault: str, owner: str | None) -> str:
    return f"{fault} (owner: {owner})" if owner else fault


def tell(
    url: str,
    server: Callable[[], Server],
    pipeline: str,
    outcome: Outcome,
    say: Say,
    *,
    origin: Origin = UNKNOWN,
    patience: Patience | None = None,
) -> Event | None:
    """Post a failure, or a recovery if the previous run failed; return the event. Does not raise if the notification fails."""
    event: Event | None = "failure" if outcome.has_failed else None
    # The server may be what failed, which is still reported.
    with _warned("a recovery may go unreported", url, say):
        if not outcome.has_failed and _has_to_recover(server(), pipeline):
            event = "recovery"
    is_delivered = _deliver(url, payload(pipeline, event, outcome, origin), event, say, patience or Patience()) if event else None
    with _warned("the next run does not know how this one ended", url, say):
        _record(server(), pipeline, outcome, event, is_delivered=is_delivered)
    return event


def payload(pipeline: str, event: Event, outcome: Outcome, origin: Origin = UNKNOWN) -> dict[str, Any]:
    """Return what is posted, before secrets are removed."""
    # Before anything is cut or escaped; otherwise a part of a secret would not be recognised.
    faults = [on_one_line(redact(line)) for line in outcome.faults[:_MOST_LINES]]
    lines = [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…" for line in faults]
    if len(outcome.faults) > _MOST_LINES:
        lines.append(f"and {len(outcome.faults) - _MOST_LINES:,} more")
    named = {"project": origin.project, "database": origin.database}
    where = ", ".join(f"{what} {on_one_line(redact(name))}" for what, name in named.items() if name)
    head = f"dpe run ({on_one_line(pipeline)}) {_WORDS[event]}" + (f": {where}" if where else "")
    link = [on_one_line(redact(origin.link))] if origin.link else []
    return {
        # Slack treats text between < and > as a link, or as a mention of everybody in the channel.
        "text": escape("\n".join([head, *(f"• {line}" for line in lines), *link]), quote=False),
        "event": event,
        "verdict": "DPE FAILED" if outcome.has_failed else "DPE SUCCESS",
        "pipeline": pipeline,
        **named,
        "link": origin.link,
        **outcome.fields,
    }


@contextmanager
def _warned(consequence: str, url: str, say: Say) -> Iterator[None]:
    """Turn errors of the ledger into a warning."""
    try:
        yield
    except (DpeError, psycopg.Error) as error:
        message = redact(str(error).partition("\n")[0], more=[url])
        say(f"Warning: notify: the ledger cannot be read or written ({message}); {consequence}, check the server")


def _has_to_recover(server: Server, pipeline: str) -> bool:
    """Return whether the previous run failed, or recovered but the webhook did not accept that."""
    with server.connect("loader", application_name=ACTOR) as connection, contexts.system_context(connection, actor=ACTOR):
        row = connection.execute(
            """
            select has_failed or (event = 'recovery' and not is_delivered)
            from dpe.notifications
            where pipeline = %s
            order by notification_id desc
            limit 1
            """,
            [redact(pipeline)],
        ).fetchone()
    return row is not None and row[0] is True


def _record(server: Server, pipeline: str, outcome: Outcome, event: Event | None, *, is_delivered: bool | None) -> None:
    with server.connect("loader", application_name=ACTOR) as connection, contexts.system_context(connection, actor=ACTOR):
        connection.execute(
            "insert into dpe.notifications (pipeline, has_failed, event, is_delivered) values (%s, %s, %s, %s)",
            [redact(pipeline), outcome.has_failed, event, is_delivered],
        )


def _deliver(url: str, document: dict[str, Any], event: Event, say: Say, patience: Patience) -> bool:
    """Post, and warn if that fails; return whether the webhook accepted it."""
    try:
        post(url, _without_secrets(document, [url]), patience)
    except UndeliveredError as error:
        say(f"Warning: notify: the webhook did not get the {event}: {error}; check the address given with --notify, and the network")
        return False
    return True


def _without_secrets(value: Any, secrets: Sequence[str]) -> Any:
    match value:
        case str():
            return redact(value, more=secrets)
        case dict():
            return {name: _without_secrets(item, secrets) for name, item in value.items()}
        case list() | tuple():
            return [_without_secrets(item, secrets) for item in value]
        case _:
            return value


__all__ = ["EVERYTHING", "Outcome", "Patience", "check_url", "of_error", "of_summary", "on_outcome", "payload", "tell"]
