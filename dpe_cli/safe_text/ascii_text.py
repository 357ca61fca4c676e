"""Write text for people to streams whose encoding lacks some of its characters, as terminals with ASCII only."""

from __future__ import annotations

import codecs
import sys

_ERRORS = "dpe_ascii"
# What dpe itself writes; any other character becomes its code, as in Python.
_SIGNS = {
    "→": "->",
    "←": "<-",
    "…": "...",
    "─": "-",
    "━": "-",
    "│": "|",
    "┤": "|",
    "•": "*",
    "·": ".",
    "⏎": "\\n",
    **dict(zip("▁▂▃▄▅▆▇█", "__--==##", strict=True)),
}


def accept_all_characters() -> None:
    """Make standard output and standard error write signs in ASCII, and codes, in place of what their encoding lacks."""
    codecs.register_error(_ERRORS, _replaced)
    for stream in (sys.stdout, sys.stderr):
        # Standard error already writes codes: `strict` never applies to it. A test's stream may be of another kind.
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and not has_all_characters(stream.encoding):
            reconfigure(errors=_ERRORS)


def has_all_characters(encoding: str | None) -> bool:
    """Return whether an encoding has every character."""
    return codecs.lookup(encoding or "utf-8").name.startswith("utf")


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(
        _SIGNS.get(character) or character.encode("ascii", "backslashreplace").decode("ascii") for character in characters
    ), error.end
