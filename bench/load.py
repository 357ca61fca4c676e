"""
Measure loading a CSV file into PostgreSQL: dpe, psql and whatever else is installed, in turns, several times.

    make bench                                      everything
    make bench ARGS="--rounds 3 --only psql dpe"    psql and the loaders whose names begin so

Each load is a process of its own, and all go to the same embedded server. The rows are checked after each, so that a fast
wrong load cannot win. Markdown goes to standard output, progress to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import project
import report
from loaders import Loader, all_loaders
from trial import Bench, Trial

from dpe_cli.ingest.extract import default_jobs
from dpe_cli.server import server as postgres
from dpe_cli.server.bootstrap import bootstrap
from dpe_cli.server.embedded.server import EmbeddedServer

DIRECTORY = Path(__file__).parent.parent / ".bench"
WARM_UP_RECORDS = 1_000
SLOW_SHARE = 10


def main() -> None:
    """Run the benchmark with the options of the command line."""
    options = _options()
    # Ignore the server that this shell is set up for.
    for name in [name for name in os.environ if name.startswith(("PG", "DPE_"))]:
        del os.environ[name]
    DIRECTORY.mkdir(exist_ok=True)
    server = postgres.resolve(DIRECTORY)
    try:
        with server.connect("admin") as connection:
            bootstrap(connection)
        bench = Bench(server, DIRECTORY, options.jobs)
        first, *others = all_loaders(options.jobs)
        _measure(bench, [first, *(loader for loader in others if loader.name.startswith(tuple(options.only)))], options)
    finally:
        EmbeddedServer(DIRECTORY / ".dpe" / "postgres").stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure loading a CSV file into PostgreSQL.", allow_abbrev=False)
    parser.add_argument("--rows", type=int, default=2_000_000, help="records in the file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="loads of a file by each loader (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=default_jobs(), help="streams of the parallel loaders (default: dpe's)")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[""], help="psql and the loaders whose names begin so")
    return parser.parse_args()


def _measure(bench: Bench, loaders: Sequence[Loader], options: argparse.Namespace) -> None:
    _say("generating the files")
    clean, bad = (bench.input(options.rows, has_bad=has_bad) for has_bad in (False, True))
    slow_clean, slow_bad = (bench.input(options.rows // SLOW_SHARE, has_bad=has_bad) for has_bad in (False, True))
    warm_up = bench.input(WARM_UP_RECORDS, has_bad=False)
    project.write(DIRECTORY, [given.whole for given in (clean, bad, warm_up)])

    # A first small load is not counted: it reads programs from the disk, and dbt's project into dpe's manifest.
    warm_ups = [Trial(loader, warm_up) for loader in loaders]
    _attempt_all(bench, warm_ups, rounds=1)
    trials = {
        has_bad: [Trial(trial.loader, slow if trial.loader.is_much_slower else whole, failure=trial.failure) for trial in warm_ups]
        for has_bad, whole, slow in ((False, clean, slow_clean), (True, bad, slow_bad))
    }
    for of_one_file in trials.values():
        _attempt_all(bench, of_one_file, rounds=options.rounds)
    print(report.machine(bench.postgresql), report.clean_table(trials[False]), report.bad_table(trials[True], trials[False]), sep="\n\n")


def _attempt_all(bench: Bench, trials: Sequence[Trial], rounds: int) -> None:
    for number in range(1, rounds + 1):
        for trial in trials:
            # A much slower loader takes part only in the first round, and one that failed would fail again.
            if trial.failure or (number > 1 and trial.loader.is_much_slower):
                continue
            result = bench.attempt(trial)
            _say(f"{trial.orders.path.name}, round {number}, {trial.loader.name}: {result}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
