"""
The errors that users see.

    DpeError                    exit status 1: something was refused, exceeded its reject limit, or failed a rule
    ├── UsageError              exit status 2: the command line or the configuration is wrong
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

A message reads `<thing>: <what is wrong>; <what to do>`. Any other exception is a bug.
"""

from __future__ import annotations

import sys

from dpe_cli.safe_text.redaction import hide

BUG = 2


class DpeError(Exception):
    """Something that dpe refuses or found broken, in words for the user; secrets that a server echoed are removed."""

    exit_status = 1

    def __init__(self, message: str) -> None:
        super().__init__(hide(message))


class UsageError(DpeError):
    """The command line or the configuration is wrong."""

    exit_status = 2


class ServerError(DpeError):
    """The PostgreSQL server is not reachable, not bootstrapped, or denies something."""


class LockLostError(ServerError):
    """The session that held the lock ended while the work continued."""


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


class PublishError(DpeError):
    """The build was not published; readers still see the previous version."""


def explained(error: Exception) -> tuple[int, str]:
    """Return the exit status and the text of any error, without secrets."""
    if isinstance(error, DpeError):
        return error.exit_status, str(error)
    text = hide(" ".join(str(error).split()))
    # Only looked up, not imported: if psycopg was never loaded, the error is not one of its own.
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(error, psycopg.OperationalError):
        return 1, f"lost the connection to the server ({text}); check the server log, then run again"
    return BUG, f"{type(error).__name__}: {text}; this is a bug; run again with --debug"
