"""
Take secrets out of text that others see: messages, the ledger, logs, and what leaves the machine.

A secret is known from the moment that dpe has its value (`remember`), for as long as the process lives: from then on each
DpeError, each reject's reason and each line that is logged goes through `hide`. Words of other programs go through `redact`,
which knows by their looks, besides, what connection strings hold, and what the environment calls a secret.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Sequence

from dpe_cli.safe_text import secret_forms
from dpe_cli.safe_text.secret_forms import LONGEST_SHORT, Span

HIDDEN = "***"
_SECRET_NAMES = ("PASSWORD", "TOKEN", "SECRET")
# user:password@ in a URL, and password=… as libpq, JSON and people write it. Bounded: a line may be long, and full of quotes.
_IN_URL = re.compile(r"(?<=://)[^\s/@]*(?=@)")
_IN_CONNECTION_STRING = re.compile(
    r"(?i)\b(?:(?:ssl)?password|passwd|pwd|token|secret)(?:\\{0,4}[\"'])?\s{0,20}[=:]\s{0,20}"
    r"('(?:[^'\\]|\\.){0,1000}'|\"[^\"]{0,1000}\"|[^\s,;&]+)"
)

_lock = threading.Lock()
_known: frozenset[str] = frozenset()


def remember(*secrets: str, is_called_one: bool = True) -> None:
    """
    Hide these from now on. A short one only where its name says that it is a secret: others are regions, numbers, user names.

    The parts that a value is made of, such as the password within a URL, are for the caller to name.
    """
    global _known  # noqa: PLW0603 one for the process: a secret is one wherever it is echoed
    with _lock:
        _known |= {secret for secret in secrets if is_called_one or len(secret.strip()) > LONGEST_SHORT}


def in_connection_string(text: str) -> list[str]:
    """Return the passwords that stand in a connection string."""
    return [found[1].strip("'\"") for found in _IN_CONNECTION_STRING.finditer(text)]


def hide(text: str) -> str:
    """Return a text without the secrets that are known, in whatever form it has them."""
    return _without(text, secret_forms.spans(text, _known))


def redact(text: str, *, more: Sequence[str] = ()) -> str:
    """
    Return a text of others without secrets: `more` are some that the caller knows.

    Whatever a variable with PASSWORD, TOKEN or SECRET in its name holds is one as well.
    """
    return _without(text, _spans(text, more))


def redact_start(text: str, rest: int) -> tuple[str, str]:
    """
    Return the start of a text of others without secrets, and the rest as it is, at least this long: a secret in it may not be complete yet.

    The rest begins earlier where it would cut a secret in two.
    """
    end = max(0, len(text) - rest)
    found = sorted(_spans(text, ()), reverse=True)
    for start, stop in found:
        if start < end < stop:
            end = start
    return _without(text[:end], [span for span in found if span[1] <= end]), text[end:]


def redact_end(text: str, first: int) -> str:
    """Return the end of a text of others without secrets; its first characters are left out, because they may be the end of one."""
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
