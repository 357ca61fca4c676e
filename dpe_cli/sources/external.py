"""The `external:` block of a dbt source table: where its records come from and how they are read."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dpe_cli.errors import ProjectError
from dpe_cli.load.blocks import MAX_RECORD_BYTES
from dpe_cli.load.grammar import Dialect


class Rejects(BaseModel):
    """How many rejects an extract survives; above either limit it fails and nothing is visible."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_rows: int | None = Field(default=None, ge=0)
    max_ratio: float | None = Field(default=None, ge=0, le=1)


class External(BaseModel):
    """One source table's `external:` block. Without `rejects` not a single reject is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    location: str = Field(min_length=1)
    file_format: Literal["csv"]
    disposition: Literal["append", "replace"]
    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    null_string: str = ""
    header: bool = True
    encoding: str = "utf-8"
    compression: Literal["auto", "none", "gz", "bz2", "xz", "zst", "zip"] = "auto"
    extra_columns: Literal["refuse", "ignore"] = "refuse"
    max_record_bytes: int = Field(default=MAX_RECORD_BYTES, gt=0)
    rejects: Rejects = Rejects()

    @field_validator("delimiter", "quote", "escape")
    @classmethod
    def _is_one_ascii_character(cls, value: str | None) -> str | None:
        if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
            raise ValueError("has to be a single ASCII character")
        return value

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            name = codecs.lookup(value).name
            # Python has codecs for other things than text (base64, …), and some that cannot read a stream.
            "".encode(name)
            codecs.getincrementaldecoder(name)
        except (LookupError, UnicodeError) as error:
            raise ValueError("is not an encoding of text that Python knows, such as utf-8, utf-16 or latin-1") from error
        return name

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.delimiter in {self.quote, self.escape}:
            raise ValueError("delimiter has to differ from quote and escape")
        if any(character in self.null_string for character in (self.delimiter, self.quote, "\r", "\n", "\0")):
            raise ValueError("null_string may not hold the delimiter, the quote or a line end")
        return self

    def dialect(self, encoding: str) -> Dialect:
        """Return the CSV dialect of the files, with their encoding as it turned out."""
        return Dialect(self.delimiter, self.quote, self.escape or self.quote, self.null_string, encoding)


def parse(block: Mapping[str, object], *, source: str, declared_at: str) -> External:
    """
    Check an `external:` block; options that dbt fills in with null are left out.

    Raises:
        ProjectError: names each option that is wrong, and the nearest one that exists.
    """
    options = {name: value for name, value in block.items() if value is not None}
    try:
        return External.model_validate(options)
    except ValidationError as error:
        faults = "; ".join(_describe(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors())
        raise ProjectError(f"{source} ({declared_at}): external: {faults}; see docs/sources/csv.md for the options") from error


def _describe(where: tuple[int | str, ...], kind: str, message: str) -> str:
    option = ".".join(map(str, where)) or "the block"
    if kind == "missing":
        return f"{option} is missing"
    if kind == "extra_forbidden":
        known = list(Rejects.model_fields if len(where) > 1 else External.model_fields)
        nearest = difflib.get_close_matches(str(where[-1]), known, n=1)
        return f"{option} is not an option" + (f" (did you mean {nearest[0]}?)" if nearest else f" (there are {', '.join(known)})")
    return f"{option}: {message.removeprefix('Value error, ')}"
