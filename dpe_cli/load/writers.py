"""Writers: threads that each COPY blocks into a slice of their own, over a connection of their own."""

from __future__ import annotations

import queue
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.exact_types import DataType
from dpe_cli.blocks.layout import BlockLayout
from dpe_cli.load import column_types, locks, policies, prepare, staging
from dpe_cli.load.copier import Copier, Shape
from dpe_cli.load.exactness import Exactness
from dpe_cli.load.policies import Policy
from dpe_cli.load.rejects import RejectCollector
from dpe_cli.load.repair import Repair
from dpe_cli.load.staging import Slice
from dpe_cli.server import contexts
from dpe_cli.server.connection import Connection

# By default a thread may keep the interpreter for 5 ms, during which the server empties a writer's socket more than once.
_SWITCH_SECONDS = 0.0005

# Blocks that wait for a writer. With one per writer and two at the reader, this limits the memory.
_WAITING_BLOCKS = 2


@dataclass
class Written:
    """What one writer did with its slice, counted per load. `visible` are the rows that the loader sees in its context."""

    slice_: Slice
    rows: Counter[int] = field(default_factory=Counter)
    rejected: Counter[int] = field(default_factory=Counter)
    visible: Counter[int] = field(default_factory=Counter)

    @property
    def is_empty(self) -> bool:
        """Whether it has no rows, and therefore no slice."""
        return not sum(self.rows.values())


class Writers:
    """A pool of writers over one bounded queue of blocks. The first failure ends them all."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        slices: Sequence[Slice],
        *,
        actor: str,
        tenant_id: str | None,
        single_load: int | None,
        policies: Sequence[Policy],
        rejects: RejectCollector,
    ) -> None:
        self._connect = connect
        self._actor = actor
        self._tenant_id = tenant_id
        self._single_load = single_load
        self._policies = policies
        self._rejects = rejects
        self._lock = threading.Lock()
        self._expects_malformed = False
        self._queue: queue.Queue[tuple[Shape, Block, BlockLayout | None] | None] = queue.Queue(_WAITING_BLOCKS)
        self._failure: BaseException | None = None
        self._written: list[Written] = []
        sys.setswitchinterval(_SWITCH_SECONDS)
        self._threads = [threading.Thread(target=self._run, args=[slice_], name=slice_.name, daemon=True) for slice_ in slices]
        for thread in self._threads:
            thread.start()

    def write(self, shape: Shape, block: Block) -> None:
        """
        Hand over a block; blocks while all writers are busy.

        Raises:
            BaseException: the error that a writer failed with.
        """
        # Computed here while the writers wait for the server; otherwise the server would wait for them.
        layout = BlockLayout.of(block.data, shape.grammar, shape.outline) if self._expects_malformed else None
        while True:
            if self._failure:
                raise self._failure
            try:
                self._queue.put((shape, block, layout), timeout=0.2)
            except queue.Full:
                continue
            return

    def finish(self) -> list[Written]:
        """Wait until all blocks are written and committed; return what was done."""
        for _ in self._threads:
            while not self._failure:
                try:
                    self._queue.put(None, timeout=0.2)
                except queue.Full:
                    continue
                break
        for thread in self._threads:
            thread.join()
        if self._failure:
            raise self._failure
        return self._written

    def abandon(self, cause: BaseException) -> None:
        """Make the writers roll back, and wait for them."""
        self._failure = self._failure or cause
        for thread in self._threads:
            thread.join()

    def _run(self, slice_: Slice) -> None:
        try:
            with (
                self._connect() as connection,
                locks.last_words(connection),
                contexts.system_context(connection, actor=self._actor, tenant_id=self._tenant_id),
            ):
                written = self._fill(connection, slice_)
            with self._lock:
                self._written.append(written)
        except BaseException as error:  # noqa: BLE001 write() and finish() raise it to the caller
            self._failure = self._failure or error

    def _fill(self, connection: Connection, slice_: Slice) -> Written:
        # The next extract waits for writers that outlived a killed one.
        locks.join_writers(connection, slice_.table)
        # How dates, intervals and times without a zone are read must not depend on the server's settings.
        connection.execute("select set_config('datestyle', 'ISO, YMD', true), set_config('timezone', 'UTC', true)")
        connection.execute("select set_config('intervalstyle', 'postgres', true)")
        # Flush to disk while the rest is being copied, instead of all at once at commit, which would have to wait.
        connection.execute("select set_config('backend_flush_after', '2MB', true)")
        # The server's notices about skipped rows are parsed, so they have to be in English if we may ask for that.
        connection.execute("select set_config('lc_messages', 'C', true) where has_parameter_privilege(current_user, 'lc_messages', 'set')")
        written = Written(slice_)
        ignored = -1
        types: dict[str, DataType] = {}
        repair: Repair | None = None
        while (work := self._next()) is not None:
            shape, block, layout = work
            if ignored < 0:
                ignored = shape.ignored_columns
                prepare.create_slice(connection, slice_, with_load_id=self._single_load is None, ignored_columns=ignored)
                types = column_types.of(connection, slice_.identifier)
            while ignored < shape.ignored_columns:
                staging.add_ignored_column(connection, slice_, ignored)
                ignored += 1
            if repair is None or shape.load_id != repair.shape.load_id:
                copier = Copier(connection, slice_.identifier, shape)
                repair = Repair(copier, Exactness(copier, types))
                if self._single_load is None:
                    staging.set_load_id(connection, slice_, shape.load_id)
            for loaded in repair.load(block, layout):
                written.rows[shape.load_id] += loaded.rows
                written.rejected[shape.load_id] += len(loaded.rejects)
                self._rejects.add(loaded.rejects)
            self._expects_malformed = repair.expects_malformed
        if ignored >= 0 and written.is_empty:
            staging.drop_slice(connection, slice_)
        elif ignored >= 0:
            staging.seal(connection, slice_, load_id=self._single_load, ignored_columns=ignored)
            written.visible.update(policies.visible_rows(connection, slice_.identifier, self._policies, written.rows))
        return written

    def _next(self) -> tuple[Shape, Block, BlockLayout | None] | None:
        while True:
            if self._failure:
                raise self._failure
            try:
                return self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
