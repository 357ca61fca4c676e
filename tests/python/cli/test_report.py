from __future__ import annotations

import io
import json
import re
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dpe_cli.cli import report as module
from dpe_cli.cli.report import Facts, Lines, ProgressDisplay, Report, Table, shortened, show, words
from dpe_cli.safe_text.visible_text import has_hidden, visible_standard_error
from dpe_cli.words import duration, plural, size

HOSTILE = "\x1b]8;;owned\x07\u202e[red]:x:"
SHOWN = r"\x1b]8;;owned\x07\u202e[red]:x:"


@dataclass(frozen=True)
class _Loaded:
    """A command's result."""

    rows: int
    at: datetime

    def as_report(self) -> Report:
        """Show it."""
        return Report(data=self, headline=f"{plural(self.rows, 'row')} loaded", verdict="DPE SUCCESS")


LOADED = _Loaded(58665, datetime(2013, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_a_result_is_text_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """A result returns its report, which is shown."""
    assert 0 == show(LOADED, "text")
    assert "58,665 rows loaded\n\nDPE SUCCESS\n" == capsys.readouterr().out


def test_a_result_is_json_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    """Dataclasses, times and paths are converted to JSON types."""
    show(Report(data={"loaded": LOADED, "log": Path("/log"), "took": timedelta(seconds=2.5), "names": {"b", "a"}}), "json")

    assert {
        "loaded": {"rows": 58665, "at": "2013-01-02T03:04:05+00:00"},
        "log": "/log",
        "took": 2.5,
        "names": ["a", "b"],
    } == json.loads(capsys.readouterr().out)


def test_the_exit_status_comes_from_the_result() -> None:
    """A result that is bad news is not an error."""
    assert 1 == show(Report(data={}, verdict="DPE FAILED", exit_status=1), "text")
    assert 1 == show(Report(data={}, exit_status=1), "json")


def test_a_command_without_a_result_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither as text nor as JSON."""
    assert 0 == show(None, "text")
    assert "" == capsys.readouterr().out


def test_a_table_is_aligned_and_as_wide_as_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are right-aligned with separators; without a terminal, nothing is cut off or taken for markup."""
    reason = "[red]" + 200 * "x"
    show(
        Report(data={}, sections=[Table(["source", "rows", "reason"], [["nyc.flights", 336776, reason], ["nyc.planes", None, None]])]),
        "text",
    )

    lines = capsys.readouterr().out.splitlines()
    assert ["source          rows  reason", f"nyc.flights  336,776  {reason}", "nyc.planes         -  -"] == [lines[0], *lines[2:]]


@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1", "COLUMNS": "80"}], ids=["log", "colours"])
def test_no_line_that_a_table_breaks_begins_with_a_command(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A word is broken where the line ends, at the latest after 10,000 characters; colours do not make a log narrow."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    names = [f"{'x' * length}{'::error::pwn' * 1000}" for length in range(12)]
    rows = [[name, 1] for name in names]
    show(Report(data={}, headline=names[0], sections=[Table(["file", "rows"], rows), Facts({name: name for name in names})]), "text")

    written = capsys.readouterr().out
    assert variables.get("FORCE_COLOR") == ("1" if "\x1b[" in written else None)
    lines = re.sub(r"\x1b\[[\d;]*m", "", written).splitlines()
    assert [] == [line[:20] for line in lines if re.match(r"\s*::", line)]
    assert any(len(line) > 9_000 for line in lines)


def test_facts_are_shown_after_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    """Under their title."""
    show(Report(data={}, headline="Loaded", sections=[Facts({"files": 12, "took": timedelta(seconds=75)}, title="Flights")]), "text")

    assert "Loaded\n\nFlights\nfiles  12\ntook   1 min 15 s\n" == capsys.readouterr().out


def test_lines_for_a_shell_are_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    """No width, no markup, no rich."""
    line = f"export PGOPTIONS='{300 * 'x'} [bold]'  "
    show(Report(data={}, sections=[Lines([line])]), "text")

    assert f"{line}\n" == capsys.readouterr().out


def test_values_are_shown_as_words() -> None:
    """As people read them."""
    assert ["-", "yes", "no", "1,234", "1,234.6", "2.5 s", "2013-01-02 03:04:05", "text"] == [
        words(value) for value in (None, True, False, 1234, 1234.56, timedelta(seconds=2.5), LOADED.at, "text")
    ]
    assert ["1 file", "2,000 files", "0 entries"] == [plural(1, "file"), plural(2000, "file"), plural(0, "entry", "entries")]
    assert ["0.3 s", "59.4 s", "1 min 0 s", "61 min 1 s"] == [duration(seconds) for seconds in (0.3, 59.4, 59.6, 3661)]
    assert ["999 bytes", "1.0 kB", "12.3 MB", "2,000.0 TB"] == [size(count) for count in (999, 1000, 12_345_678, 2e15)]


def test_progress_in_a_log_has_times_and_durations(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, one line when a task begins and one when it is done, each with the local date and time."""
    with ProgressDisplay() as progress, progress.task("nyc.flights", total=2_000_000, unit="bytes") as advance:
        advance(1_500_000)
        advance(500_000)
        progress.say("Warning: late\nby a day")

    captured = capsys.readouterr()
    lines = [re.fullmatch(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (.*)", line) for line in captured.err.splitlines() if line[:1] != " "]
    moments = [datetime.strptime(line[1], "%Y-%m-%d %H:%M:%S").astimezone() for line in lines if line]
    assert all(abs(datetime.now(UTC) - moment) < timedelta(minutes=5) for moment in moments)
    assert ["nyc.flights: started", "Warning: late", "nyc.flights: 2.0 MB in _ s"] == [
        re.sub(r"[\d.]+ s$", "_ s", line[2]) for line in lines if line
    ]
    assert "" == captured.out


def test_progress_is_reported_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A log shows that a long load is still running."""
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.0)

    with ProgressDisplay() as progress, progress.task("nyc.flights", total=400, unit="rows") as advance:
        advance(100)

    assert "nyc.flights: 100 rows (25 %)\n" in capsys.readouterr().err


def test_a_task_that_failed_is_not_reported_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    """A log shows how long it took; the error is reported elsewhere."""
    with pytest.raises(ZeroDivisionError), ProgressDisplay() as progress, progress.task("nyc.flights"):
        raise ZeroDivisionError

    started, failed = [line[20:] for line in capsys.readouterr().err.splitlines()]
    assert ("nyc.flights: started", "nyc.flights: failed") == (started, failed.partition(" after ")[0])


class Terminal(io.StringIO):
    """A terminal that records its output."""

    def isatty(self) -> bool:
        """Claim to be a terminal."""
        return True


def test_threads_share_a_bar_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several writers advance one task."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressDisplay() as progress, progress.task("nyc.flights", total=4, unit="rows") as advance:
        threads = [threading.Thread(target=advance, args=[1]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        progress.say("[a line] above")

    assert "[a line] above" in screen.getvalue()
    assert "nyc.flights: 4 rows in" in screen.getvalue()


def test_a_narrow_terminal_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names wrap onto the next line, and numbers stay whole."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    name = "finance.fct_carrier_daily_performance_by_month"
    table = Table(["relation", "who sees it", "rows", "expected"], [[name, "its owner, without a context", 350_217_607, 4_152_200]])

    shown = re.sub(r"\x1b\[[\d;]*m", "", module._text(Report(data={}, sections=[table])))

    assert "…" not in shown
    assert {"350,217,607", "4,152,200"} <= set(shown.split())
    first_column = "".join(line[:60].split("  ")[0].strip() for line in shown.splitlines()[2:])
    assert name in first_column


def test_a_table_that_does_not_fit_is_written_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine columns in 80: each number and name is whole, and named by its column."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    numbers = ["delivered", "rejected", "deduplicated", "filtered", "expected", "found", "unexplained"]
    rows = [["shop.orders → fct_big_orders", what, *[350_217_607 + row] * 7] for row, what in enumerate(["records", "sum of amount"])]

    shown = re.sub(r"\x1b\[[\d;]*m", "", module._text(Report(data={}, sections=[Table(["hop", "what", *numbers], rows)])))

    lines = [line.split(maxsplit=1) for line in shown.splitlines()]
    assert 2 == lines.count(["hop", "shop.orders → fct_big_orders"])
    assert ["what", "sum of amount"] in lines
    for name in numbers:
        assert [[name, "350,217,607"], [name, "350,217,608"]] == [line for line in lines if line[:1] == [name]]


def test_facts_in_a_narrow_terminal_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value without blanks wraps."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    path = "/srv/reports/2026/11/30/orders_of_all_shops.html"

    shown = re.sub(r"\x1b\[[\d;]*m", "", module._text(Report(data={}, sections=[Facts({"docs": path})])))

    assert f"docs{path}" == "".join(shown.split())


def test_no_part_of_a_report_is_obeyed_by_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Names, headings and values come from outside: each is shown by its codes, and stays on one line where it should."""
    sections: list[Facts | Lines | Table] = [
        Facts({HOSTILE: f"{HOSTILE}\nnext"}, title=HOSTILE),
        Table([HOSTILE], [[f"{HOSTILE}\nnext"]], title=HOSTILE),
        Lines([HOSTILE]),
    ]
    show(Report(data={}, headline=f"{HOSTILE}\nnext", sections=sections, verdict=HOSTILE), "text")

    text = capsys.readouterr().out
    assert not has_hidden(text)
    assert 9 == text.count(SHOWN)
    assert 2 == text.count(f"{SHOWN}⏎next")
    assert f"{SHOWN}⏎{'x' * (59 - len(SHOWN))}…" == shortened(f"{HOSTILE}\n{'x' * 99}")


def test_data_is_exact_unless_a_terminal_shows_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program reads reports of lines only; a terminal obeys none of them."""
    data = Report(data={}, sections=[Lines([f"{HOSTILE}\r\n next"])])
    show(data, "text")
    assert f"{HOSTILE}\r\n next\n" == capsys.readouterr().out

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    show(data, "text")
    assert f"{SHOWN}\\x0d\n next\n" == screen.getvalue()


def test_json_keeps_its_values_and_is_obeyed_by_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Hidden characters are JSON escapes, the others are readable."""
    show(Report(data={HOSTILE: ["\x7f\udcff", "Zürich"]}), "json")

    text = capsys.readouterr().out
    assert {HOSTILE: ["\x7f\udcff", "Zürich"]} == json.loads(text)
    assert not has_hidden(text)
    assert "Zürich" in text


@pytest.mark.parametrize("screen", [Terminal(), io.StringIO()], ids=["a terminal", "a log"])
def test_progress_is_obeyed_by_no_terminal(monkeypatch: pytest.MonkeyPatch, screen: io.StringIO) -> None:
    """Neither task names, nor messages, nor what a library writes to standard error meanwhile; no line feed in them starts a message."""
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")
    with visible_standard_error(), ProgressDisplay() as progress, progress.task(HOSTILE, total=4, unit="rows") as advance:
        advance(4)
        progress.say(f"said {HOSTILE}\nDPE SUCCESS")
        sys.stderr.write(f"written {HOSTILE}\n")

    text = re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\r", "", screen.getvalue())
    assert not has_hidden(text)
    for shown in (f"said {SHOWN}\n    DPE SUCCESS\n", f"written {SHOWN}\n", f"{SHOWN}: 4 rows in"):
        assert shown in text
