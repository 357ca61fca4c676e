"""
The errors that users see.

    DpeError                    exit status 1: something was refused, exceeded its reject limit, or failed a rule
    ├── UsageError              exit status 2: the command line or the configuration is wrong
    ├── UnknownNameError        nothing has the name that was given: a source, a model, a rule, a relation
    ├── ServerError             the PostgreSQL server is not reachable, not bootstrapped, or denies something
    │   └── LockLostError       the session that held the lock ended while the work continued
    ├── ContextError            a row-level security context cannot be opened here
    ├── ProjectError            the dbt project cannot be read, or asks for something dpe cannot do
    ├── BuildError              dbt ended before it could report on its nodes
    ├── PublishError            the build was not published; readers still see the previous version
    ├── SpecError               a spec is broken or unclear
    └── ExtractError            an extract was refused; nothing of it is visible
        ├── InputError          a file is missing or cannot be read as declared
        ├── ContractError       the columns of the input, the contract and the staging table disagree
        ├── RejectLimitError    more records were rejected than the source allows
        ├── RepeatedKeyError    a key that identifies one record came with several
        └── BusyError           another extract of the same source is running

A message reads `<thing>: <what is wrong>; <what to do>`. Any other exception is a bug. For programs, problems.py takes a message apart.
"""

from __future__ import annotations

import errno
import sys

from dpe_cli.safe_text.redaction import abridged, hide
from dpe_cli.safe_text.server_messages import without_details

BUG = 2
# PostgreSQL's code.
DISK_FULL = "53100"
# Classes of errors: insufficient resources, program limits, locks.
_LIMITS = ("53", "54", "55")
# Of a message: what a sender wrote may be of any length, and each message is searched for secrets.
_MOST_CHARACTERS = 20_000


class DpeError(Exception):
    """Something that dpe refuses or found broken, in words for the user; secrets that a server echoed are removed."""

    exit_status = 1
    # Whether the same command may succeed later, although no person changes anything.
    retryable = False

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(abridged(message, _MOST_CHARACTERS))
        if retryable is not None:
            self.retryable = retryable


class UsageError(DpeError):
    """The command line or the configuration is wrong."""

    exit_status = 2


class UnknownNameError(DpeError):
    """Nothing has the name that was given: a source, a model, a rule, a relation."""


class ServerError(DpeError):
    """The PostgreSQL server is not reachable, not bootstrapped, or denies something."""


class LockLostError(ServerError):
    """The session that held the lock ended while the work continued."""

    retryable = True


class ContextError(DpeError):
    """A row-level security context cannot be opened here."""


class ProjectError(DpeError):
    """The dbt project cannot be read, or asks for something dpe cannot do."""


class BuildError(DpeError):
    """dbt ended before it could report on its nodes."""


class SpecError(DpeError):
    """A spec is broken or unclear."""


class ExtractError(DpeError):
    """An extract was refused; nothing of it is visible."""


class InputError(ExtractError):
    """A file is missing or cannot be read as declared."""


class ContractError(ExtractError):
    """The columns of the input, the contract and the staging table disagree."""


class RejectLimitError(ExtractError):
    """More records were rejected than the source allows."""


class RepeatedKeyError(ExtractError):
    """A key that identifies one record came with several."""


class BusyError(ExtractError):
    """Another extract of the same source is running."""

    retryable = True


class PublishError(DpeError):
    """The build was not published; readers still see the previous version."""


def explained(error: Exception) -> tuple[int, str]:
    """Return the exit status and the text of any error, without secrets."""
    if isinstance(error, DpeError):
        return error.exit_status, str(error)
    text = abridged(" ".join(without_details(str(error)).split()), _MOST_CHARACTERS)
    if is_full_disk(error):
        place = "of this machine" if isinstance(error, OSError) else "of the server"
        # The server's other lines may hold a record.
        reason = getattr(getattr(error, "diag", None), "message_primary", None) or text
        return 1, f"the disk {place} is full ({hide(reason)}); free some space on it, then run again"
    if is_lost_connection(error):
        return 1, f"lost the connection to the server ({text}); check the server log, then run again"
    if is_limit_of_server(error):
        return 1, f"the server could not do what it was asked ({text}); check the server log, then run again"
    return BUG, f"{type(error).__name__}: {text}; this is a bug; run again with --debug"


def is_lost_connection(error: Exception) -> bool:
    """Return whether the connection could not be opened, or the server ended it."""
    return _is_operational(error) and not is_limit_of_server(error)


def is_limit_of_server(error: Exception) -> bool:
    """Return whether the server lacked memory or reached another limit of its own; the connection still works."""
    return _is_operational(error) and str(getattr(error, "sqlstate", None))[:2] in _LIMITS


def _is_operational(error: Exception) -> bool:
    # Only looked up, not imported: if psycopg was never loaded, the error is not one of its own.
    psycopg = sys.modules.get("psycopg")
    return psycopg is not None and isinstance(error, psycopg.OperationalError)


def is_full_disk(error: Exception) -> bool:
    """Return whether this machine's disk, the user's part of it, or the server's disk is full."""
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return getattr(error, "sqlstate", None) == DISK_FULL
