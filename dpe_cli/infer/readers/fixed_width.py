"""Fixed-width lines: their columns are found by the characters that are blank in every line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from dpe_cli.blocks import encodings
from dpe_cli.errors import InputError
from dpe_cli.infer.readers import headers
from dpe_cli.infer.survey import Draft

_ENOUGH = 2000


@dataclass(frozen=True)
class ColumnLayout:
    """Where the columns are, and the other options for reading the lines."""

    drafts: Sequence[Draft]
    options: Mapping[str, object]
    notes: Sequence[str] = ()


def layout_of(chunks: Iterable[bytes], encoding: str, *, location: str) -> ColumnLayout:
    """
    Return the layout of a file.

    Raises:
        InputError: no columns can be found.
    """
    lines = _lines(chunks, encoding)
    if not lines:
        raise InputError(f"{location}: the file is empty; name one with records")
    width = max(map(len, lines))
    spans = _spans(lines, width)
    if len(spans) < 2:
        raise InputError(
            f"{location}: no position is blank in all of its first {len(lines):,} lines, so no columns can be found; "
            "write them with meta.start and meta.width, as docs/guides/sources/fixed_width.md shows"
        )
    names = [lines[0][start:end].strip() for start, end in spans]
    records = [[line[start:end].strip().encode() for start, end in spans] for line in lines]
    has_header, is_guess = headers.looks_like_header(records) if len(lines) > 1 else (False, False)
    options: dict[str, object] = {"header_lines": 1} if has_header else {}
    if min(map(len, lines)) < spans[-1][1]:
        options["short_lines"] = "pad"
    drafts = []
    for number, (start, end) in enumerate(spans):
        # Trailing blanks belong to a column: another value may be longer.
        until = spans[number + 1][0] if number + 1 < len(spans) else end
        name = re.sub(r"\W+", "_", names[number].lower()).strip("_") if has_header else ""
        name = name or f"column_{number + 1}"
        drafts.append(Draft(name, name, start=start + 1, width=until - start))
    what = "leave out header_lines if it is a record" if has_header else "write header_lines: 1 if it names the columns"
    return ColumnLayout(drafts, options, [headers.GUESSED.format(what)] if is_guess else [])


def _lines(chunks: Iterable[bytes], encoding: str) -> list[str]:
    chunks = iter(chunks)
    start = next(chunks, b"")
    ordered = encodings.with_byte_order("utf-8" if encoding == "ascii" else encoding, start)
    text = next(encodings.to_utf8(iter([start]), ordered), b"").decode(errors="ignore")
    lines = text.split("\n")
    # The last line may be cut off.
    whole = lines[:-1] if len(lines) > 1 else lines
    return [line.rstrip("\r") for line in islice((line for line in whole if line.strip()), _ENOUGH)]


def _spans(lines: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Return the ranges in which some line is not blank."""
    filled = [False] * width
    for line in lines:
        for place, character in enumerate(line):
            if character != " ":
                filled[place] = True
    marks = "".join("x" if column else " " for column in filled)
    return [found.span() for found in re.finditer(r"x+", marks)]
