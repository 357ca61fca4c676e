"""
Load corrected rejects: an extract of a file whose records name the rejects that they correct.

The rejects are marked as replayed in the transaction that makes the rows visible, so a crash leaves both or neither.
A reject can be replayed as long as the load that rejected it is in staging. Undoing the replay makes it an open reject again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect, Grammar
from dpe_cli.blocks.inputs import Input, Opened
from dpe_cli.blocks.records import Records
from dpe_cli.errors import ContractError, ExtractError, InputError, RejectLimitError
from dpe_cli.load.extraction import Extractor
from dpe_cli.load.inputs import LoadRequest, RejectLimits
from dpe_cli.load.ledger import Load
from dpe_cli.load.rejects import RejectCollector
from dpe_cli.load.result import ExtractResult
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.server.connection import Connection

# The columns before a source's own columns in a file of rejects.
REJECT_ID = "_reject_id"
REASON = "_reject_reason"
RECORD = "_reject_record"

_MOST_FAULTS = 5

# A reject, and the load that corrected it, if that load's rows are in staging.
_REJECTS = """
    select reject_id, rejects.load_id, loads.removed_at is not null, replay.load_id
    from dpe.rejects
    inner join dpe.loads using (load_id)
    left join dpe.loads as replay on replay.load_id = replayed_load_id and replay.removed_at is null
    where rejects.relation = %s and reject_id = any(%s)
"""


@dataclass(frozen=True)
class Outstanding:
    """A reject whose record is not in staging. `is_text` is false if `raw` shows bytes that are not text."""

    reject_id: int
    load_id: int
    location: str
    content_hash: str
    position: int
    reason: str
    raw: str
    is_text: bool


@dataclass
class Corrections:
    """An input whose records name, in the column `_reject_id`, the reject that they correct; once read, `lines` has the line of each."""

    file: Input
    lines: dict[int, int] = field(default_factory=dict)

    @property
    def location(self) -> str:
        """Where the file is."""
        return self.file.location

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.file.size

    @property
    def is_compressed(self) -> bool:
        """Whether it holds more than that; never for a plain file."""
        return self.file.is_compressed

    def content_hash(self) -> str | None:
        """Hash the file as it is."""
        return self.file.content_hash()

    @property
    def version(self) -> None:
        """None, because it is a local file."""
        return None

    def is_known_as(self, content_hash: str) -> None:
        """Note its hash."""
        self.file.is_known_as(content_hash)

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """
        Open the file.

        Raises:
            ContractError: it does not say which rejects its records correct.
        """
        with self.file.open() as opened:
            if REJECT_ID not in opened.columns:
                raise ContractError(
                    f"{in_message(self.location)}, line 1: column {REJECT_ID} is missing; keep the columns that `dpe rejects export` wrote"
                )
            yield _OpenedCorrections(opened, self)

    def take(self, reject_id: str, line: int) -> None:
        """
        Note a correction.

        Raises:
            InputError: the reject id is not a number, or another line corrects the same reject.
        """
        if not (reject_id.isascii() and reject_id.isdigit()):
            raise InputError(
                f"{in_message(self.location)}, line {line}: {REJECT_ID} is {reject_id!r}, which is not a number; "
                "keep that column as exported"
            )
        earlier = self.lines.setdefault(int(reject_id), line)
        if earlier != line:
            raise InputError(
                f"{in_message(self.location)}, line {line}: reject {reject_id} is already corrected in line {earlier}; keep one of the two"
            )


class _OpenedCorrections:
    """A file of corrections that is being read."""

    def __init__(self, opened: Opened, corrections: Corrections) -> None:
        self.columns: tuple[str, ...] = opened.columns
        self.dialect: Dialect = opened.dialect
        self._opened = opened
        self._corrections = corrections

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks, and note which reject each record corrects."""
        grammar = Grammar(self.dialect)
        self._corrections.lines.clear()
        for block in self._opened.blocks():
            # Records with a misplaced quote are not among them: they cannot be loaded, which ends the replay.
            records = Records.of(block.without_refused(), grammar)
            for raw, line in zip(records.raws, records.lines, strict=True):
                fields = [value.decode(errors="replace") for value in grammar.fields(raw)]
                # Records with too many or too few fields cannot be loaded either.
                if len(fields) == len(self.columns):
                    self._take(dict(zip(self.columns, fields, strict=True)), line)
            yield block

    def _take(self, record: dict[str, str], line: int) -> None:
        self._corrections.take(record[REJECT_ID].strip(), line)
        if record.get(RECORD):
            raise InputError(
                f"{in_message(self._corrections.location)}, line {line}: {RECORD} still holds the record as it was delivered; "
                "write its values into the other columns, and empty this one"
            )


