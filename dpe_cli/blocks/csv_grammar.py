"""
How COPY reads CSV: which bytes end a record or a field, and what quotes do.

Outside quotes, a line feed ends a record, and a quote opens quoting, even in the middle of a field; within quotes, only the escape
character has a meaning. Delivered files mean quotes differently: strict_csv.py makes blocks that both read alike. Everything that runs
for each record of a block runs at C speed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise

from psycopg import sql

from dpe_cli.blocks.patterns import repeated


@dataclass(frozen=True)
class Dialect:
    """
    How a CSV input separates, quotes and escapes its fields, how it writes a missing value, and its original encoding.

    If it has no quotes, `quote` and `escape` are empty. If `null_quoted`, a missing value may be quoted.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = '"'
    null_string: str = ""
    encoding: str = "utf-8"
    null_quoted: bool = False

    @property
    def copy_quote(self) -> str:
        """The quote for COPY, which needs one; if the input has none, a character that few texts contain."""
        return self.quote or ("\x02" if self.delimiter == "\x01" else "\x01")

    @property
    def copy_escape(self) -> str:
        """The escape character for COPY."""
        return self.escape or self.copy_quote

    @property
    def for_copy(self) -> Dialect:
        """The dialect of blocks for COPY, which may have quotes even if the input has none."""
        return replace(self, quote=self.copy_quote, escape=self.copy_escape)

    def copy_options(self) -> sql.Composed:
        """Return the options of COPY … FROM STDIN for blocks of this dialect, which are UTF-8 whatever the input was."""
        options = [
            sql.SQL("format csv"),
            sql.SQL("encoding 'UTF8'"),
            sql.SQL("delimiter {}").format(sql.Literal(self.delimiter)),
            sql.SQL("quote {}").format(sql.Literal(self.copy_quote)),
            sql.SQL("escape {}").format(sql.Literal(self.copy_escape)),
            sql.SQL("null {}").format(sql.Literal(self.null_string)),
        ]
        return sql.SQL(", ").join(options)


class Grammar:
    """Finds, counts and reads the records of one dialect in UTF-8 bytes."""

    def __init__(self, dialect: Dialect) -> None:
        self._delimiter = dialect.delimiter.encode()
        self._quote = dialect.copy_quote.encode()
        self._has_quotes = bool(dialect.quote)
        self._escape = b"" if dialect.copy_escape == dialect.copy_quote else dialect.copy_escape.encode()
        self._all_but_structure = bytes(set(range(256)) - set(self._quote + self._delimiter + b"\r\n"))
        self._all_but_quotes_and_line_feeds = bytes(set(range(256)) - set(self._quote + b"\n"))
        quote, delimiter = re.escape(self._quote), re.escape(self._delimiter)
        if self._escape:
            # The escape character cancels the meaning of a quote or of itself, and means nothing before another character.
            escape = re.escape(self._escape)
            within = rb"(?>[^%b%b]*)" % (quote, escape)
            escapes = repeated(rb"%b.%b" % (escape, within))
            # Most fields have no escape.
            quoted = rb"%b%b(?:%b|%b%b)" % (quote, within, quote, escapes, quote)
            field = within + escapes
            self._escaped = re.compile(rb"%b([%b%b])" % (escape, quote, escape))
        else:
            # A doubled quote closes and reopens, so it can be ignored when looking for where quotes end.
            within = rb"[^%b]*" % quote
            quoted = rb"%b%b%b" % (quote, within, quote)
            field = within + repeated(quote + quote + within)
            self._escaped = re.compile(rb"%b(%b)" % (quote, quote))
        self._quoted = re.compile(quoted, re.DOTALL)
        self._quoted_or_unclosed = re.compile(rb"%b|%b.*" % (quoted, quote), re.DOTALL)
        self._all_closed = re.compile(repeated(rb"%b[^%b]*|[^%b]+" % (quoted, quote, quote)), re.DOTALL)
        self._token = re.compile(rb"%b(%b)%b|(%b)|[^%b%b]+|." % (quote, field, quote, delimiter, quote, delimiter), re.DOTALL)

    def count(self, data: bytes) -> tuple[int, int] | None:
        """Return the number of records and of lines in `data`, which starts at a record; None if it does not end with one."""
        if not data.endswith(b"\n"):
            return None
        if not self._has_quotes or self._quote not in data:
            lines = data.count(b"\n")
            return lines, lines
        if self._escape and self._escape in data:
            outside = self.outside(data)
            return None if self._quote in outside else (outside.count(b"\n"), data.count(b"\n"))
        structure = data.translate(None, self._all_but_quotes_and_line_feeds)
        # Two adjacent quotes hold no line feed between them; what is left are fields that span several lines.
        structure = structure.replace(self._quote * 2, b"")
        outside_and_inside = structure.split(self._quote)
        if len(outside_and_inside) % 2 == 0:
            return None
        return sum(map(len, outside_and_inside[::2])), sum(map(len, outside_and_inside))

    def end_of_last(self, data: bytes) -> int:
        """Return the offset after the last whole record in `data`, which starts at a record; 0 if there is none."""
        if not self._has_quotes:
            return data.rfind(b"\n") + 1
        masked = self._mask(data)
        quotes_before = masked.count(self._quote)
        end = len(masked)
        while (line_feed := masked.rfind(b"\n", 0, end)) >= 0:
            quotes_before -= masked.count(self._quote, line_feed, end)
            if quotes_before % 2 == 0:
                return line_feed + 1
            end = line_feed
        return 0

    def split(self, data: bytes) -> list[bytes]:
        """Return the records of `data`, each with its line feed; an unfinished last one is included as it is."""
        if self._quote not in data:
            return split_lines(data)
        records: list[bytes] = []
        start = end = quotes = 0
        for line in split_lines(self._mask(data)):
            end += len(line)
            quotes += line.count(self._quote)
            if quotes % 2 == 0:
                records.append(data[start:end])
                start = end
        return [*records, data[start:]] if start < len(data) else records

    def outside(self, data: bytes) -> bytes:
        """Return `data`, which starts at a record, without its quoted parts: one line per record."""
        if self._quote not in data:
            return data
        end = len(data)
        if self._escape:
            # Checked first: tried at every escaped quote after it, the pattern would read to the end each time.
            closed = self._all_closed.match(data)
            end = closed.end() if closed else 0
        outside = self._quoted.sub(b"", data[:end])
        unclosed = outside.find(self._quote)
        return outside[:unclosed] + self._quote if unclosed >= 0 else outside + data[end : end + 1]

    def outlines(self, data: bytes) -> list[bytes]:
        """Return for each record of `data` its delimiters, stray carriage returns and unclosed quotes, outside quotes only."""
        structure = self.outside(data) if self._escape else data
        if b"\r" in structure:
            structure = structure.replace(b"\r\n", b"\n")
        structure = structure.translate(None, self._all_but_structure)
        return self.outside(structure).removesuffix(b"\n").split(b"\n")

    def structure(self, data: bytes) -> list[bytes] | None:
        """
        Return the delimiters and line feeds of whole records, split at their quotes: outside, inside, outside, …

        None if that is not enough: there are escape characters, carriage returns, NUL bytes or unclosed quotes.
        """
        if b"\r" in data or b"\0" in data or (self._escape and self._escape in data):
            return None
        structure = data.translate(None, self._all_but_structure)
        # Two adjacent quotes hold nothing between them.
        parts = structure.replace(self._quote * 2, b"").split(self._quote)
        return parts if len(parts) % 2 == 1 else None

    def fields(self, record: bytes) -> list[bytes]:
        """Return the fields of a record as COPY reads them: without quotes, escapes and the line end."""
        fields = [b""]
        for token in self._token.finditer(record.removesuffix(b"\n").removesuffix(b"\r")):
            within, delimiter = token.groups()
            if delimiter:
                fields.append(b"")
            elif within is not None:
                fields[-1] += self._escaped.sub(rb"\1", within)
            else:
                fields[-1] += token[0]
        return fields

    def _mask(self, data: bytes) -> bytes:
        """Blank out escaped characters, keeping every offset. Escapes and quotes are ASCII, so no character is cut apart."""
        if not self._escape or self._escape not in data:
            return data
        return self._quoted_or_unclosed.sub(lambda quoted: self._escaped.sub(b"  ", quoted[0]), data)


