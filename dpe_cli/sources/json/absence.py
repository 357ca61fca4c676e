"""
Pages without the array that the others have: APIs send null, or leave the array out, where a page has no records.

So do APIs that report an error with status 200. What a page says besides tells them apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from dpe_cli.sources.json.json_path import Step

_OUTCOMES = {
    *("code", "detail", "details", "message", "messages", "msg", "ok", "reason", "resultcode", "returncode"),
    *("status", "statuscode", "success", "title"),
}
_ERRORS = ("err", "exception", "fault")
# What an API says of an answer that is in order.
_IN_ORDER = {"0", "200", "ok", "success", "succeeded", "true"}
_LINKS = ("http://", "https://", "/", "?")
_NO_LETTERS = re.compile(r"[^a-z]+")


def absence(document: Any, steps: Sequence[Step]) -> Literal["null", "missing"] | None:
    """Return how the value at a path is absent from a document; None if it is there, or the path leads through something else."""
    for step in steps:
        if document is None:
            return "null"
        if not isinstance(document, dict):
            return None
        if step not in document:
            return "missing"
        document = document[step]
    return "null" if document is None else None


def contradiction(document: Any, usual: Any, steps: Sequence[Step], expected: Sequence[Sequence[Step]]) -> str | None:
    """
    Return the name of a member which makes doubtful that a page without an array at a path is just an empty page; None if there is none.

    Such a member reports an outcome or an error that `usual`, an earlier page, did not, or is new: a text, an object or an array.
    Members on the `expected` paths do not count.
    """
    for depth, step in enumerate(steps):
        if not isinstance(document, dict):
            return None
        known = usual if isinstance(usual, dict) else {}
        for name, value in document.items():
            here = (*steps[:depth], name)
            if name != step and here not in {tuple(path[: depth + 1]) for path in expected} and _is_doubtful(name, value, known):
                return str(name)
        document, usual = document.get(step), known.get(step)
    return None


def _is_doubtful(name: str, value: Any, known: dict[str, Any]) -> bool:
    plain = _NO_LETTERS.sub("", name.lower())
    if value in (None, "", [], {}):
        return False
    if plain.startswith(_ERRORS):
        return bool(value) and value != known.get(name)
    if plain in _OUTCOMES:
        return value != known[name] if name in known else str(value).lower() not in _IN_ORDER
    is_new = name not in known
    return is_new and (isinstance(value, (dict, list)) or (isinstance(value, str) and not value.startswith(_LINKS)))
