"""The `external:` block of a dbt source table: where its records come from and how they are read."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Le, MinLen

from dpe_cli.errors import ProjectError
from dpe_cli.load.blocks import MAX_RECORD_BYTES
from dpe_cli.load.grammar import Dialect

# What a block may hold is checked by pydantic, when it has changed: it takes longer to import than a small extract takes.
_STRICT: dict[str, object] = {"extra": "forbid"}


@dataclass(frozen=True)
class Rejects:
    """How many rejects an extract survives; above either limit it fails and nothing is visible."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    max_rows: Annotated[int, Ge(0)] | None = None
    max_ratio: Annotated[float, Ge(0), Le(1)] | None = None


@dataclass(frozen=True)
class External:
    """One source table's `external:` block. Without `rejects` not a single reject is accepted."""

    __pydantic_config__: ClassVar[dict[str, object]] = _STRICT

    location: Annotated[str, MinLen(1)]
    file_format: Literal["csv"]
    disposition: Literal["append", "replace"]
    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    null_string: str = ""
    header: bool = True
    encoding: str = "utf-8"
    compression: Literal["auto", "none", "gz", "bz2", "xz", "zst", "zip"] = "auto"
    changed_files: Literal["add", "replace"] = "add"
    extra_columns: Literal["refuse", "ignore"] = "refuse"
    max_record_bytes: Annotated[int, Gt(0)] = MAX_RECORD_BYTES
    rejects: Rejects = Rejects()

    def dialect(self, encoding: str) -> Dialect:
        """Return the CSV dialect of the files, with their encoding as it turned out."""
        return Dialect(self.delimiter, self.quote, self.escape or self.quote, self.null_string, encoding)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> External:
        """Return the block that `dataclasses.asdict` made these values of."""
        return cls(**{**values, "rejects": Rejects(**values["rejects"])})


def option_names(block: type[External | Rejects] = External) -> list[str]:
    """Return the options that a block, or its `rejects`, may have."""
    return [field.name for field in fields(block)]


def parse(block: Mapping[str, object], *, source: str, declared_at: str) -> External:
    """
    Check an `external:` block; options that dbt fills in with null are left out.

    Raises:
        ProjectError: names each option that is wrong, and the nearest one that exists.
    """
    from pydantic import TypeAdapter, ValidationError

    options = {name: value for name, value in block.items() if value is not None}
    try:
        external = TypeAdapter(External).validate_python(options)
    except ValidationError as error:
        faults = [_describe(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors()]
        raise _refused(faults, source, declared_at) from error
    if faults := list(_faults(external)):
        raise _refused(faults, source, declared_at)
    return replace(external, encoding=codecs.lookup(external.encoding).name)


def _refused(faults: Sequence[str], source: str, declared_at: str) -> ProjectError:
    return ProjectError(f"{source} ({declared_at}): external: {'; '.join(faults)}; see docs/sources/csv.md for the options")


def _faults(external: External) -> Iterator[str]:
    """Yield what types do not tell."""
    for name in ("delimiter", "quote", "escape"):
        value = getattr(external, name)
        if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
            yield f"{name}: has to be a single ASCII character"
    if not _is_encoding(external.encoding):
        yield "encoding: is not an encoding of text that Python knows, such as utf-8, utf-16 or latin-1"
    if external.delimiter in {external.quote, external.escape}:
        yield "delimiter has to differ from quote and escape"
    if any(character in external.null_string for character in (external.delimiter, external.quote, "\r", "\n", "\0")):
        yield "null_string may not hold the delimiter, the quote or a line end"


# Codecs of Python that no file is written in: for names of hosts, for its own source, for mail of the eighties.
_NO_ENCODINGS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "unicode_escape", "raw_unicode_escape", "utf-7"}


def _is_encoding(name: str) -> bool:
    try:
        # Python has codecs for other things than text (base64, …), and some that cannot read a stream.
        if codecs.lookup(name).name in _NO_ENCODINGS:
            return False
        "".encode(codecs.lookup(name).name)
        codecs.getincrementaldecoder(name)
    except (LookupError, UnicodeError):
        return False
    return True


def _describe(where: tuple[int | str, ...], kind: str, message: str) -> str:
    option = ".".join(map(str, where)) or "the block"
    if kind == "missing":
        return f"{option} is missing"
    if kind == "dataclass_type":
        return f"{option}: has to be a mapping of options"
    if kind in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = option_names(Rejects if len(where) > 1 else External)
        nearest = difflib.get_close_matches(str(where[-1]), known, n=1)
        return f"{option} is not an option" + (f" (did you mean {nearest[0]}?)" if nearest else f" (there are {', '.join(known)})")
    return f"{option}: {message}"
