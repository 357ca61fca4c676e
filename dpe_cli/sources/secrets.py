"""
Secrets of sources: an option says ${NAME}, and the environment holds it.

dbt's own env_var() would write the value into its manifest. What stands in the project, the ledger and every message is
the reference; the value is known where it is used, and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from dpe_cli.errors import InputError
from dpe_cli.redaction import redact

_REFERENCE = re.compile(r"\$\{(\w+)\}")


def is_reference(text: str) -> bool:
    """Tell whether a text is nothing but a reference."""
    return _REFERENCE.fullmatch(text) is not None


def names(texts: Iterable[str]) -> list[str]:
    """Return the variables that texts refer to."""
    return [name for text in texts for name in _REFERENCE.findall(text)]


def filled(text: str, *, where: str, in_url: bool = False) -> str:
    """
    Return a text with the values of the variables it refers to; as URLs write them, where it is one.

    Raises:
        InputError: the environment has no such variable.
    """

    def value(found: re.Match[str]) -> str:
        held = os.environ.get(found[1])
        if held is None:
            raise InputError(f"{where}: refers to ${{{found[1]}}}, and the environment has no variable {found[1]}; set it")
        return quote(held, safe="") if in_url else held

    return _REFERENCE.sub(value, text)


def hidden(message: str, texts: Iterable[str]) -> str:
    """Return a message without the values that texts refer to, nor any other secret."""
    held = [value for name in names(texts) if (value := os.environ.get(name))]
    return redact(message, more=[form for value in held for form in (value, quote(value, safe=""), quote_plus(value))])