def split_lines(data: bytes) -> list[bytes]:
    """Split at line feeds only; bytes.splitlines(), which is faster, splits at carriage returns as well."""
    if b"\r" not in data:
        return data.splitlines(keepends=True)
    lines = data.split(b"\n")
    last = lines.pop()
    return [line + b"\n" for line in lines] + ([last] if last else [])


def quoted(text: str, dialect: Dialect) -> str:
    """Return a text as a quoted field; if the dialect has no quotes, with blanks in place of delimiters and line ends."""
    if not dialect.quote:
        return re.sub(f"[{re.escape(dialect.delimiter)}\r\n]+", " ", text)
    escaped = text if dialect.escape == dialect.quote else text.replace(dialect.escape, dialect.escape * 2)
    return f"{dialect.quote}{escaped.replace(dialect.quote, dialect.escape + dialect.quote)}{dialect.quote}"


def value_of(field: str, dialect: Dialect, *, null_quoted: bool) -> str | None:
    """Return the value of a field as it is written; None if it is null."""
    is_quoted = field.startswith(dialect.quote)
    value = _unquoted(field, dialect) if is_quoted else field
    return None if value == dialect.null_string and (not is_quoted or null_quoted) else value


def _unquoted(field: str, dialect: Dialect) -> str:
    inner = field[1:-1]
    if dialect.escape == dialect.quote:
        return inner.replace(dialect.quote * 2, dialect.quote)
    return re.sub(f"{re.escape(dialect.escape)}([{re.escape(dialect.quote)}{re.escape(dialect.escape)}])", r"\1", inner)


def split(record: str, dialect: Dialect) -> list[str] | None:
    """Return the fields of a delivered record as they are written, with their quotes; None if its quotes do not enclose whole fields."""
    text = record.removesuffix("\n").removesuffix("\r")
    starts, misplaced = starts_of_fields(text, dialect)
    if misplaced is not None:
        return None
    return [text[start : end - len(dialect.delimiter)] for start, end in pairwise([*starts, len(text) + len(dialect.delimiter)])]


def starts_of_fields(record: str, dialect: Dialect) -> tuple[list[int], int | None]:
    """Return the offsets of a delivered record's fields, up to the first one whose quotes do not enclose it, and the offset of that."""
    starts = [0]
    while True:
        start = starts[-1]
        if dialect.quote and record.startswith(dialect.quote, start):
            end = _end_of_quoted(record, start, dialect)
            if end is None:
                return starts, start
        else:
            end = record.find(dialect.delimiter, start)
        if end in {-1, len(record)}:
            return starts, None
        starts.append(end + len(dialect.delimiter))


def _end_of_quoted(text: str, start: int, dialect: Dialect) -> int | None:
    """Return the offset after a quoted field; None if it is not closed, or not followed by a delimiter or the end."""
    position = start + 1
    while position < len(text):
        if text[position] == dialect.escape and text[position + 1 : position + 2] in {dialect.quote, dialect.escape}:
            position += 2
        elif text[position] == dialect.quote:
            position += 1
            return position if position == len(text) or text.startswith(dialect.delimiter, position) else None
        else:
            position += 1
    return None
