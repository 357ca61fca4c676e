"""
One extract: lock the source, plan its loads, write them into slices, and publish all of it in one transaction.

A crash at any moment leaves only slices that are not attached; no reader can see them, and the next extract removes them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TypeVar

import psycopg

from dpe_cli.blocks import reading
from dpe_cli.blocks.block import BLOCK_BYTES
from dpe_cli.blocks.inputs import Input, MayLackColumns, Opened, QueryInput
from dpe_cli.errors import BusyError, DpeError, ExtractError, InputError, RejectLimitError, RepeatedKeyError, ServerError
from dpe_cli.load import (
    checks,
    claims,
    compaction,
    ledger,
    ledger_rejects,
    locks,
    policies,
    positions,
    prepare,
    repeated,
    resuming,
    staging,
)
from dpe_cli.load.copier import Shape
from dpe_cli.load.guessed_types import guessed_types
from dpe_cli.load.inputs import Known, LoadRequest, Plan, planned
from dpe_cli.load.ledger import Load
from dpe_cli.load.matching import Delivery, matched
from dpe_cli.load.policies import Policy
from dpe_cli.load.rejects import RejectCollector
from dpe_cli.load.repair import BinaryRefusedError
from dpe_cli.load.repeated import EmptySlicesError, Outcome
from dpe_cli.load.result import ExtractResult
from dpe_cli.load.staging import Slice
from dpe_cli.load.writers import Writers, Written
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection
from dpe_cli.server.lock_rows import Lock

T = TypeVar("T")

ACTOR = "dpe extract"
# Text compresses about fourfold; used only to guess how many writers an extract can keep busy.
_GUESSED_COMPRESSION = 4
# How long a failed extract waits for sessions that hold its slices; the next one removes them otherwise.
_CLEANING_SECONDS = 2.0


Progress = Callable[[int], None]


class Extractor:
    """Extracts one source over `connect`, which returns a new connection of the loader."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        request: LoadRequest,
        *,
        jobs: int,
        tenant_id: str | None = None,
        full_refresh: bool = False,
        progress: Progress = lambda _bytes: None,
    ) -> None:
        self._connect = connect
        self._request = request
        self._table = request.table
        self._jobs = jobs
        self._tenant_id = tenant_id
        self._full_refresh = full_refresh
        self._replaces = full_refresh or request.disposition == "replace"
        self._progress = progress
        self._read: Counter[int] = Counter()
        self._missing: dict[int, tuple[str, ...]] = {}
        self._follows_others = False
        self._bytes_read = 0
        self._cursor: str | None = None
        self._warnings: list[str] = []

    def run(self, inputs: Sequence[Input]) -> ExtractResult:
        """
        Load the inputs that are not in staging yet: all of them or nothing.

        Raises:
            BusyError: another extract of the source is running.
            ContractError: the columns of an input, the contract and the staging table disagree, or another project loads the table.
            InputError: an input cannot be read as declared.
            RejectLimitError: more records were rejected than the source allows.
            RepeatedKeyError: a key that identifies one record came with several.
            ServerError: the server ended a session, or ran out of a resource.
        """
        if self._tenant_id is not None:
            checks.check_tenant(self._table, replaces=self._replaces)
        started = time.monotonic()
        result = ExtractResult(self._table.source)
        with (
            locks.reporting_server_errors(self._table),
            locks.source_lock(self._connect, self._table, actor=ACTOR) as lock,
            self._connect() as connection,
            locks.last_words(connection),
        ):
            rebuild, known = self._patiently(connection, lambda: self._prepare(connection, lock, inputs))
            # Hashing can take long, and holds no lock on the table.
            self._follows_others = bool(known)
            with reading.searching(self._table.source):
                plan = planned(inputs, known, self._request, full_refresh=self._full_refresh)
            result.skipped = len(inputs) - len(plan.new)
            if plan.new or plan.changed:
                try:
                    self._extract(connection, lock, plan, result, rebuild=rebuild)
                except BinaryRefusedError:
                    for input_ in plan.new:
                        if isinstance(input_, QueryInput):
                            input_.as_text = True
                    self._bytes_read = 0
                    self._extract(connection, lock, plan, result, rebuild=rebuild)
            else:
                self._patiently(connection, lambda: self._move(connection, lock, plan))
        result.bytes_read = self._bytes_read
        result.seconds = time.monotonic() - started
        return result

    def _patiently(self, connection: Connection, attempt: Callable[[], T]) -> T:
        return locks.patiently(connection, self._table, attempt)

    def _prepare(self, connection: Connection, lock: Lock, inputs: Sequence[Input]) -> tuple[bool, list[Known]]:
        """Prepare the table and the queries, in one transaction; return whether the table has to be rebuilt, and the loaded inputs."""
        with self._context(connection):
            locks.wait_for_writers(connection, self._table)
            locks.limit_waiting(connection)
            lock.check()
            ledger.close_interrupted(connection, self._table.relation)
            claims.claim(connection, self._table)
            rebuild = prepare.prepare(connection, self._table, may_rebuild=self._full_refresh)
            self._remove_orphans(connection)
            known = ledger.known_inputs(connection, self._table.relation)
            self._begin([input_ for input_ in inputs if isinstance(input_, QueryInput)], connection)
            return rebuild, known

    def _move(self, connection: Connection, lock: Lock, plan: Plan) -> None:
        """Record the new places of loaded files, and that a delivery that was refused before is gone."""
        with self._alone(connection, lock):
            if plan.moved:
                ledger.move_loads(connection, plan.moved)
            self._published(connection, [])

    def _begin(self, queries: Sequence[QueryInput], connection: Connection) -> None:
        """Tell queries where to resume; if everything is replaced, at the start."""
        if queries and not self._replaces:
            self._cursor = resuming.cursor(connection, self._request)
        resuming.begin(connection, self._request, queries, self._cursor)

    def _extract(self, connection: Connection, lock: Lock, plan: Plan, result: ExtractResult, *, rebuild: bool) -> None:
        extract_id, loads, expected = self._patiently(connection, lambda: self._start(connection, lock, plan, rebuild=rebuild))
        outcome: Outcome | None = None
        rejects = RejectCollector(self._table.source, self._request.limits, {load_id: input_.location for load_id, input_ in loads.items()})
        try:
            written = self._write(extract_id, loads, rejects, expected)
            done = checks.reconcile(self._table, loads, self._read, written, self._missing)
            rejects.check_ratio(sum(load.records_read for load in done))
            checks.check_visible(self._table, written, done, tenant_id=self._tenant_id)

            def finish() -> tuple[list[Load], list[str], int]:
                with self._alone(connection, lock):
                    if not rebuild and policies.present(connection, self._table) != expected:
                        raise ExtractError(f"{self._table.source}: the policies of the staging table were changed meanwhile; run again")
                    removed = self._retire_changed(connection, plan.changed) if plan.changed else 0
                    ledger.move_loads(connection, plan.moved)
                    published, dropped = self._publish(connection, extract_id, written, loads, done, rejects, outcome, rebuild=rebuild)
                    return published, dropped, removed

            try:
                result.loads, result.dropped, result.rows_removed = self._patiently(connection, finish)
            except EmptySlicesError as error:
                outcome = error.outcome
                result.loads, result.dropped, result.rows_removed = self._patiently(connection, finish)
        except BaseException as error:
            self._clean_up(connection, lock, extract_id, error, rejects)
            raise
        result.extract_id = extract_id
        result.warnings = self._warnings
        # For every tenant, whichever one this extract was opened for: a narrower context would lose the others' rows.
        compaction.compact(connection, self._table, extract_id, lock, actor=ACTOR)

    def _start(self, connection: Connection, lock: Lock, plan: Plan, *, rebuild: bool) -> tuple[int, dict[int, Input], list[Policy]]:
        """Record that the extract has begun; return its number, its loads, and the policies that its slices have to fit."""
        with self._alone(connection, lock):
            extract_id = ledger.start_extract(
                connection,
                source=self._table.source,
                relation=self._table.relation,
                spec=self._request.spec,
                disposition=self._request.disposition,
                tenant_id=self._tenant_id,
            )
            loads = dict(zip(ledger.next_load_ids(connection, len(plan.new)), plan.new, strict=True))
            # A table that is rebuilt gets the policies that are declared now.
            expected = policies.declared(connection, self._table) if rebuild else policies.present(connection, self._table)
            return extract_id, loads, expected

    def _write(self, extract_id: int, loads: dict[int, Input], rejects: RejectCollector, expected: Sequence[Policy]) -> list[Written]:
        """Read all inputs into the writers' slices; return what was written, committed but not yet attached."""
        size = sum(input_.size * (_GUESSED_COMPRESSION if input_.is_compressed else 1) for input_ in loads.values())
        count = max(1, min(self._jobs, -(-size // BLOCK_BYTES), staging.SLICES_PER_EXTRACT - 1))
        writers = Writers(
            self._connect,
            [Slice(self._table, extract_id, number) for number in range(1, count + 1)],
            actor=ACTOR,
            tenant_id=self._tenant_id,
            single_load=next(iter(loads)) if len(loads) == 1 else None,
            policies=expected,
            rejects=rejects,
        )
        try:
            for load_id, input_ in loads.items():
                with reading.opened(input_) as opened:
                    shape = self._shape(load_id, input_, opened)
                    for block in opened.blocks():
                        self._read[load_id] += block.records
                        self._bytes_read += len(block.data)
                        writers.write(shape, block)
                        self._progress(len(block.data))
                    self._missing[load_id] = shape.missing + (opened.missing() if isinstance(opened, MayLackColumns) else ())
            return writers.finish()
        except BaseException as error:
            writers.abandon(error)
            raise

    def _shape(self, load_id: int, input_: Input, opened: Opened) -> Shape:
        """Match the columns of an input to the contract."""

        def guess() -> dict[str, str]:
            # Only before a refusal: a block can be read once.
            try:
                return guessed_types(opened.columns, opened.dialect, next(iter(opened.blocks()), None))
            except InputError:
                return {}

        delivery = Delivery(opened.columns, opened.dialect, input_.location, guess, follows_others=self._follows_others)
        return matched(self._table, delivery, load_id=load_id, ignore_extra_columns=self._request.ignore_extra_columns)

    def _publish(
        self,
        connection: Connection,
        extract_id: int,
        written: Sequence[Written],
        inputs: Mapping[int, Input],
        loads: Sequence[Load],
        rejects: RejectCollector,
        outcome: Outcome | None,
        *,
        rebuild: bool,
    ) -> tuple[list[Load], list[str]]:
        """
        Make the extract visible, with its rejects, its cursor and its ledger entries, in the caller's transaction.

        Returns its loads, without repeated records, and what was dropped with a table that was rebuilt.

        Raises:
            EmptySlicesError: nothing stays of some slices; its `outcome` says how to publish without them.
        """
        dropped: list[str] = []
        if rebuild:
            dropped = staging.drop(connection, self._table)
            prepare.create(connection, self._table)
        elif self._replaces:
            self._retire_slices(connection, extract_id)
        filled = [part.slice_ for part in written if not part.is_empty and not (outcome and part.slice_ in outcome.empty)]
        for slice_ in filled:
            staging.attach(connection, slice_)
        if self._replaces:
            ledger.remove_loads(connection, self._table.relation)
        cursor = self._end(connection, inputs, filled)
        done = self._without_repeated(connection, inputs, filled, loads)
        if outcome:
            repeated.check_rows(connection, self._table, filled, outcome.loads)
            done, cursor = outcome.loads, outcome.cursor
        elif empty := repeated.empty_slices(connection, self._table, filled, done):
            raise EmptySlicesError(Outcome(done, cursor, empty))
        ledger.finish_extract(connection, extract_id, done, bytes_read=self._bytes_read, cursor=cursor)
        self._warnings = self._about_cursor(connection, cursor)
        ledger_rejects.add(connection, self._table, rejects)
        if self._request.key:
            again = ledger_rejects.remove_repeated(connection, extract_id)
            done = [load.without(rejects=again.get(load.load_id, 0)) for load in done]
        self._remove_orphans(connection)
        self._published(connection, done)
        return done, dropped

    def _published(self, connection: Connection, loads: Sequence[Load]) -> None:  # noqa: ARG002 corrections mark what they correct
        """Forget the rejects of the refused delivery that came before."""
        ledger_rejects.remove_of_refused(connection, self._table)

    def _refused(self, connection: Connection, extract_id: int, rejects: RejectCollector) -> None:
        """Keep the first rejects of a delivery that was refused because of them."""
        ledger_rejects.keep_of_refused(connection, self._table, extract_id, rejects.first())

    def _end(self, connection: Connection, inputs: Mapping[int, Input], filled: Sequence[Slice]) -> str | None:
        """Return the position up to which queries were read: what they report, if a source can resume from it, or what the rows show."""
        ends = [input_.end() for input_ in inputs.values() if isinstance(input_, QueryInput)]
        if not ends:
            return None
        increment = self._request.increment
        if increment is None:
            return ends[-1]
        if ends[-1] is not None and positions.is_end(connection, ends[-1], increment.data_type):
            return ends[-1]
        connection.execute("select set_config('timezone', 'UTC', true)")
        slice_ids = [slice_.slice_id for slice_ in filled]
        return positions.furthest(connection, self._table, slice_ids, increment.column, increment.data_type, self._cursor)

    def _about_cursor(self, connection: Connection, cursor: str | None) -> list[str]:
        """Warn of a position that hides the rows that come next."""
        increment = self._request.increment
        if increment is None or cursor is None:
            return []
        connection.execute("select set_config('timezone', 'UTC', true)")
        if not positions.is_ahead(connection, cursor, increment.data_type):
            return []
        shown = f"the greatest {increment.column} is {in_message(cursor)}, more than a day from now"
        undo = "`dpe loads undo` if this extract loaded it, and `dpe extract --full-refresh` otherwise"
        return [f"{shown}: extracts will miss rows with earlier ones; correct that row where it comes from, then run {undo}"]

    def _without_repeated(
        self, connection: Connection, inputs: Mapping[int, Input], filled: Sequence[Slice], loads: Sequence[Load]
    ) -> list[Load]:
        """Drop records that were delivered again, within the overlap or by a page that was sent twice; refuse those that may not be."""
        if not self._request.key:
            return list(loads)
        slice_ids = [slice_.slice_id for slice_ in filled]
        key, unique = self._request.key, self._request.unique
        may_repeat = any(isinstance(input_, QueryInput) and input_.may_repeat for input_ in inputs.values())
        if unique and not may_repeat:
            checks.check_unique(connection, self._table, slice_ids, key, unique)
        again = staging.remove_repeated(connection, self._table, slice_ids, key, among_themselves=may_repeat)
        if unique and may_repeat:
            checks.check_unique(connection, self._table, slice_ids, key, unique)
        return [load.without(rows=again.get(load.load_id, 0)) for load in loads]

    def _retire_slices(self, connection: Connection, extract_id: int) -> None:
        """Detach the current rows. A replaced extract is kept, detached, so that its successor can be undone."""
        for slice_ in staging.slices(connection, self._table, attached=True):
            if self._full_refresh:
                staging.drop_slice(connection, slice_)
            else:
                staging.detach(connection, slice_, replaced_by=extract_id)

    def _retire_changed(self, connection: Connection, changed: Sequence[int]) -> int:
        """Remove the rows of files that were loaded with other content, and of their corrected rejects; return how many."""
        earlier = ledger.with_corrections(connection, changed)
        removed = staging.delete_loads(connection, self._table, list(earlier))
        if removed != sum(earlier.values()):
            raise ExtractError(
                f"{self._table.source}: {sum(earlier.values()):,} rows of changed files were loaded, but only {removed:,} can be removed; "
                "nothing was loaded, run `dpe validate`"
            )
        ledger.remove_loads_of(connection, list(earlier))
        return removed

    def _remove_orphans(self, connection: Connection) -> None:
        """Drop slices left by a crashed extract, and those that were replaced before the newest extract."""
        loose = staging.slices(connection, self._table, attached=False)
        newest = ledger.latest_extract(connection, self._table.relation) if loose else None
        kept = [] if newest is None else staging.replaced_slices(connection, self._table, newest)
        for slice_ in loose:
            if slice_ not in kept:
                staging.drop_slice(connection, slice_)

    def _clean_up(self, connection: Connection, lock: Lock, extract_id: int, error: BaseException, rejects: RejectCollector) -> None:
        """Record a failure and drop the slices written so far; if the server or the lock is lost, the next extract does it."""
        if connection.closed or connection.broken:
            return

        def fail() -> None:
            with self._alone(connection, lock):
                ledger.fail_extract(connection, extract_id, _for_ledger(error))
                if isinstance(error, RejectLimitError):
                    self._refused(connection, extract_id, rejects)
                self._remove_orphans(connection)

        with suppress(psycopg.OperationalError, ServerError, BusyError):
            locks.patiently(connection, self._table, fail, seconds=_CLEANING_SECONDS)

    @contextmanager
    def _alone(self, connection: Connection, lock: Lock) -> Iterator[None]:
        """Open a transaction that may commit: other extracts of the source are kept out, or wait for its end."""
        with self._context(connection):
            locks.join(connection, self._table, lock)
            locks.limit_waiting(connection)
            yield

    @contextmanager
    def _context(self, connection: Connection) -> Iterator[None]:
        with contexts.system_context(connection, actor=ACTOR, tenant_id=self._tenant_id):
            yield


def _for_ledger(error: BaseException) -> str:
    """Return why an extract failed, without the values of rejects and keys, which are for the operator."""
    if not isinstance(error, DpeError):
        return type(error).__name__
    return str(error).partition("\n")[0] if isinstance(error, (RejectLimitError, RepeatedKeyError)) else str(error)
