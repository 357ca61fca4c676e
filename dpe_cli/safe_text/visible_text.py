r"""
Make text from outside safe to look at.

File names, headers, values, role names and server messages reach terminals, reports and logs. Terminals obey the
control characters in them: they set the window's title, clear the screen, or show text in another order (CWE-150). Here
each becomes its code, `\x1b` or `\u202e`, as Python and YAML write it. Build servers obey commands in what they log: one sign of
`::stop-commands::` and `##vso[…]` becomes its code, too. Backslashes are not doubled, so the original cannot be
recovered from what is shown; `report.show` writes exact values, as JSON and as data.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, TextIO, cast

LINE_FEED = "⏎"
# Controls except tab and line feed; characters without a glyph, or that change the text direction; line and paragraph separators;
# lone surrogates (bytes of a file name that are not UTF-8); and what XML cannot hold. The zero-width joiner and non-joiner
# are kept: Persian, Hindi and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"
)
_CONTINUATION = re.compile(r"\n {0,3}(?=[^ \n])")
# GitHub reads a command at the start of a line, after any blanks, and anywhere a `##[…]`, as Azure and TeamCity read theirs. A blank counts
# as a start, because a table breaks its lines at blanks; and so does a colour, which a program may remove.
_COLON_OF_COMMAND = re.compile(r"(?:(?<!\S)|(?<=\x1b\[\dm)|(?<=\x1b\[\d;\d\dm)):(?=:)")
_SIGN_OF_COMMAND = re.compile(r"(?<=#)#(?=\w*\[)")
# What divides a message into its thing, what is wrong with it, and what to do: before a blank, and at the end of a name.
_DIVIDER = re.compile(r"[,:;](?= |\Z)")
_CODE_OF_DIVIDER = re.compile(r"\\x(2c|3a|3b)(?= |\Z)")


def visible(text: str) -> str:
    """Return a text of several lines with its hidden characters as codes; idempotent."""
    return _HIDDEN.sub(_code, text)


def inert(text: str) -> str:
    """Return a text of several lines for a log, with its hidden characters as codes, and without commands of build servers; idempotent."""
    return without_commands(visible(text))


def without_commands(text: str) -> str:
    """Return lines as they are printed, colours included, without commands of build servers: a table may break a line within a word."""
    return _SIGN_OF_COMMAND.sub(_code, _COLON_OF_COMMAND.sub(_code, text))


def on_one_line(text: str) -> str:
    """Return a text for a log, with its line feeds as signs."""
    return inert(text).replace("\n", LINE_FEED)


def in_message(name: str) -> str:
    """Return a name from outside for a message: on one line, with codes for what would divide the message."""
    return _DIVIDER.sub(_code, on_one_line(name))


def from_message(shown: str) -> str:
    """Return a name that a message shows, with what `in_message` writes as codes because it divides a message."""
    return _CODE_OF_DIVIDER.sub(lambda found: chr(int(found[1], 16)), shown)


def message(text: str) -> str:
    """Return a message for a log. Lines after the first begin with four blanks, so that no text in it can pass for another message."""
    return _CONTINUATION.sub("\n    ", inert(text))


def visible_json(document: str) -> str:
    """Return a JSON document with the same values, with hidden characters and commands of build servers escaped."""
    return _SIGN_OF_COMMAND.sub(_json_code, _HIDDEN.sub(_json_code, document))


def has_hidden(text: str) -> bool:
    """Return whether a text has characters that `visible` changes."""
    return _HIDDEN.search(text) is not None


def _code(found: re.Match[str]) -> str:
    number = ord(found.group())
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_code(found: re.Match[str]) -> str:
    """Return a character as JSON writes it: beyond U+FFFF as a surrogate pair."""
    units = found.group().encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


class VisibleStream:
    """A stream for people and logs whose text is inert, including tracebacks, warnings and library logs."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        return self.stream.write(inert(text))

    def writelines(self, lines: Iterable[str]) -> None:
        """Write texts."""
        self.stream.writelines(map(inert, lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def visible_standard_error() -> Iterator[None]:
    """Within the block, show hidden characters in everything written to standard error as codes."""
    with redirect_stderr(cast("TextIO", VisibleStream(sys.stderr))):
        yield


def terminal() -> TextIO:
    """Return the original standard error, for progress bars, which move the cursor."""
    return sys.stderr.stream if isinstance(sys.stderr, VisibleStream) else sys.stderr
