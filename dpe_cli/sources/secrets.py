"""
Secrets of sources: an option says ${NAME}, and the environment holds it.

dbt's own env_var() would write the value into its manifest. What stands in the project, the ledger and every message is
the reference; the value is known where it is used, and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from dpe_cli.errors import InputError
from dpe_cli.redaction import redact

_REFERENCE = re.compile(r"\$\{(\w+)\}")
# The words of a name, as in apiKey, api_key and X-API-KEY.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = re.compile(r"(apikey|authorization|bearer|cookie|credential|jwt|pass(phrase|wd|word)?|pwd|secret|token)s?")
# What a key may be besides a secret: columns, and names of objects.
_NO_SECRET_KEYS = {"bookmark", "cursor", "foreign", "object", "partition", "primary", "public", "replication", "sort", "table", "unique"}


def is_reference(text: str) -> bool:
    """Tell whether a text is nothing but a reference."""
    return _REFERENCE.fullmatch(text) is not None


def names(texts: Iterable[str]) -> list[str]:
    """Return the variables that texts refer to."""
    return [name for text in texts for name in _REFERENCE.findall(text)]


def filled(text: str, *, where: str, in_url: bool = False) -> str:
    """
    Return a text with the values of the variables it refers to; as URLs write them, where it is one.

    A variable at the start of a URL holds an address, or its beginning, and is taken as it is.

    Raises:
        InputError: the environment has no such variable.
    """

    def value(found: re.Match[str]) -> str:
        held = os.environ.get(found[1])
        if held is None:
            raise InputError(
                f"{where}: refers to ${{{found[1]}}}, and the environment has no variable {found[1]}; "
                "set it, or write it into the project's .env"
            )
        return quote(held, safe="") if in_url and found.start() > 0 else held

    return _REFERENCE.sub(value, text)


def hidden(message: str, texts: Iterable[str], *, more: Iterable[str] = ()) -> str:
    """Return a message without the values that texts refer to, nor any other secret; `more` are some that are known besides."""
    held = [*more, *(value for name in names(texts) if (value := os.environ.get(name)))]
    return redact(message, more=[form for value in held for form in (value, quote(value, safe=""), quote_plus(value))])


def names_one(option: str) -> bool:
    """Tell whether the name of an option says that it holds a secret: its last word does, as in client_secret, not in token_url."""
    words = [word.lower() for word in _WORD.findall(option)]
    if words[-1:] == ["json"]:
        del words[-1]
    if words[-1:] == ["key"]:
        return not _NO_SECRET_KEYS.intersection(words)
    if words[-1:] == ["keys"]:
        # primary_keys are none; api_keys are.
        return not {"access", "api", "private", "secret"}.isdisjoint(words)
    return bool(words) and _SECRET.fullmatch(words[-1]) is not None


def bare(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the secrets that stand in a document as they are, each with the path of its option."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from bare(value, (*path, str(name)))
    elif isinstance(document, list):
        for value in document:
            yield from bare(value, path)
    elif isinstance(document, (str, int)) and not isinstance(document, bool):
        text = str(document)
        is_secret = bool(path) and names_one(path[-1]) and not names([text])
        if text and (is_secret or _has_password(text)):
            yield ".".join(path), text


def _has_password(text: str) -> bool:
    """Tell whether a text is an address with a password that is no reference."""
    try:
        password = urlsplit(text).password if "://" in text else None
    except ValueError:
        return False
    return password is not None and password != "" and not is_reference(password)


def texts(document: Any) -> Iterator[str]:
    """Yield the texts in a document."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, (dict, list)):
        for value in document.values() if isinstance(document, dict) else document:
            yield from texts(value)


def filled_document(document: Any, *, where: str) -> Any:
    """
    Return a document with the values of the variables that its texts refer to.

    Raises:
        InputError: the environment has no such variable.
    """
    if isinstance(document, str):
        return filled(document, where=where)
    if isinstance(document, dict):
        return {name: filled_document(value, where=where) for name, value in document.items()}
    return [filled_document(value, where=where) for value in document] if isinstance(document, list) else document
