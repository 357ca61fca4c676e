"""Programs of taps: they are found, waited for, and ended with the extract, however that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.misbehaving_tap import Tap
from support.staged_source import Stage
from support.tap_messages import numbered_record, record, schema

from dpe_cli.errors import InputError, RejectLimitError
from dpe_cli.ingest import extract
from dpe_cli.sources.singer import program as taps


def test_a_tap_is_found(stage: Stage, tap: Tap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the project's .dpe/taps, on PATH, or where the source says; otherwise the error says how to install it."""
    source = tap.source(stage)
    source.extract()
    program = tmp_path / ".dpe/taps/tap-shop/bin/tap-shop"
    elsewhere = program.rename(tmp_path / "tap-shop")

    with pytest.raises(
        InputError,
        match=r"tap-shop is not installed; in the project's directory, run: python3 -m venv \.dpe/taps/tap-shop && "
        r"\.dpe/taps/tap-shop/bin/pip install tap-shop$",
    ):
        source.extract()
    with pytest.raises(InputError, match=r"the program \./tap-shops does not exist; correct `executable`"):
        tap.source(stage, executable="./tap-shops").extract()
    tap.source(stage, executable="./tap-shop").extract()
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    source.extract()
    elsewhere.write_text("#!/nowhere/python\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"tap-shop cannot be run \(No such file or directory\); reinstall the tap"):
        source.extract()

    assert 3 == len(tap.runs)


def test_the_tap_does_not_outlive_an_extract_that_is_refused(stage: Stage, tap: Tap) -> None:
    """Although it would keep writing for hours."""
    source = tap.source(stage, rejects={"max_rows": 0})
    tap.says(schema(), record(id="x"), ("repeat", [numbered_record("y" * 1000), 1_000_000_000]))

    with pytest.raises(RejectLimitError) as caught:
        source.extract()
    assert "id" in str(caught.value)
    assert not _lives(tap.runs[0]["pid"])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="what a process has written is read from /proc")
def test_a_tap_waits_for_the_loader(stage: Stage, tap: Tap) -> None:
    """It is read no faster than its records are loaded, so that memory does not grow with its output."""
    source = tap.source(stage)
    tap.says(schema(), ("repeat", [numbered_record("y" * 1000), 1_000_000_000]))
    [query] = extract.inputs_of(source.source, project_dir=source.directory)

    with query.open() as opened:
        blocks = opened.blocks()
        first = next(blocks)
        before, written = 0, _written(tap.runs[0]["pid"])
        while before != written:
            time.sleep(0.2)
            before, written = written, _written(tap.runs[0]["pid"])
        assert len(first.data) < written < 10_000_000
        assert next(blocks).records
    assert not _lives(tap.runs[0]["pid"])


def _written(pid: int) -> int:
    """Return how many bytes a process has written."""
    [written] = [line.split()[1] for line in Path(f"/proc/{pid}/io").read_text().splitlines() if line.startswith("wchar:")]
    return int(written)


def _lives(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


_EXTRACT = """
import os, signal, subprocess
from pathlib import Path
from dpe_cli.blocks.contract import Column, StagingTable
from dpe_cli.sources.singer.tap import Tap
from dpe_cli.sources.options.queries import Singer

{first}
options = Singer(location="singer:tap-shop", file_format="singer", disposition="replace", stream="orders", config={config!r})
table = StagingTable("shop.orders", "raw", "orders", (Column("id", "bigint"),))
with Tap(options, table, name="shop.orders", project_dir=Path({directory!r})).open() as opened:
    list(opened.blocks())
"""
# A shell lets its background processes ignore SIGINT.
_END_WHILE_IT_STARTS = """
signal.signal(signal.SIGINT, signal.default_int_handler)

class Started(subprocess.Popen):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        if "--discover" not in arguments[0]:
            while Path({runs!r}).read_text().count('"pid"') < 2:
                pass
            os.kill(os.getpid(), signal.{signal})

subprocess.Popen = Started
"""


def _assert_that_nothing_is_left(tap: Tap) -> None:
    assert not _lives(tap.runs[0]["pid"])
    assert not Path(tap.runs[0]["directory"]).exists()


def test_a_terminated_extract_leaves_neither_tap_nor_secrets(tap: Tap, tmp_path: Path) -> None:
    """Schedulers end dpe with SIGTERM."""
    tap.says(schema(), ("sleep", 60))
    process = subprocess.Popen([sys.executable, "-c", _EXTRACT.format(first="", config=tap.config, directory=str(tmp_path))])
    while not tap.runs:
        time.sleep(0.05)
    process.terminate()

    assert 128 + signal.SIGTERM == process.wait(20)
    _assert_that_nothing_is_left(tap)


@pytest.mark.parametrize(("sent", "status"), [("SIGTERM", 128 + signal.SIGTERM), ("SIGINT", -signal.SIGINT)])
def test_an_extract_that_is_ended_while_a_tap_starts_leaves_nothing(tap: Tap, tmp_path: Path, sent: str, status: int) -> None:
    """It is already running, but dpe has no handle on it yet."""
    tap.says(schema(), ("sleep", 60))
    first = _END_WHILE_IT_STARTS.format(runs=str(tap.world / "runs.jsonl"), signal=sent)
    script = _EXTRACT.format(first=first, config=tap.config, directory=str(tmp_path))

    assert status == subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60).returncode  # noqa: PLW1510 asked for
    _assert_that_nothing_is_left(tap)


def test_an_extract_that_is_ended_while_no_tap_starts_ends(tap: Tap, tmp_path: Path) -> None:
    """The signal is neither lost, nor kept for the next tap."""
    first = 'subprocess.Popen = lambda *_, **__: (os.kill(os.getpid(), signal.SIGTERM), open("/nowhere"))'
    script = _EXTRACT.format(first=first, config=tap.config, directory=str(tmp_path))

    assert 128 + signal.SIGTERM == subprocess.run([sys.executable, "-c", script], timeout=60).returncode  # noqa: PLW1510 asked for


def test_the_next_extract_removes_what_a_killed_one_left(stage: Stage, tap: Tap) -> None:
    """Nothing cleans up after SIGKILL; files that another extract is using stay."""
    with taps.private_directory() as in_use:
        left = Path(tempfile.mkdtemp(prefix="dpe-tap-"))
        (left / "config.json").write_text("s3cr3t", encoding="utf-8")
        for directory in (in_use, left):
            os.utime(directory, (0, 0))
        tap.says(schema(), record(id=1))
        tap.source(stage).extract()

        assert (True, False) == (in_use.exists(), left.exists())
    assert not in_use.exists()


@pytest.mark.parametrize("end", [0, 1])
def test_processes_that_a_tap_starts_do_not_outlive_it(stage: Stage, tap: Tap, end: int) -> None:
    """Even if the tap itself has ended, successfully or not."""
    tap.says(schema(), record(id=1), ("start", ["sleep", "60"]), ("exit", end))
    with contextlib.suppress(InputError):
        tap.source(stage).extract()

    child = int((tap.world / "child").read_text())
    for _ in range(100):
        if not _lives(child) or "Z" == Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]:
            return
        time.sleep(0.05)
    raise AssertionError(f"{child} still runs")
