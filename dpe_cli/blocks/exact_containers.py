"""
Arrays, ranges and composite values: what they hold is compared with its own type.

An array's elements, a range's bounds and a composite value's fields are written within braces, brackets or parentheses, and may be quoted
(PostgreSQL documentation, "Array Input and Output Syntax", "Range Types": "Input/Output", "Composite Type Input and Output Syntax").
A range of integers or dates is stored with other bounds, `[1,3]` as `[1,4)`, which is the same range.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpe_cli.blocks.exact_scalars import INVALID_TEXT, ExactType, shown

_BLANKS = b" \t\n\r\v\f"
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
# Explicit bounds: [1:2]={…}.
_BOUNDS = re.compile(rb"(?:\[[+-]?[0-9]+(?::[+-]?[0-9]+)?\])+ *= *")
# A brace, a comma, an element in quotes, or one without; with the blanks before it.
_TOKEN = re.compile(rb'(?>[ \t\n\r\v\f]*)(?:([{},])|"((?>(?:[^"\\]|\\.)*))"|((?>(?:[^{},"\\]|\\.)+)))', re.DOTALL)
# What may follow what: "{" opens, "}" closes, "," separates, "e" is an element.
_FOLLOWING = {b"": b"{", b"{": b"{e}", b"}": b"},", b",": b"{e", b"e": b"},"}
_QUOTED = rb'"(?>(?:[^"\\]|\\.|"")*)"'
_BOUND = rb'((?>(?:[^,)\]"\\]|\\.|%b)*))' % _QUOTED
_RANGE = re.compile(rb"[ \t\n\r\v\f]*(?:((?i:empty))|[\[(]%b,%b[\])])[ \t\n\r\v\f]*" % (_BOUND, _BOUND), re.DOTALL)
_FIELD = re.compile(rb'((?>(?:[^,)"\\]|\\.|%b)*))([,)])' % _QUOTED, re.DOTALL)
_PART = re.compile(rb'\\(.)|"((?>(?:[^"\\]|\\.|"")*))"', re.DOTALL)
_PART_OF_QUOTED = re.compile(rb'\\(.)|"(")', re.DOTALL)


@dataclass(frozen=True)
class ExactContainer:
    """What a type loads unchanged whose values hold others. `what` names those, for a reject."""

    what = "parts"

    def parts(self, value: bytes) -> list[tuple[bytes, ExactType | ExactContainer | None]] | None:
        """Return what a value holds, with its types; None if it is not written as such a value."""
        raise NotImplementedError

    def accepts(self, value: bytes) -> bool:
        """Return whether a value that is not null is loaded as it is written."""
        parts = self.parts(value)
        return parts is not None and all(exact is None or exact.accepts(part) for part, exact in parts)

    def refusal(self, value: bytes) -> tuple[str, str]:
        """Return the SQLSTATE and the reason of a value that may be changed."""
        for part, exact in self.parts(value) or ():
            if exact is not None and not exact.accepts(part):
                sqlstate, reason = exact.refusal(part)
                return sqlstate, f"{self.what} {reason}"
        return INVALID_TEXT, f"{shown(value.decode(errors='surrogateescape'))} has another form than PostgreSQL gives to such values"

    def pattern(self, quote: bytes | None, excluded: bytes) -> bytes | None:
        """
        Return an expression for plain values, as long as an automaton can read them; None if each has to be looked at.

        `quote` is how a double quote is written, None if it cannot be; `excluded` are characters that are not text, as in a set.
        """
        del quote, excluded
        return None


def _within(exact: ExactType, quote: bytes | None, excluded: bytes) -> bytes:
    """Return an expression for a value within a container."""
    if exact.most_bytes is not None or exact.most_characters is not None:
        # Of the text that is left, an automaton cannot count characters; without blanks at its end, it is not cut off.
        most = b"{1,%d}" % exact.most_bytes if exact.most_bytes is not None else b"+"
        bare = rb'[^{}()\[\],"\\ \t\r\n\v\f%b]%b' % (excluded, most)
        quoted = rb"[^\"\\ %b]%b" % (excluded, most)
        if exact.most_characters is not None:
            quoted = rb'(?:[^"\\%b]*[^"\\ %b])?%b' % (excluded, excluded, exact.counted(rb'"\\' + excluded))
    else:
        bare = quoted = exact.pattern
    return bare if quote is None else rb"(?:%b|%b(?:%b)%b)" % (bare, quote, quoted, quote)


@dataclass(frozen=True)
class ExactArray(ExactContainer):
    """Arrays of a type, of any dimensions."""

    element: ExactType | ExactContainer
    what = "the element"

    def parts(self, value: bytes) -> list[tuple[bytes, ExactType | ExactContainer | None]] | None:
        """Return the elements that are not null."""
        elements = _elements(value)
        return None if elements is None else [(element, self.element) for element in elements]

    def pattern(self, quote: bytes | None, excluded: bytes) -> bytes | None:
        """Return an expression for arrays of one or two dimensions."""
        if isinstance(self.element, ExactContainer):
            return None
        element = rb"(?:%b|(?i:null))" % _within(self.element, quote, excluded)
        row = rb"\{%b(?:,%b)*\}" % (element, element)
        return rb"(?:\{\}|%b|\{%b(?:,%b)*\})" % (row, row, row)


def _elements(value: bytes) -> list[bytes] | None:
    """Return the elements of an array that are not null."""
    value = value.strip(_BLANKS)
    bounds = _BOUNDS.match(value)
    position = bounds.end() if bounds else 0
    found: list[bytes] = []
    before, depth = b"", 0
    while position < len(value):
        token = _TOKEN.match(value, position)
        if token is None:
            return None
        mark, quoted, bare = token.groups()
        kind = mark or b"e"
        # An empty array has no dimensions, so it cannot be an element.
        if kind not in _FOLLOWING[before] or (before + kind == b"{}" and depth > 1):
            return None
        depth += {b"{": 1, b"}": -1}.get(kind, 0)
        if quoted is not None:
            found.append(_ESCAPED.sub(rb"\1", quoted))
        elif bare is not None:
            text = _without_blanks_after(bare)
            if not text:
                return None
            if text.lower() != b"null":
                found.append(_ESCAPED.sub(rb"\1", text))
        position, before = token.end(), kind
        if depth == 0:
            break
    return found if depth == 0 and before == b"}" and position == len(value) else None


def _without_blanks_after(bare: bytes) -> bytes:
    """Return an element without the blanks at its end, of which the first may be escaped."""
    text = bare.rstrip(_BLANKS)
    backslashes = len(text) - len(text.rstrip(b"\\"))
    return text if backslashes % 2 == 0 else bare[: len(text) + 1]


@dataclass(frozen=True)
class ExactRange(ExactContainer):
    """Ranges of a type, or sets of them."""

    bound: ExactType | ExactContainer
    is_multiple: bool = False
    what = "the bound"

    def parts(self, value: bytes) -> list[tuple[bytes, ExactType | ExactContainer | None]] | None:
        """Return the bounds that are not infinite."""
        text = value.strip(_BLANKS)
        if not self.is_multiple:
            found = _RANGE.fullmatch(text)
            return None if found is None else list(self._bounds(found))
        if not (text.startswith(b"{") and text.endswith(b"}")):
            return None
        position = 1
        parts: list[tuple[bytes, ExactType | ExactContainer | None]] = []
        while text[position:-1].strip(_BLANKS):
            found = _RANGE.match(text, position, len(text) - 1)
            if found is None or text[found.end()] not in b",}":
                return None
            parts += self._bounds(found)
            position = found.end() + 1
        return parts

    def _bounds(self, found: re.Match[bytes]) -> Iterator[tuple[bytes, ExactType | ExactContainer]]:
        return ((_unquoted(bound), self.bound) for bound in found.groups()[1:] if bound)

    def pattern(self, quote: bytes | None, excluded: bytes) -> bytes | None:
        """Return an expression for ranges."""
        if isinstance(self.bound, ExactContainer):
            return None
        bound = _within(self.bound, quote, excluded)
        one = rb"(?:[\[(](?:%b)?,(?:%b)?[\])]|(?i:empty))" % (bound, bound)
        return rb"\{(?:%b(?:,%b)*)?\}" % (one, one) if self.is_multiple else one


@dataclass(frozen=True)
class ExactRow(ExactContainer):
    """Values of a composite type with these fields."""

    fields: tuple[ExactType | ExactContainer | None, ...]
    what = "the field"

    def parts(self, value: bytes) -> list[tuple[bytes, ExactType | ExactContainer | None]] | None:
        """Return the fields that are not null."""
        text = value.strip(_BLANKS)
        if not text.startswith(b"("):
            return None
        written, position, end = [], 1, b","
        while end == b",":
            found = _FIELD.match(text, position)
            if found is None:
                return None
            written.append(found[1])
            position, end = found.end(), found[2]
        if position != len(text) or len(written) != len(self.fields):
            return None
        return [(_unquoted(field), exact) for field, exact in zip(written, self.fields, strict=True) if field]


def _unquoted(text: bytes) -> bytes:
    """Return what is written in a range's bound or a field, where quotes may enclose any part of it."""
    if b'"' not in text and b"\\" not in text:
        return text

    def plain(found: re.Match[bytes]) -> bytes:
        escaped, quoted = found.groups()
        if escaped is not None:
            return bytes(escaped)
        return _PART_OF_QUOTED.sub(lambda part: part[1] or part[2], quoted)

    return _PART.sub(plain, text)


def array(element: ExactType | ExactContainer | None) -> ExactArray | None:
    """Return which arrays are loaded unchanged; None if nothing that they may hold is changed."""
    return None if element is None else ExactArray(element)


def row(fields: Sequence[ExactType | ExactContainer | None]) -> ExactRow | None:
    """Return which composite values are loaded unchanged; None if nothing that they may hold is changed."""
    return ExactRow(tuple(fields)) if any(fields) else None
