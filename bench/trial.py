"""Run a loader on a file several times, and check its table after each load."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orders
import psycopg
from loaders import Input, Loader, source_name
from measure import Measured, run
from orders import Facts, Orders

from dpe_cli.server.server import Server


@dataclass
class Trial:
    """The correct loads of one file by one loader, or why there are none."""

    loader: Loader
    given: Input
    runs: list[Measured] = field(default_factory=list)
    failure: str = ""

    @property
    def is_right(self) -> bool:
        """Whether each load left the right rows."""
        return bool(self.runs) and not self.failure

    @property
    def orders(self) -> Orders:
        """The file."""
        return self.given.whole

    def sql(self, text: str) -> str:
        """Fill in the name of dpe's source."""
        return text.format(source=source_name(self.orders))

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def range(self) -> str:
        """The fastest and the slowest."""
        seconds = [run.seconds for run in self.runs]
        return f"{min(seconds):.1f} to {max(seconds):.1f}"

    @property
    def records_per_second(self) -> float:
        """For comparing files of different sizes."""
        return self.orders.records / self.seconds

    @property
    def client_cpu_seconds(self) -> float:
        """The median."""
        return statistics.median(run.client_cpu_seconds for run in self.runs)

    @property
    def peak_bytes(self) -> int:
        """The worst."""
        return max(run.peak_bytes for run in self.runs)


class Bench:
    """The server to load into, and the directory with the files."""

    def __init__(self, server: Server, directory: Path, jobs: int) -> None:
        self._url = server.url()
        self._directory = directory
        self._jobs = jobs
        self._connection = server.connect("admin", autocommit=True)
        # Autovacuum would work on one loader's table during the next one's load.
        self._connection.execute("alter system set autovacuum = off")
        self._connection.execute("select pg_reload_conf()")

    @property
    def postgresql(self) -> str:
        """The server's version."""
        return str(self._connection.info.parameter_status("server_version"))

    def input(self, records: int, *, has_bad: bool) -> Input:
        """Generate, or find, a file with this many orders, and its parts."""
        share = -(-records // self._jobs)
        parts = [self._orders(first, min(share, records + 1 - first), has_bad=has_bad) for first in range(1, records + 1, share)]
        return Input(self._orders(1, records, has_bad=has_bad), parts, self._url)

    def attempt(self, trial: Trial) -> str:
        """Load the file once more, record the run or the failure, and describe it."""
        self._connection.execute(trial.sql(trial.loader.setup))
        self._connection.execute("checkpoint")
        measured = run(trial.loader.command(trial.given), environment=self._environment(), directory=self._directory)
        trial.failure = f"fails: {measured.last_words}" if measured.exit_status else self._what_is_wrong(trial)
        if trial.failure:
            return trial.failure
        trial.runs.append(measured)
        return f"{measured.seconds:.2f} s"

    def _what_is_wrong(self, trial: Trial) -> str:
        rows = trial.sql(trial.loader.rows)
        query = f"select count(*), coalesce(sum(order_id), 0), coalesce(sum(quantity), 0), count(note) from {rows}"  # noqa: S608 our own text
        try:
            found = Facts(*(int(value) for value in self._connection.execute(query).fetchall()[0]))
        except psycopg.Error as error:
            return f"leaves an unreadable table: {error}"
        right = trial.orders.facts
        if found == right:
            return ""
        if found.rows != right.rows:
            return f"leaves {found.rows:,} rows instead of {right.rows:,}"
        return f"leaves wrong values: {found} instead of {right}"

    def _orders(self, first: int, records: int, *, has_bad: bool) -> Orders:
        return orders.make(self._directory, first=first, records=records, has_bad=has_bad)

    def _environment(self) -> Mapping[str, str]:
        # dlt works in its home directory, and reports each run to its makers unless disabled.
        environment = dict(os.environ)
        # Loaders are timed as installed, with compiled modules.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        return environment | {"DLT_DATA_DIR": str(self._directory / "dlt"), "RUNTIME__DLTHUB_TELEMETRY": "false"}
