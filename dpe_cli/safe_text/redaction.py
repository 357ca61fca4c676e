"""
Remove secrets from text that other people see: messages, the ledger, logs, and whatever leaves the machine.

dpe knows a secret from the moment it has its value (`remember`), as long as the process lives; one that a server chose
(`remember_issued`), until the extract of its source has ended, because it may be a word of other sources' messages. From then on each
DpeError, each reject's reason and each logged line goes through `hide`. Output of other programs goes through `redact`,
which also recognizes connection strings by their form, and the values of environment variables that are named like secrets.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dpe_cli.safe_text import secret_forms
from dpe_cli.safe_text.secret_forms import LONGEST_SHORT, Span

HIDDEN = "***"
# Longer than any secret, however it is written: where a text is cut, this much of it may be a part of one.
LONGEST_SECRET = 32 * 1024
_LONGEST_NAME = 63
_SECRET_NAMES = ("PASSWORD", "TOKEN", "SECRET")
# user:password@ in a URL, and password=… as libpq, JSON and people write it. Bounded, because a line may be long and full of quotes.
_IN_URL = re.compile(r"(?<=://)[^\s/@]*(?=@)")
_IN_CONNECTION_STRING = re.compile(
    r"(?i)\b(?:(?:ssl)?password|passwd|pwd|token|secret)(?:\\{0,4}[\"'])?\s{0,20}[=:]\s{0,20}"
    r"('(?:[^'\\]|\\.){0,1000}'|\"[^\"]{0,1000}\"|[^\s,;&]+)"
)

_lock = threading.Lock()
_known: frozenset[str] = frozenset()
_issued: frozenset[str] = frozenset()


def remember(*secrets: str, is_called_one: bool = True) -> None:
    """
    Hide these from now on. Short ones only if their name says that they are secret: others are regions, numbers, user names.

    The caller names the parts of a value, such as the password within a URL.
    """
    global _known, _issued
    with _lock:
        kept = {secret for secret in secrets if is_called_one or len(secret.strip()) > LONGEST_SHORT}
        _known, _issued = _known | kept, _issued - kept


def remember_issued(secret: str) -> None:
    """Hide a secret that a server chose, such as a token, until the end of the block of `forgetting_issued` that it is remembered in."""
    global _known, _issued
    with _lock:
        if secret not in _known:
            _known, _issued = _known | {secret}, _issued | {secret}


@contextmanager
def forgetting_issued() -> Iterator[None]:
    """Forget, at the end of the block, the secrets that servers chose."""
    global _known, _issued
    try:
        yield
    finally:
        with _lock:
            _known, _issued = _known - _issued, frozenset()


def in_connection_string(text: str) -> list[str]:
    """Return the passwords in a connection string."""
    return [found[1].strip("'\"") for found in _IN_CONNECTION_STRING.finditer(text)]


def hide(text: str) -> str:
    """Return a text without known secrets, in whatever form it contains them."""
    return _without(text, secret_forms.spans(text, _known))


def excerpt(text: str, most: int = _LONGEST_NAME) -> str:
    """Return the start of a text of any length, such as a name that a sender chose, without known secrets."""
    start, is_cut = _start(text, most)
    return f"{start}…" if is_cut else start


def abridged(text: str, most: int) -> str:
    """Return a text without known secrets, and without its middle if it is longer than `most` characters; takes time for these only."""
    if len(text) <= most:
        return hide(text)
    half = most // 2
    return f"{_start(text, half)[0]}… [{len(text) - 2 * half:,} characters are left out] …{_end(text, half)}"


def _start(text: str, length: int) -> tuple[str, bool]:
    """Return about so many characters without known secrets, none of which is cut in two, and whether any follow."""
    window = text[: length + LONGEST_SECRET]
    found = secret_forms.merged(secret_forms.spans(window, _known))
    cut = next((stop for start, stop in found if start < length < stop), min(length, len(window)))
    return _without(window[:cut], [span for span in found if span[1] <= cut]), cut < len(text)


def _end(text: str, length: int) -> str:
    window = text[-length - LONGEST_SECRET :]
    found = secret_forms.merged(secret_forms.spans(window, _known))
    first = max(0, len(window) - length)
    cut = next((start for start, stop in found if start < first < stop), first)
    return _without(window[cut:], [(start - cut, stop - cut) for start, stop in found if start >= cut])


def redact(text: str, *, more: Sequence[str] = ()) -> str:
    """
    Remove secrets from a text of another program; `more` are some that the caller knows.

    The values of variables with PASSWORD, TOKEN or SECRET in their names count as secrets too.
    """
    return _without(text, _spans(text, more))


def redact_start(text: str, rest: int) -> tuple[str, str]:
    """
    Redact the start of a text of another program, and return the rest unchanged, at least this long: a secret in it may be incomplete.

    The rest begins earlier if it would cut a secret in two.
    """
    end = max(0, len(text) - rest)
    found = sorted(_spans(text, ()), reverse=True)
    for start, stop in found:
        if start < end < stop:
            end = start
    return _without(text[:end], [span for span in found if span[1] <= end]), text[end:]


def redact_end(text: str, first: int) -> str:
    """Return the redacted end of a text of another program, without its first characters, which may be the end of a secret."""
    found = secret_forms.merged(_spans(text, ()))
    cut = next((stop for start, stop in found if start < first < stop), first)
    return _without(text[cut:], [(start - cut, stop - cut) for start, stop in found if start >= cut])


def _spans(text: str, more: Sequence[str]) -> list[Span]:
    held = [value for name, value in os.environ.items() if any(part in name.upper() for part in _SECRET_NAMES)]
    return [*secret_forms.spans(text, (*_known, *held, *more)), *_by_their_looks(text)]


def _by_their_looks(text: str) -> Iterator[Span]:
    yield from (found.span() for found in _IN_URL.finditer(text))
    yield from (found.span(1) for found in _IN_CONNECTION_STRING.finditer(text))


def _without(text: str, spans: Sequence[Span]) -> str:
    parts: list[str] = []
    position = 0
    for start, end in secret_forms.merged(spans):
        parts += text[position:start], HIDDEN
        position = end
    return "".join([*parts, text[position:]])
