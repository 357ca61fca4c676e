"""The project's `.env`: it adds variables to the environment, so that a project works in any shell."""

from __future__ import annotations

import os
from pathlib import Path

from dpe_cli.errors import UsageError

FILE = ".env"


def load(directory: Path) -> None:
    """
    Set the variables of a project's `.env`, if it has one; variables that the environment already has stay unchanged.

    A value is taken literally, including any `$`: it may be a secret. Messages do not show lines of the file.

    Raises:
        UsageError: it cannot be read.
    """
    path = directory / FILE
    if not path.is_file():
        return
    # Parsed by a library because of the rules for quotes and comments; imported here because most projects have no such file.
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not valid UTF-8"
        raise UsageError(f"{path}: cannot be read ({reason}); correct it, or set the variables in the environment") from None
    for binding in bindings:
        if binding.error or "\0" in (binding.value or "") or {"=", "\0"} & set(binding.key or ""):
            line = binding.original.line
            raise UsageError(f"{path}, line {line}: is not NAME=value; correct it, or put a # before it")
    for binding in bindings:
        if binding.key and binding.value is not None:
            os.environ.setdefault(binding.key, binding.value)
