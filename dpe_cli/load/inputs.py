"""What an extract is asked for: where to, from which inputs, within which limits; and which of the inputs are new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from dpe_cli.load.blocks import Block
from dpe_cli.load.grammar import Dialect
from dpe_cli.load.staging import StagingTable


class Opened(Protocol):
    """An input that is being read: the names of its columns in order, and its blocks."""

    columns: tuple[str, ...]
    dialect: Dialect

    def blocks(self) -> Iterator[Block]:
        """Yield the input's blocks once."""


class Input(Protocol):
    """One load's worth of records: a file, or a member of a zip file."""

    @property
    def location(self) -> str:
        """Where it is, as the ledger shall say it."""

    @property
    def size(self) -> int:
        """Its size as delivered, in bytes."""

    @property
    def is_compressed(self) -> bool:
        """Whether it holds more bytes of records than its size says."""

    def content_hash(self) -> str:
        """Hash its content as delivered; free once it has been read."""

    def open(self) -> AbstractContextManager[Opened]:
        """Open it to be read once."""


@dataclass(frozen=True)
class RejectLimits:
    """How many rejects an extract survives. None: no such limit; both None: no reject at all is accepted."""

    max_rows: int | None = None
    max_ratio: float | None = None
    advice: str = "correct the input or raise the limit in the source's external block"


@dataclass(frozen=True)
class Order:
    """What to extract: where to, how, and within which limits. `replaces_changed`: a file that changed replaces what it was."""

    table: StagingTable
    disposition: Literal["append", "replace"]
    limits: RejectLimits
    spec: str | None = None
    ignore_extra_columns: bool = False
    replaces_changed: bool = False


def new_inputs(inputs: Sequence[Input], disposition: Literal["append", "replace"], known: Mapping[int, set[str]]) -> list[Input]:
    """
    Return the inputs to load. `known` are the hashes of what is in staging, by size.

    An input is known by its content; one of a size never seen is new without being hashed. A `replace` source is loaded
    whole as soon as anything about it changed.
    """
    if disposition == "append":
        return distinct(inputs, known)
    different = distinct(inputs, {})
    loaded = {content_hash for hashes in known.values() for content_hash in hashes}
    unchanged = all(one.size in known for one in different) and {one.content_hash() for one in different} == loaded
    return [] if unchanged else different


def distinct(inputs: Sequence[Input], known: Mapping[int, set[str]]) -> list[Input]:
    """Leave out inputs whose content is known, or that an earlier one has; only those of a size seen before are hashed."""
    new: list[Input] = []
    of_size: dict[int, list[Input]] = {}
    for one in inputs:
        others = of_size.setdefault(one.size, [])
        hashes = known.get(one.size, set()) | {other.content_hash() for other in others}
        if not hashes or one.content_hash() not in hashes:
            new.append(one)
            others.append(one)
    return new
