"""Remove from messages of PostgreSQL what may hold rows."""

from __future__ import annotations

import re

# What PostgreSQL adds to a message and may fill with a whole row ("Failing row contains …"), with part of a COPY, or with a statement. It
# ends nowhere before the message does: a value may contain a line that looks like the next part, such as a hint.
_DETAILS = re.compile(r"\n[^\S\n]*(?:DETAIL|CONTEXT|QUERY):\s.*", re.DOTALL)
# dbt ends its messages with the file of the statement.
_FILE = "compiled code at "


def without_details(message: str, *, file: str | None = None) -> str:
    """
    Return a message without PostgreSQL's details, and without everything that follows them.

    `file`: keep the last line if it is dbt's, which names this file and nothing else.
    """
    found = _DETAILS.search(message)
    if found is None:
        return message
    first, last = message[: found.start()], found[0].rpartition("\n")[2]
    return f"{first}\n{last}" if file and last.strip() == f"{_FILE}{file}" else first
