"""What an extract is asked for: where to, from which inputs, within which limits; and which of the inputs are new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

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
    """One load's worth of records: a file, a member of a zip file, or a window."""

    @property
    def location(self) -> str:
        """Where it is, as the ledger shall say it."""

    @property
    def version(self) -> str | None:
        """What its place calls this version of it, if it does: the same at the same location means the same content."""

    @property
    def size(self) -> int:
        """Its size as delivered, in bytes."""

    @property
    def is_compressed(self) -> bool:
        """Whether it holds more bytes of records than its size says."""

    def content_hash(self) -> str | None:
        """Hash its content as delivered; free once it has been read. A window has none."""

    def is_known_as(self, content_hash: str) -> None:
        """Take note of the hash of its content, which need not be read for it."""

    def open(self) -> AbstractContextManager[Opened]:
        """Open it to be read once."""


@runtime_checkable
class Window(Input, Protocol):
    """
    What an API, a database or a tap is asked for: no content tells whether it is new, so that it is read each time.

    Where it goes on from is a cursor, or a state, that is committed with what was read.
    """

    plainly: bool
    """Whether to read it so that each record can be told apart, which may take longer."""

    @property
    def may_repeat(self) -> bool:
        """Whether a record may come twice within it, as from an API whose records move from page to page meanwhile."""

    def begin(self, after: str | None) -> None:
        """Say where the last extract ended; None where there was none, or all is to be read."""

    def end(self) -> str | None:
        """Return where the next extract goes on, once all was read; None where the rows themselves tell."""


@dataclass(frozen=True)
class Increment:
    """
    How a source goes on where it ended: by the greatest value of a column.

    `overlap` is how far before it the next extract starts (an interval, or a number), so that late records are not missed.
    """

    column: str
    data_type: str
    overlap: str | None = None


@dataclass(frozen=True)
class RejectLimits:
    """How many rejects an extract survives. None: no such limit; both None: no reject at all is accepted."""

    max_rows: int | None = None
    max_ratio: float | None = None
    advice: str = "correct the input or raise the limit in the source's external block"


@dataclass(frozen=True)
class Order:
    """
    What to extract: where to, how, and within which limits. `replaces_changed`: a file that changed replaces what it was.

    A record that is delivered again, which the columns of `key` tell, is not loaded twice.
    """

    table: StagingTable
    disposition: Literal["append", "replace"]
    limits: RejectLimits
    spec: str | None = None
    ignore_extra_columns: bool = False
    replaces_changed: bool = False
    key: tuple[str, ...] = ()
    increment: Increment | None = None


@dataclass(frozen=True)
class Known:
    """An input whose rows are in staging: its load, where it was, and its content."""

    load_id: int
    location: str
    size: int
    content_hash: str
    version: str | None = None


@dataclass(frozen=True)
class Plan:
    """
    What an extract has to do: load the `new` inputs, take away the rows of loads whose files `changed`, note those that `moved`.

    `moved` maps loads to where their files are now.
    """

    new: list[Input]
    changed: list[int]
    moved: dict[int, str]


def planned(inputs: Sequence[Input], known: Sequence[Known], order: Order, *, full_refresh: bool = False) -> Plan:
    """
    Compare the inputs with what is in staging.

    An input is known by its content, whatever its name; one of a size never seen is new without being hashed. A `replace`
    source is loaded whole as soon as anything about it changed. Where changed files replace what they were, a file with
    another content than its last one has changed, unless it only took the name of a file that is there under another one.
    """
    if any(isinstance(one, Window) for one in inputs):
        return Plan(list(inputs), [], {})
    _recognise(inputs, known)
    if full_refresh:
        return Plan(distinct(inputs, []), [], {})
    if order.disposition == "replace":
        different = distinct(inputs, [])
        sizes = {one.size for one in known}
        unchanged = all(one.size in sizes for one in different) and {one.content_hash() for one in different} == {
            one.content_hash for one in known
        }
        return Plan([] if unchanged else different, [], {})
    new = distinct(inputs, known)
    if not order.replaces_changed:
        return Plan(new, [], {})
    present = {one.location: one for one in inputs}
    changed: list[int] = []
    moved: dict[int, str] = {}
    for load in known:
        if load.location in present and _is(present[load.location], load):
            continue
        elsewhere = [one.location for one in inputs if _is(one, load)]
        if elsewhere:
            moved[load.load_id] = elsewhere[0]
        elif load.location in present:
            changed.append(load.load_id)
    return Plan(new, changed, moved)


def _recognise(inputs: Sequence[Input], known: Sequence[Known]) -> None:
    """Tell inputs what they are by their versions: a file that is far away need not be read to be known."""
    versions = {(load.location, load.size, load.version): load.content_hash for load in known if load.version}
    for one in inputs:
        if one.version and (content_hash := versions.get((one.location, one.size, one.version))):
            one.is_known_as(content_hash)


def distinct(inputs: Sequence[Input], known: Sequence[Known]) -> list[Input]:
    """Leave out inputs whose content is known, or that an earlier one has; only those of a size seen before are hashed."""
    hashes_of_size: dict[int, set[str]] = {}
    for load in known:
        hashes_of_size.setdefault(load.size, set()).add(load.content_hash)
    new: list[Input] = []
    of_size: dict[int, list[Input]] = {}
    for one in inputs:
        others = of_size.setdefault(one.size, [])
        hashes = hashes_of_size.get(one.size, set()) | {other.content_hash() for other in others}
        if not hashes or one.content_hash() not in hashes:
            new.append(one)
            others.append(one)
    return new


def _is(one: Input, load: Known) -> bool:
    return one.size == load.size and one.content_hash() == load.content_hash
