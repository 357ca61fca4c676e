"""Which records of CSV are certainly bad, without asking the server: too many or too few fields, open quotes, bytes that are not text."""

from __future__ import annotations

from dpe_cli.blocks import encodings
from dpe_cli.blocks.block import BAD_COPY_FILE_FORMAT, Fault, not_text
from dpe_cli.blocks.records import Records
from dpe_cli.load.copier import Shape


class Malformed:
    """Judges records by the shape that they should have."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._grammar = shape.grammar
        self._outline = shape.outline
        self._delimiter = shape.dialect.delimiter.encode()
        self._quote = shape.dialect.copy_quote.encode()

    def find(self, records: Records) -> list[int]:
        """Return the indexes of the records that are certainly bad."""
        data = b"".join(records.raws)
        encoding = self._shape.dialect.encoding
        malformed = {index for index, outline in enumerate(self._grammar.outlines(data)) if outline != self._outline}
        if b"\0" in data:
            malformed.update(index for index, raw in enumerate(records.raws) if b"\0" in raw)
        if encodings.invalid_bytes(data, encoding):
            malformed.update(index for index, raw in enumerate(records.raws) if encodings.invalid_bytes(raw, encoding))
        return sorted(malformed)

    def fault(self, raw: bytes) -> Fault | None:
        """Return, in the server's words, why a record is certainly bad; None if it is not."""
        encoding = self._shape.dialect.encoding
        invalid = encodings.invalid_bytes(raw, encoding)
        if invalid or b"\0" in raw:
            return not_text(invalid, encoding) if invalid else not_text(b"\0", "utf-8")
        outline = self._grammar.outlines(raw)[0]
        if outline == self._outline:
            return None
        if self._quote in outline:
            return Fault(None, BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field")
        if b"\r" in outline:
            return Fault(None, BAD_COPY_FILE_FORMAT, "unquoted carriage return found in data")
        fields = outline.count(self._delimiter) + 1
        if fields < len(self._shape.names):
            column = self._shape.names[fields]
            return Fault(column, BAD_COPY_FILE_FORMAT, f'missing data for column "{column}"')
        return Fault(None, BAD_COPY_FILE_FORMAT, "extra data after last expected column")
