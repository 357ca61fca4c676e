"""What an extract has to load: its target, its inputs and limits; and which of the inputs are new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpe_cli.blocks.contract import StagingTable
from dpe_cli.blocks.inputs import Increment, Input, QueryInput


@dataclass(frozen=True)
class RejectLimits:
    """How many rejects an extract tolerates. None: no such limit; both None: no rejects are accepted."""

    max_rows: int | None = None
    max_ratio: float | None = None
    advice: str = "correct the input or raise the limit in the source's external block"


@dataclass(frozen=True)
class Uniqueness:
    """Where a key may occur only once, and what to do if it does not."""

    within: Literal["extract", "table"]
    advice: str


@dataclass(frozen=True)
class LoadRequest:
    """
    What to extract: the target, the method, and the limits. `replaces_changed`: a changed file replaces its earlier rows.

    A record that is delivered again, as identified by the columns of `key`, is not loaded twice; with `unique`, it is refused, or
    refused if its values differ, if the input may repeat records.
    """

    table: StagingTable
    disposition: Literal["append", "replace"]
    limits: RejectLimits
    spec: str | None = None
    ignore_extra_columns: bool = False
    replaces_changed: bool = False
    key: tuple[str, ...] = ()
    unique: Uniqueness | None = None
    increment: Increment | None = None


@dataclass(frozen=True)
class Known:
    """An input whose rows are in staging: its load, its location, and its content."""

    load_id: int
    location: str
    size: int
    content_hash: str
    version: str | None = None


@dataclass(frozen=True)
class Plan:
    """
    What an extract has to do: load the `new` inputs, remove the rows of loads whose files `changed`, record those that `moved`.

    `moved` maps loads to the present locations of their files.
    """

    new: list[Input]
    changed: list[int]
    moved: dict[int, str]


def planned(inputs: Sequence[Input], known: Sequence[Known], request: LoadRequest, *, full_refresh: bool = False) -> Plan:
    """
    Compare the inputs with what is in staging.

    An input is recognized by its content, whatever its name; one of a size never seen before is new, without being hashed. A `replace`
    source is loaded as a whole as soon as anything about it changed. If changed files replace their earlier rows, a file whose
    content differs from its last one has changed, unless it only took the name of a file that now has another one.
    """
    if any(isinstance(input_, QueryInput) for input_ in inputs):
        return Plan(list(inputs), [], {})
    _recognise(inputs, known)
    if full_refresh:
        return Plan(distinct(inputs, []), [], {})
    if request.disposition == "replace":
        different = distinct(inputs, [])
        sizes = {earlier.size for earlier in known}
        unchanged = all(input_.size in sizes for input_ in different) and {input_.content_hash() for input_ in different} == {
            earlier.content_hash for earlier in known
        }
        return Plan([] if unchanged else different, [], {})
    new = distinct(inputs, known)
    if not request.replaces_changed:
        return Plan(new, [], {})
    present = {input_.location: input_ for input_ in inputs}
    changed: list[int] = []
    moved: dict[int, str] = {}
    others = [load for load in known if load.location not in present or not _is(present[load.location], load)]
    sizes = {load.size for load in others}
    locations: dict[tuple[int, str | None], str] = {}
    for input_ in inputs:
        if input_.size in sizes:
            locations.setdefault((input_.size, input_.content_hash()), input_.location)
    for load in others:
        if elsewhere := locations.get((load.size, load.content_hash)):
            moved[load.load_id] = elsewhere
        elif load.location in present:
            changed.append(load.load_id)
    return Plan(new, changed, moved)


def _recognise(inputs: Sequence[Input], known: Sequence[Known]) -> None:
    """Recognize inputs by their versions: a remote file need not be fetched for that."""
    versions = {(load.location, load.size, load.version): load.content_hash for load in known if load.version}
    for input_ in inputs:
        if input_.version and (content_hash := versions.get((input_.location, input_.size, input_.version))):
            input_.is_known_as(content_hash)


def distinct(inputs: Sequence[Input], known: Sequence[Known]) -> list[Input]:
    """Leave out inputs whose content is known, or repeats an earlier one; only those of a size seen before are hashed."""
    hashes_of_size: dict[int, set[str | None]] = {}
    for load in known:
        hashes_of_size.setdefault(load.size, set()).add(load.content_hash)
    new: list[Input] = []
    unhashed: dict[int, Input] = {}
    for input_ in inputs:
        hashes = hashes_of_size.setdefault(input_.size, set())
        if other := unhashed.pop(input_.size, None):
            hashes.add(other.content_hash())
        if not hashes:
            unhashed[input_.size] = input_
        elif input_.content_hash() in hashes:
            continue
        else:
            hashes.add(input_.content_hash())
        new.append(input_)
    return new


def _is(input_: Input, load: Known) -> bool:
    return input_.size == load.size and input_.content_hash() == load.content_hash
