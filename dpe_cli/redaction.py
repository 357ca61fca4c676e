"""Take secrets out of text that leaves the machine: what the environment calls one, and what stands in connection strings."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from urllib.parse import quote, quote_plus

HIDDEN = "***"
_SECRET_NAMES = ("PASSWORD", "TOKEN", "SECRET")
# user:password@ in a URL, and password=… as libpq writes it.
_IN_URL = re.compile(r"(?<=://)[^\s/@]*@")
_IN_CONNECTION_STRING = re.compile(r"(?i)\b((?:ssl)?password|passwd|pwd|token|secret)(\s*[=:]\s*)('(?:[^'\\]|\\.)*'|\"[^\"]*\"|[^\s,;&]+)")


def redact(text: str, *, more: Sequence[str] = ()) -> str:
    """
    Return a text without secrets: `more` are some that the caller knows.

    Whatever a variable with PASSWORD, TOKEN or SECRET in its name holds is one, however short, and also as URLs write it.
    """
    held = [value for name, value in os.environ.items() if any(part in name.upper() for part in _SECRET_NAMES)]
    secrets = {form for value in (*held, *more) for form in _forms(value) if form}
    # The longest first: one may be a part of another.
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _IN_URL.sub(f"{HIDDEN}@", text)
    return _IN_CONNECTION_STRING.sub(rf"\1\2{HIDDEN}", text)


def _forms(secret: str) -> tuple[str, ...]:
    """Return how a secret may be written: as it is, in a URL or its path, in a form, and by JSON that escapes slashes."""
    return secret, secret.strip(), quote(secret, safe=""), quote(secret), quote_plus(secret), secret.replace("/", r"\/")
