"""
One extract: lock the source, plan its loads, write them into slices, and publish all of it in one transaction.

A crash at any moment leaves slices that are not attached, which nobody can read, and which the next extract removes.
"""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import psycopg

from dpe_cli import rls
from dpe_cli.errors import BusyError, ContractError, DpeError, ExtractError, RejectLimitError
from dpe_cli.load import compaction, ledger, locks, staging
from dpe_cli.load.blocks import BLOCK_BYTES, Block, Dialect
from dpe_cli.load.ledger import Load
from dpe_cli.load.repair import Reject
from dpe_cli.load.spool import Spool
from dpe_cli.load.staging import Policy, Slice, StagingTable
from dpe_cli.load.writers import Shape, Writers, Written

Connection = psycopg.Connection[tuple[object, ...]]

ACTOR = "dpe extract"
_SHOWN_REJECTS = 5
# Text compresses about fourfold; only used to guess how many writers an extract can keep busy.
_GUESSED_COMPRESSION = 4


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

    def open(self) -> Opened:
        """Open it to be read once."""


@dataclass(frozen=True)
class RejectLimits:
    """How many rejects an extract survives. None: no such limit; both None: no reject at all is accepted."""

    max_rows: int | None = None
    max_ratio: float | None = None


@dataclass(frozen=True)
class Order:
    """What to extract: where to, how, and within which limits."""

    table: StagingTable
    disposition: Literal["append", "replace"]
    limits: RejectLimits
    spec: str | None = None
    ignore_extra_columns: bool = False


@dataclass
class ExtractResult:
    """What an extract did. `extract_id` is None where nothing was new; `error` says why it was refused."""

    source: str
    extract_id: int | None = None
    loads: list[Load] = field(default_factory=list)
    skipped: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    dropped: list[str] = field(default_factory=list)
    error: str | None = None

    @property
    def records_read(self) -> int:
        """Records read in all loads."""
        return sum(load.records_read for load in self.loads)

    @property
    def rows_loaded(self) -> int:
        """Rows loaded by all loads."""
        return sum(load.rows_loaded for load in self.loads)

    @property
    def rows_rejected(self) -> int:
        """Records rejected in all loads."""
        return sum(load.rows_rejected for load in self.loads)


Progress = Callable[[int], None]


