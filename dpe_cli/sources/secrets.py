"""
Secrets of sources: an option contains ${NAME}, and the environment the value.

dbt's own env_var() would write the value into its manifest. The project, the ledger and every message contain
the reference; the value is read where it is used, and from then on hidden wherever it is echoed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from dpe_cli.errors import InputError
from dpe_cli.safe_text import redaction
from dpe_cli.safe_text.secret_forms import LONGEST_SHORT

_REFERENCE = re.compile(r"\$\{(\w+)\}")
# The words of a name, as in apiKey, api_key and X-API-KEY.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = re.compile(r"(apikey|authorization|bearer|cookie|credential|jwt|pass(phrase|wd|word)?|pwd|secret|token)s?")
# The characters in a URL around a password, and before a parameter's value.
_BEFORE_PASSWORD = re.compile(r"://[^/?#@]*:[^/?#@]*\Z")
_BEHIND_PASSWORD = re.compile(r"[^/?#@]*@")
_BEFORE_VALUE = re.compile(r"[?&]([^?&=#]*)=[^?&=#]*\Z")
_LONG = 16
_LONG_PATH = 8
# Anything shorter may occur by chance in a name, or in the state of a tap.
LONG_SECRET = 8
# Other things called "key": columns, and names of objects.
_NO_SECRET_KEYS = {"bookmark", "cursor", "foreign", "object", "partition", "primary", "public", "replication", "sort", "table", "unique"}


def is_reference(text: str) -> bool:
    """Return whether a text is nothing but a reference."""
    return _REFERENCE.fullmatch(text) is not None


def names(texts: Iterable[str]) -> list[str]:
    """Return the variables that texts refer to."""
    return [name for text in texts for name in _REFERENCE.findall(text)]


def beginning(text: str) -> str:
    """Return a text with the value of a variable at its start, if the environment has it."""
    reference = _REFERENCE.match(text)
    return text if reference is None else os.environ.get(reference[1], reference[0]) + text[reference.end() :]


def filled(text: str, *, where: str, in_url: bool = False, option: str = "") -> str:
    """
    Replace references in a text by the variables' values, which are hidden from now on; URL-encoded, if the text is a URL.

    A variable at the start of a URL holds an address, or its beginning, and is inserted unchanged. `option` is the option's name.

    Raises:
        InputError: the environment has no such variable.
    """

    def value(found: re.Match[str]) -> str:
        held = os.environ.get(found[1])
        if held is None:
            raise InputError(
                f"{where}: refers to ${{{found[1]}}}, but the environment has no variable {found[1]}; "
                "set it, or write it into the project's .env"
            )
        remember(held, is_called_one=_is_called_secret(found, option))
        return quote(held, safe="") if in_url and found.start() > 0 else held

    return _REFERENCE.sub(value, text)


def remember(secret: str, *, is_called_one: bool = True) -> None:
    """Hide a secret from now on, and the secrets within it; a short one only if its name says that it is secret."""
    redaction.remember(secret, is_called_one=is_called_one)
    redaction.remember(*parts(secret))


def _is_called_secret(reference: re.Match[str], option: str) -> bool:
    """Return whether a variable, its option, or its place in a URL says that it is a secret."""
    text, start, end = reference.string, reference.start(), reference.end()
    if _BEFORE_PASSWORD.search(text, 0, start) and _BEHIND_PASSWORD.match(text, end):
        return True
    in_query = _BEFORE_VALUE.search(text, 0, start)
    return any(map(names_one, (reference[1], option, in_query[1] if in_query else "")))


def held(options: Mapping[str, Any]) -> list[str]:
    """Return the secrets that options refer to, by their names: values that are called secrets, and secrets within any value."""
    found = [reference for option in options.items() for reference in _references(*option)]
    values = [(os.environ.get(reference[1], ""), _is_called_secret(reference, option)) for reference, option in found]
    return [secret for value, is_called_one in values for secret in (*([value] if is_called_one else []), *parts(value)) if is_long(secret)]


def is_long(secret: str) -> bool:
    """Return whether a secret is so long that it does not occur elsewhere by chance."""
    return len(secret) >= LONG_SECRET


def _references(option: str, document: Any) -> Iterator[tuple[re.Match[str], str]]:
    yield from ((reference, option) for text in texts(document) for reference in _REFERENCE.finditer(text))


def with_references(location: str, texts: Iterable[str]) -> str:
    """
    Return a file's location as the ledger records it: with references instead of the values of variables.

    It depends on nothing else, because dpe recognizes a file by it.
    """
    held = {os.environ.get(name, ""): name for name in names(texts)}
    for value, name in sorted(held.items(), key=lambda item: len(item[0]), reverse=True):
        if len(value) > LONGEST_SHORT:
            location = location.replace(value, f"${{{name}}}")
    return location


def parts(secret: str) -> Iterator[str]:
    """Yield the secrets within a value: lines of a key, and those in a URL, a connection string or JSON."""
    lines = secret.splitlines()
    yield from (line for line in lines if len(lines) > 1 and len(line) >= _LONG)
    if "://" in secret:
        yield from _parts_of_url(secret)
    yield from redaction.in_connection_string(secret)
    if secret.lstrip().startswith("{"):
        try:
            document = json.loads(secret)
        except (ValueError, RecursionError):
            return
        for _, text in bare(document):
            yield from (text, *parts(text))


def _parts_of_url(url: str) -> Iterator[str]:
    try:
        found = urlsplit(url)
    except ValueError:
        return
    yield from (found.password, unquote(found.password)) if found.password else ()
    yield from (value for name, value in parse_qsl(found.query) if names_one(name) or len(value) >= _LONG)
    # A short one says nothing, and occurs elsewhere too.
    if len(found.path) >= _LONG_PATH:
        yield found.path


def names_one(option: str) -> bool:
    """Return whether an option's name says that it holds a secret: its last word does, as in client_secret, not in token_url."""
    words = [word.lower() for word in _WORD.findall(option)]
    if words[-1:] == ["json"]:
        del words[-1]
    if words[-1:] == ["key"]:
        return not _NO_SECRET_KEYS.intersection(words)
    if words[-1:] == ["keys"]:
        # primary_keys are not secrets; api_keys are.
        return not {"access", "api", "private", "secret"}.isdisjoint(words)
    return bool(words) and _SECRET.fullmatch(words[-1]) is not None


def bare(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Yield the secrets that a document contains in plain text, each with the path of its option."""
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
    """Return whether a text is an address with a password that is not a reference."""
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


def filled_document(document: Any, *, where: str, option: str = "") -> Any:
    """
    Replace references in a document's texts by the variables' values.

    Raises:
        InputError: the environment has no such variable.
    """
    if isinstance(document, str):
        return filled(document, where=where, option=option)
    if isinstance(document, dict):
        return {name: filled_document(value, where=where, option=str(name)) for name, value in document.items()}
    return [filled_document(value, where=where, option=option) for value in document] if isinstance(document, list) else document
