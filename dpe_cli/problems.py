"""Errors and failures as programs read them: a code, what is wrong, where, what to do, and whether to try again."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from dpe_cli import errors
from dpe_cli.errors import BUG, DpeError, ServerError, explained, is_full_disk, is_limit_of_server, is_lost_connection
from dpe_cli.safe_text.visible_text import from_message

# Whose messages are dbt's, which names the file somewhere. Elsewhere, text from outside may look like one.
_OF_DBT = ("bug", "build", "project")
# Codes of what results report; those of errors come from their classes.
OF_RESULTS = ("check_failed", "node_failed", "node_skipped", "not_documented", "not_published", "rule_failed", "test_failed")
_LINE = re.compile(r"line (\d+)")
_RELATION = re.compile(r"[^\W\d][\w$]*\.[^\W\d][\w$]*")
_SUFFIXES = "csv|tsv|txt|jsonl?|ndjson|parquet|xlsx|sql|ya?ml|md|toml|env|log|gz|bz2|xz|zst|zip"
_FILE = re.compile(rf"\S.*/.*|\S+\.(?:{_SUFFIXES})", re.IGNORECASE)
_FILE_OF_PROJECT = re.compile(r"[\w./-]+\.(?:sql|ya?ml)\b")
_NAME = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class Where:
    """The place that a problem is about, as far as its message names one. `relation` may be a source, which is named like its table."""

    file: str | None = None
    line: int | None = None
    relation: str | None = None


@dataclass(frozen=True)
class Problem:
    """
    Something that was refused, failed or broke.

    `code` is the kind, and stays the same between versions. `retryable`: the same command may succeed later without any change.
    """

    code: str
    what: str
    where: Where = Where()
    fix: str | None = None
    retryable: bool = False

    def __str__(self) -> str:
        """Return what is wrong, and what to do."""
        return self.what if self.fix is None else f"{self.what}; {self.fix}"


def of_error(error: Exception) -> Problem:
    """Return what an exception says."""
    exit_status, text = explained(error)
    if isinstance(error, DpeError):
        return of_message(_code(type(error)), text, retryable=error.retryable)
    if is_lost_connection(error) and not is_full_disk(error):
        return of_message("connection_lost", text, retryable=True)
    if is_limit_of_server(error) and not is_full_disk(error):
        return of_message(_code(ServerError), text, retryable=True)
    if is_full_disk(error):
        return of_message("disk_full", text)
    return of_message("bug" if exit_status == BUG else "error", text)


def of_message(code: str, message: str, *, retryable: bool = False, where: Where | None = None) -> Problem:
    """
    Take a message apart, which reads `<thing>: <what is wrong>; <what to do>`; the lines after the first belong to its last part.

    Names from outside do not divide it, because messages show them as `in_message` writes them.
    """
    first, line_feed, rest = message.partition("\n")
    what, _, fix = first.rpartition("; ")
    where = where or _where(message, is_of_dbt=code in _OF_DBT)
    if not what:
        return Problem(code, message, where, None, retryable)
    return Problem(code, what, where, fix + line_feed + rest, retryable)


def codes() -> set[str]:
    """Return every code."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DpeError)]
    return {*map(_code, kinds), *OF_RESULTS, "connection_lost", "disk_full", "interrupted", "bug"}


def _code(kind: type[DpeError]) -> str:
    """Return `reject_limit` for RejectLimitError, and `error` for DpeError itself; kinds of single modules have the code of their base."""
    kind = next(base for base in kind.__mro__ if base.__module__ == errors.__name__)
    return "error" if kind is DpeError else _NAME.sub("_", kind.__name__.removesuffix("Error")).lower()


def _where(message: str, *, is_of_dbt: bool) -> Where:
    """Return the place that the first part of a message names: `shop.orders, data/monday.csv, line 3`."""
    found = Where()
    thing, colon, _ = message.partition(": ")
    for part in thing.split(", ") if colon else ():
        if line := _LINE.fullmatch(part):
            found = replace(found, line=found.line or int(line[1]))
        elif _FILE.fullmatch(part) and not part.startswith(("server ", "database ")):
            found = replace(found, file=found.file or from_message(part))
        elif _RELATION.fullmatch(part):
            found = replace(found, relation=found.relation or part)
    if found == Where() and (file := _FILE_OF_PROJECT.search(message if is_of_dbt else thing)):
        return Where(file=file[0])
    return found