class Extraction:
    """Extracts one source over `connect`, which returns a new connection of the loader."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        order: Order,
        *,
        jobs: int,
        tenant_id: str | None = None,
        full_refresh: bool = False,
        progress: Progress = lambda _bytes: None,
    ) -> None:
        self._connect = connect
        self._order = order
        self._table = order.table
        self._jobs = jobs
        self._tenant_id = tenant_id
        self._full_refresh = full_refresh
        self._progress = progress
        self._rejects: Spool[Reject] = Spool()
        self._read: Counter[int] = Counter()
        self._bytes_read = 0

    def run(self, inputs: Sequence[Input]) -> ExtractResult:
        """
        Load the inputs that are not in staging yet: all of them or nothing.

        Raises:
            BusyError: another extract of the source is running.
            ContractError: the columns of an input, the contract and the staging table disagree.
            InputError: an input cannot be read as declared.
            RejectLimitError: more records were rejected than the source allows.
        """
        if self._tenant_id is not None and (self._order.disposition == "replace" or self._full_refresh):
            raise ExtractError(
                f"{self._table.source}: an extract for one tenant cannot replace the table, the other tenants' rows would be gone; "
                "extract it for all tenants"
            )
        if self._tenant_id is not None and self._table.tenant_column is None:
            raise ExtractError(
                f"{self._table.source}: an extract for one tenant needs to know whose a row is; declare `rls: {{tenant_column: …}}` "
                f"in the source's meta ({self._table.declared_at}), or extract it for all tenants"
            )
        started = time.monotonic()
        result = ExtractResult(self._table.source)
        with self._connect() as connection, locks.source_lock(connection, self._table.source):
            with self._context(connection):
                rebuild = staging.prepare(connection, self._table, may_rebuild=self._full_refresh)
                self._remove_orphans(connection)
                new = self._new_inputs(connection, inputs)
            result.skipped = len(inputs) - len(new)
            if new:
                self._extract(connection, new, result, rebuild=rebuild)
        result.bytes_read = self._bytes_read
        result.seconds = time.monotonic() - started
        return result

    def _extract(self, connection: Connection, inputs: Sequence[Input], result: ExtractResult, *, rebuild: bool) -> None:
        with self._context(connection):
            extract_id = ledger.start_extract(
                connection,
                source=self._table.source,
                spec=self._order.spec,
                disposition=self._order.disposition,
                tenant_id=self._tenant_id,
            )
            load_ids = ledger.next_load_ids(connection, len(inputs))
            policies = staging.policies_of(connection, self._table)
        try:
            written = self._write(extract_id, list(zip(load_ids, inputs, strict=True)), policies)
            loads = self._reconcile(list(zip(load_ids, inputs, strict=True)), written)
            self._check_ratio(loads)
            with self._context(connection):
                self._check_visible(connection, written, loads, policies)
                result.dropped = self._publish(connection, extract_id, written, loads, rebuild=rebuild)
        except BaseException as error:
            self._clean_up(connection, extract_id, error)
            raise
        result.extract_id = extract_id
        result.loads = loads
        # For every tenant, whatever this extract was opened for: a narrower context would lose the others' rows.
        with rls.system_context(connection, actor=ACTOR):
            compaction.compact(connection, self._table, extract_id)

    def _write(self, extract_id: int, loads: Sequence[tuple[int, Input]], policies: Sequence[Policy]) -> list[Written]:
        """Read all inputs into the writers' slices; return what was written, committed but not attached."""
        expected = sum(one.size * (_GUESSED_COMPRESSION if one.is_compressed else 1) for _, one in loads)
        count = max(1, min(self._jobs, -(-expected // BLOCK_BYTES)))
        writers = Writers(
            self._connect,
            [Slice(self._table, extract_id, number) for number in range(1, count + 1)],
            actor=ACTOR,
            tenant_id=self._tenant_id,
            writer_lock=locks.writer_key(self._table.source),
            single_load=loads[0][0] if len(loads) == 1 else None,
            policies=policies,
            rejects=self._rejects,
            on_rejects=self._check_rows,
        )
        try:
            for load_id, one in loads:
                opened = one.open()
                shape = self._shape(load_id, opened, one.location)
                for block in opened.blocks():
                    self._read[load_id] += block.records
                    self._bytes_read += len(block.data)
                    writers.write(shape, block)
                    self._progress(len(block.data))
            return writers.finish()
        except BaseException as error:
            writers.abandon(error)
            raise

    def _shape(self, load_id: int, opened: Opened, location: str) -> Shape:
        """Match the input's columns to the contract; what the contract does not name goes into columns that are dropped."""
        types = {column.name: column.data_type for column in self._table.columns}
        self._check_columns(opened, location)
        columns: list[str] = []
        ignored = 0
        for name in opened.columns:
            if name in types:
                columns.append(name)
            else:
                columns.append(staging.ignored_column(ignored))
                ignored += 1
        types |= {staging.ignored_column(number): "text" for number in range(ignored)}
        return Shape(load_id, tuple(columns), types, ignored, opened.dialect)

    def _check_columns(self, opened: Opened, location: str) -> None:
        """Refuse an input whose header lacks a column of the contract, or has one that the contract does not name."""
        names = [column.name for column in self._table.columns]
        faults = [f"column {name} is missing" for name in names if name not in opened.columns]
        if not self._order.ignore_extra_columns:
            for position, name in enumerate(opened.columns, 1):
                if name not in names:
                    nearest = difflib.get_close_matches(name, names, n=1)
                    hint = f" (did you mean {nearest[0]}?)" if nearest else ""
                    faults.append(f"column {name!r}, field {position}, is not in the contract{hint}")
        if faults:
            raise ContractError(
                f"{self._table.source}, {location}, line 1: {'; '.join(faults)}; "
                f"correct the columns in {self._table.declared_at}, or set extra_columns: ignore there for fields that nobody needs"
            )

    def _reconcile(self, loads: Sequence[tuple[int, Input]], written: Sequence[Written]) -> list[Load]:
        """Check for each load that records read = rows loaded + rows rejected."""
        rows: Counter[int] = Counter()
        rejected: Counter[int] = Counter()
        read = self._read.copy()
        for one in written:
            rows.update(one.rows)
            rejected.update(one.rejected)
            read.update(one.released)
        for load_id, one in loads:
            if read[load_id] != rows[load_id] + rejected[load_id]:
                raise ExtractError(
                    f"{self._table.source}, {one.location}: {read[load_id]:,} records were read, but {rows[load_id]:,} loaded and "
                    f"{rejected[load_id]:,} rejected; nothing is loaded, please report this"
                )
        return [
            Load(load_id, one.location, one.content_hash(), one.size, read[load_id], rows[load_id], rejected[load_id])
            for load_id, one in loads
        ]

    def _publish(
        self, connection: Connection, extract_id: int, written: Sequence[Written], loads: Sequence[Load], *, rebuild: bool
    ) -> list[str]:
        """Make the extract visible, with its rejects and its place in the ledger, in the caller's transaction."""
        dropped: list[str] = []
        locks.limit_waiting(connection)
        if rebuild:
            dropped = staging.drop(connection, self._table)
            staging.create(connection, self._table)
            for piece in staging.slices(connection, self._table, attached=False):
                if piece.extract_id != extract_id:
                    staging.drop_slice(connection, piece)
        elif self._full_refresh or self._order.disposition == "replace":
            self._retire_slices(connection)
        pieces = [one.piece for one in written if not one.is_empty]
        for piece in pieces:
            staging.attach(connection, piece)
        if self._full_refresh or self._order.disposition == "replace":
            ledger.remove_loads(connection, self._table.source)
        ledger.finish_extract(connection, extract_id, loads, bytes_read=self._bytes_read)
        ledger.add_rejects(connection, self._table.source, self._rejects)
        return dropped

    def _retire_slices(self, connection: Connection) -> None:
        """Take the present rows out of sight. A replaced extract is kept, detached, so that its successor can be undone."""
        for piece in staging.slices(connection, self._table, attached=True):
            staging.detach(connection, piece)
            if self._full_refresh:
                staging.drop_slice(connection, piece)

    def _check_visible(self, connection: Connection, written: Sequence[Written], loads: Sequence[Load], policies: Sequence[Policy]) -> None:
        """Check that the loader, in its context and under the parent's policies, sees exactly the rows it loaded."""
        if staging.policies_of(connection, self._table) != policies:
            raise ExtractError(f"{self._table.source}: the policies of the staging table were changed meanwhile; run again")
        seen: Counter[int] = Counter()
        for one in written:
            seen.update(one.visible)
        for load in loads:
            if seen[load.load_id] != load.rows_loaded:
                hidden = load.rows_loaded - seen[load.load_id]
                if self._tenant_id is not None:
                    raise ExtractError(
                        f"{self._table.source}, {load.location}: {hidden:,} of {load.rows_loaded:,} rows do not belong to tenant "
                        f"{self._tenant_id}; nothing is loaded, correct the delivery or extract it for all tenants"
                    )
                raise ExtractError(
                    f"{self._table.source}, {load.location}: {hidden:,} of {load.rows_loaded:,} rows are not visible to the loader through "
                    f"the policies of {self._table.schema}.{self._table.name}; nothing is loaded, "
                    f"give each row a value in {self._table.tenant_column or 'the tenant column'}"
                )

    def _new_inputs(self, connection: Connection, inputs: Sequence[Input]) -> list[Input]:
        """
        Return the inputs to load. An input is known by its content; one of a size never seen is new without being hashed.

        A `replace` source is loaded whole as soon as anything about it changed.
        """
        if self._full_refresh:
            return _distinct(inputs, {})
        known = ledger.loaded_hashes(connection, self._table.source)
        if self._order.disposition == "append":
            return _distinct(inputs, known)
        distinct = _distinct(inputs, {})
        loaded = {content_hash for hashes in known.values() for content_hash in hashes}
        unchanged = all(one.size in known for one in distinct) and {one.content_hash() for one in distinct} == loaded
        return [] if unchanged else distinct

    def _remove_orphans(self, connection: Connection) -> None:
        """Drop slices that a crashed extract left, and all but the newest replaced extract."""
        loose = staging.slices(connection, self._table, attached=False)
        if not loose:
            return
        current = ledger.latest_extract_before(connection, self._table.source, None)
        previous = ledger.latest_extract_before(connection, self._table.source, current)
        for piece in loose:
            if self._order.disposition != "replace" or piece.extract_id != previous:
                staging.drop_slice(connection, piece)

    def _clean_up(self, connection: Connection, extract_id: int, error: BaseException) -> None:
        """Record a failure and drop the slices written so far; where the server is gone, the next extract does it."""
        if connection.closed or connection.broken:
            return
        try:
            with self._context(connection):
                ledger.fail_extract(connection, extract_id, str(error) if isinstance(error, DpeError) else type(error).__name__)
                self._remove_orphans(connection)
        except psycopg.OperationalError:
            return

    def _check_rows(self, rejected: int) -> None:
        limits = self._order.limits
        most = 0 if limits == RejectLimits() else limits.max_rows
        if most is not None and rejected > most:
            raise self._over_limit(f"at least {rejected:,} records were rejected, more than rejects.max_rows allows ({most:,})")

    def _check_ratio(self, loads: Sequence[Load]) -> None:
        most = self._order.limits.max_ratio
        read = sum(load.records_read for load in loads)
        rejected = sum(load.rows_rejected for load in loads)
        if most is not None and read and rejected / read > most:
            raise self._over_limit(
                f"{rejected:,} of {read:,} records ({rejected / read:.2%}) were rejected, more than rejects.max_ratio allows ({most:.2%})"
            )

    def _over_limit(self, what: str) -> RejectLimitError:
        shown = [
            f"  line {reject.position}{f', column {reject.column_name}' if reject.column_name else ''}: {reject.reason}"
            for reject, _ in zip(self._rejects, range(_SHOWN_REJECTS), strict=False)
        ]
        return RejectLimitError(
            "\n".join(
                [
                    f"{self._table.source}: {what}; nothing is loaded, correct the input or raise the limit in the source's external block",
                    *shown,
                ]
            )
        )

    @contextmanager
    def _context(self, connection: Connection) -> Iterator[None]:
        with rls.system_context(connection, actor=ACTOR, tenant_id=self._tenant_id):
            yield


def _distinct(inputs: Sequence[Input], known: Mapping[int, set[str]]) -> list[Input]:
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


__all__ = ["BusyError", "ExtractResult", "Extraction", "Input", "Opened", "Order", "RejectLimits"]
