"""
Parts of regular expressions that read bytes at C speed without going back, which would take quadratic time and more.

CPython 3.11.0 to 3.11.4 evaluate possessive quantifiers wrongly (gh-106052), so expressions use atomic groups: `(?>X*)` is `X*+`.
"""

from __future__ import annotations

# The regex engine keeps a state for each repetition until its atomic group ends: within groups of so many, memory stays flat.
_AT_ONCE = 99


def repeated(part: bytes) -> bytes:
    """Return an expression for a part, which is not empty, as often as it matches; once matched, it gives nothing up."""
    return rb"(?>(?:(?>(?:%b){1,%d}))*)" % (part, _AT_ONCE)
