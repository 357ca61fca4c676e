"""
CSV files: their encoding, dialect and header.

By dpe's own grammar, which also loads them: it picks the dialect in which most records have the same number of fields.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dpe_cli.blocks import encodings
from dpe_cli.blocks.csv_grammar import Dialect, Grammar
from dpe_cli.blocks.strict_csv import StrictReader
from dpe_cli.errors import InputError
from dpe_cli.infer.readers import headers

# If several are equally regular, the first wins: texts and numbers contain commas too. The last ones are rarely meant.
_DELIMITERS = ("\t", "|", ";", ",")
_RARE = ("\x1f", "\x01", "^", "~")
_ENOUGH = 512 * 1024
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Form:
    """How a CSV file is written; `fields` are those of most records, and `is_guess` says that all of them are texts, a header or not."""

    encoding: str
    dialect: Dialect
    header: bool
    fields: int
    is_guess: bool = False


def encoding_of(chunks: Iterable[bytes], *, location: str) -> str:
    """
    Return the encoding of a file: `ascii` if any would do, and cp1252 or latin-1 if no other fits.

    Raises:
        InputError: it is not text.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    candidates = ["utf-8", "cp1252", "latin-1"]
    is_ascii = is_first = True
    for chunk in chunks:
        if is_first:
            if marked := next((name for mark, name in _MARKS if chunk.startswith(mark)), None):
                return marked
            if (order := _utf16_without_mark(chunk)) is not None:
                return order
            is_first = False
        if b"\0" in chunk:
            raise InputError(f"{location}: is not text (it contains a NUL byte); give its format with --format, or ask the sender for text")
        is_ascii = is_ascii and chunk.isascii()
        if "utf-8" in candidates:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                candidates.remove("utf-8")
        # Bytes that cp1252 does not define.
        if "cp1252" in candidates and not chunk.isascii() and any(byte in chunk for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)):
            candidates.remove("cp1252")
    return "ascii" if is_ascii else candidates[0]


def _utf16_without_mark(chunk: bytes) -> str | None:
    """Return UTF-16 with its byte order if exactly every other byte of the start is zero, as in text that is mostly ASCII."""
    start = chunk[:4096]
    first, second = start[::2], start[1::2]
    few = len(start) // 20
    if len(start) < 4:
        return None
    if second.count(b"\0") * 10 > len(second) * 7 and first.count(b"\0") <= few:
        return "utf-16-le"
    return "utf-16-be" if first.count(b"\0") * 10 > len(first) * 7 and second.count(b"\0") <= few else None


def form_of(chunks: Iterable[bytes], encoding: str, *, location: str, header: bool | None = None) -> Form:
    """
    Return how a CSV file is written.

    Raises:
        InputError: it is empty, or its header does not fit its records.
    """
    data = b""
    start = b""
    for chunk in chunks:
        start = start or chunk
        data += chunk
        if len(data) >= _ENOUGH:
            break
    ordered = encodings.with_byte_order("utf-8" if encoding == "ascii" else encoding, start)
    is_whole = len(data) < _ENOUGH
    text = b"".join(encodings.to_utf8(iter([data]), ordered)).replace(b"\r\n", b"\n")
    if not text.strip():
        raise InputError(f"{location}: the file is empty; name one with records")
    dialect = _dialect(text, is_whole=is_whole)
    records = _records(text, dialect, is_whole=is_whole)
    if header is not False:
        headers.check_first_line(text, dialect, location=location)
    has_header, is_guess = headers.looks_like_header(records) if header is None else (header, False)
    if has_header:
        headers.check(text, records, dialect, location=location)
    return Form(encoding, dialect, has_header, headers.usual_width(records)[0], is_guess)


def looks_like_csv(text: bytes) -> bool:
    """Return whether most lines of a text's start have the same number of fields, and more than one."""
    text = text[:_ENOUGH].replace(b"\r\n", b"\n")
    return _regularity(text, _dialect(text, is_whole=True), is_whole=True)[1] > 0.5


def _dialect(text: bytes, *, is_whole: bool) -> Dialect:
    quote = _quote(text)
    escapes = ["\\", quote] if _has_escapes(text, quote) else [quote]
    for delimiters in (_DELIMITERS, _RARE):
        found = [Dialect(delimiter, quote, escape) for delimiter in delimiters for escape in escapes]
        best = max(found, key=lambda dialect: _regularity(text, dialect, is_whole=is_whole))
        if _regularity(text, best, is_whole=is_whole)[1]:
            return best
    return Dialect(",", quote, escapes[0])


def _quote(text: bytes) -> str:
    """Return the quote that encloses whole fields more often."""
    around = {quote: len(re.findall(rb"(?<![^,;\t|\n])%b[^%b\n]*%b(?![^,;\t|\n])" % (quote, quote, quote), text)) for quote in (b'"', b"'")}
    return "'" if around[b"'"] > around[b'"'] else '"'


def _has_escapes(text: bytes, quote: str) -> bool:
    """Return whether a backslash stands before a quote that does not end a field."""
    return re.search(rb"\\%b[^,;\t|\n%b]" % (quote.encode(), quote.encode()), text) is not None


def _regularity(text: bytes, dialect: Dialect, *, is_whole: bool) -> tuple[bool, float]:
    """Return whether the first record has as many fields as most, and the share of these; a single field proves nothing."""
    delimiter, quote = dialect.delimiter.encode(), dialect.quote.encode()
    outlines = Grammar(dialect).outlines(_as_copy_reads(text, dialect))
    # Ignore blank lines, and a last record that is cut off.
    filled = [outline for outline in (outlines if is_whole else outlines[:-1]) if outline]
    widths = Counter(-1 if quote in outline else outline.count(delimiter) for outline in filled)
    width, count = max(widths.items(), key=lambda item: item[1], default=(0, 0))
    share = count / len(outlines)
    if width < 1 or share < 0.5:
        return False, 0.0
    return filled[0].count(delimiter) == width, round(share, 1)


def _as_copy_reads(text: bytes, dialect: Dialect) -> bytes:
    """Return the records of a text for COPY, without those that are refused; an unfinished last one as it is."""
    reader = StrictReader(dialect)
    if reader.agrees(text[: text.rfind(b"\n") + 1]):
        return text
    block, taken = reader.read(text)
    return block.data + text[taken:]


def _records(text: bytes, dialect: Dialect, *, is_whole: bool) -> list[list[bytes]]:
    grammar = Grammar(dialect)
    records = grammar.split(_as_copy_reads(text, dialect))
    return [grammar.fields(record) for record in (records if is_whole or len(records) == 1 else records[:-1])[:1000]]
