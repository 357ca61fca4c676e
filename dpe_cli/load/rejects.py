"""The rejects of one extract, and the limits of how many it tolerates; sources/rejects splits them into columns."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from dpe_cli.errors import RejectLimitError
from dpe_cli.load.inputs import RejectLimits
from dpe_cli.load.repair import Reject
from dpe_cli.load.spool import Spool
from dpe_cli.safe_text.visible_text import in_message

_SHOWN = 5
# How many the ledger keeps of a delivery that was refused.
KEPT_OF_REFUSED = 100


class RejectCollector:
    """What all writers have rejected so far. `locations` maps each load to its input."""

    def __init__(self, source: str, limits: RejectLimits, locations: Mapping[int, str]) -> None:
        self._source = source
        self._limits = limits
        self._locations = locations
        self._spool: Spool[Reject] = Spool()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Reject]:
        return iter(self._spool)

    def first(self) -> list[tuple[str, Reject]]:
        """Return the first rejects with their inputs, for the ledger of a refused delivery."""
        return [(self._locations[reject.load_id], reject) for reject in islice(self._spool, KEPT_OF_REFUSED)]

    def add(self, rejects: Sequence[Reject]) -> None:
        """
        Store rejects; thread-safe.

        Raises:
            RejectLimitError: there are more than `max_rows`, or any if no limit is set.
        """
        if not rejects:
            return
        with self._lock:
            self._spool.extend(rejects)
            most = 0 if self._limits.max_rows is None and self._limits.max_ratio is None else self._limits.max_rows
            if most is not None and len(self._spool) > most:
                count = len(self._spool)
                rejected = "1 record was" if count == 1 else f"{count:,} records were"
                raise self._over_limit(f"at least {rejected} rejected, more than rejects.max_rows allows ({most:,})")

    def check_ratio(self, records_read: int) -> None:
        """
        Check the share of records that was rejected, once all are read.

        Raises:
            RejectLimitError: it is above `max_ratio`.
        """
        most, rejected = self._limits.max_ratio, len(self._spool)
        if most is not None and records_read and rejected / records_read > most:
            raise self._over_limit(
                f"{rejected:,} of {records_read:,} records ({rejected / records_read:.2%}) were rejected, "
                f"more than rejects.max_ratio allows ({most:.2%})"
            )

    def _over_limit(self, what: str) -> RejectLimitError:
        shown = [
            f"  {in_message(self._locations[reject.load_id])}, line {reject.position}"
            f"{f', column {reject.column_name}' if reject.column_name else ''}: {reject.reason}"
            for reject in islice(self._spool, _SHOWN)
        ]
        head = f"{self._source}: {what}; nothing was loaded, {self._limits.advice}"
        return RejectLimitError("\n".join([head, *shown]))
