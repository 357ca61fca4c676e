"""What an extract did."""

from __future__ import annotations

from dataclasses import dataclass, field

from dpe_cli.load.ledger import Load


@dataclass
class ExtractResult:
    """
    What an extract did. `extract_id` is None if nothing was new; `error` says why it was refused, or failed because of a bug (`is_bug`).

    `rows_removed` counts rows of files that changed; `dropped` lists what was dropped with a staging table that was rebuilt; `warnings` say
    what the next extracts may miss.
    """

    source: str
    extract_id: int | None = None
    loads: list[Load] = field(default_factory=list)
    skipped: int = 0
    rows_removed: int = 0
    bytes_read: int = 0
    seconds: float = 0.0
    dropped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    retryable: bool = False
    is_bug: bool = False

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