class Replayer(Extractor):
    """Extracts corrections for the rejects of one source, or of one of its loads."""

    def __init__(self, connect: Callable[[], Connection], request: LoadRequest, *, load_id: int | None = None) -> None:
        # All or nothing: a record that is still bad can be corrected again, and its reject stays as it is.
        request = replace(
            request, disposition="append", limits=RejectLimits(advice="correct the records in the file"), ignore_extra_columns=True
        )
        super().__init__(connect, request, jobs=1)
        self._load_id = load_id
        self._corrections: Corrections | None = None

    def replay(self, corrections: Corrections) -> ExtractResult:
        """
        Load the corrections, and mark their rejects as replayed: all of them or none.

        Raises:
            ContractError: a column of the source, or the column of reject ids, is missing.
            ExtractError: a reject belongs to another source, was already replayed, or its load is gone; or the file was already loaded.
            InputError: the file cannot be read, has no records, or has two for one reject.
            RejectLimitError: a record is still bad.
        """
        self._corrections = corrections
        try:
            result = self.run([corrections])
        except RejectLimitError as error:
            bad = "\n".join(str(error).splitlines()[1:])
            raise RejectLimitError(
                f"{in_message(corrections.location)}: some records still cannot be loaded; nothing was replayed, "
                f"correct these and run again\n{bad}"
            ) from error
        if result.extract_id is None:
            raise InputError(
                f"{in_message(corrections.location)}: its content is already loaded, as a file of the source; nothing was replayed"
            )
        return result

    def _published(self, connection: Connection, loads: Sequence[Load]) -> None:
        """Mark the rejects that the loads correct."""
        for load in loads:
            self._mark(connection, load)

    def _refused(self, connection: Connection, extract_id: int, rejects: RejectCollector) -> None:
        """Keep nothing: the rejects that were to be corrected stay as they are, and so do those of a refused delivery."""

    def _mark(self, connection: Connection, load: Load) -> None:
        """Mark the rejects; the caller holds the source's lock, so no other session can mark or undo meanwhile."""
        lines = self._corrections.lines if self._corrections else {}
        if not lines:
            raise InputError(f"{in_message(load.location)}: has no records; write the corrected ones under the header")
        source = self._table.source
        found = {int(str(row[0])): row for row in connection.execute(_REJECTS, [self._table.relation, list(lines)])}
        faults = [fault for reject_id in lines if (fault := self._fault(reject_id, found.get(reject_id)))]
        if faults:
            more = [f"and {len(faults) - _MOST_FAULTS:,} more"] if len(faults) > _MOST_FAULTS else []
            listed = "; ".join([*faults[:_MOST_FAULTS], *more])
            raise ExtractError(f"{source}, {in_message(load.location)}: {listed}; nothing was replayed, remove these and run again")
        marked = connection.execute("update dpe.rejects set replayed_load_id = %s where reject_id = any(%s)", [load.load_id, list(lines)])
        if not marked.rowcount == len(lines) == load.rows_loaded:
            raise ExtractError(
                f"{source}, {in_message(load.location)}: {load.rows_loaded:,} rows were loaded for {marked.rowcount:,} rejects; "
                "nothing was replayed, please report this"
            )

    def _fault(self, reject_id: int, row: tuple[object, ...] | None) -> str | None:
        """Return why a reject cannot be replayed."""
        if row is None:
            return f"reject {reject_id} does not belong to {self._table.source}"
        _, load_id, is_removed, replayed_by = row
        if replayed_by is not None:
            return f"reject {reject_id} was already replayed, by load {replayed_by}"
        if is_removed:
            return f"reject {reject_id} is from load {load_id}, whose rows have left staging"
        if self._load_id not in (None, load_id):
            return f"reject {reject_id} is from load {load_id}"
        return None


def outstanding(connection: Connection, relation: str, load_id: int | None = None) -> list[Outstanding]:
    """Return the rejects of a source, or of one of its loads, whose records are not in staging, in file and line order."""
    rows = connection.execute(
        """
        select
            reject_id,
            rejects.load_id,
            loads.location,
            loads.content_hash,
            position,
            reason,
            raw,
            raw_bytes is null
        from dpe.rejects
        inner join dpe.loads using (load_id)
        left join dpe.loads as replay on replay.load_id = replayed_load_id and replay.removed_at is null
        where rejects.relation = %s
            and (%s::bigint is null or rejects.load_id = %s)
            and loads.removed_at is null
            and replay.load_id is null
        order by rejects.load_id, position, reject_id
        """,
        [relation, load_id, load_id],
    ).fetchall()
    return [Outstanding(*row) for row in rows]


def replays_of(connection: Connection, extract_id: int) -> list[int]:
    """Return the extracts that replayed rejects of an extract and whose rows are in staging."""
    rows = connection.execute(
        """
        select distinct replay.extract_id
        from dpe.rejects
        inner join dpe.loads using (load_id)
        inner join dpe.loads as replay on replay.load_id = replayed_load_id and replay.removed_at is null
        where loads.extract_id = %s
        order by replay.extract_id
        """,
        [extract_id],
    ).fetchall()
    return [int(str(replayed)) for (replayed,) in rows]


def source_of(connection: Connection, load_id: int) -> tuple[str, str] | None:
    """Return the source of a load, and the staging table; None if it does not exist."""
    row = connection.execute("select source, relation from dpe.loads where load_id = %s", [load_id]).fetchone()
    return None if row is None else (str(row[0]), str(row[1]))
