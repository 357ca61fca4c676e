"""
How results are shown; only this module prints them.

A command returns a `Report`, or a result that makes one (`as_report`). Results go to standard output, as text or as
JSON; everything else goes to standard error. The values and names in them come from outside, so hidden characters are shown as
codes (visible_text.py). Values in JSON are exact, and so is a report that has only `Lines`, unless it goes to a terminal.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

from dpe_cli.cli.tables import pairs, table
from dpe_cli.errors import UsageError
from dpe_cli.safe_text.ascii_text import has_all_characters
from dpe_cli.safe_text.visible_text import inert, message, on_one_line, terminal, visible, visible_json, without_commands
from dpe_cli.words import duration, size

# Rich is slow to import, and `dpe env` and `dpe db url` do not need it.
if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress as Bars

# A table written to a file or a pipe is as wide as its rows.
UNLIMITED_WIDTH = 10_000
QUIET_SECONDS = 10.0
_SHOWN_CHARACTERS = 60
_MOST_REASONS = 20


@dataclass(frozen=True)
class Lines:
    """Lines that are never wrapped. A report of nothing else is data for a shell or another program, and is exact."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """Names with their values, one per line."""

    facts: Mapping[str, object]
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under column names. Columns of numbers are aligned to the right."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    title: str = ""


@dataclass(frozen=True)
class Report:
    """
    What a command found or did.

    `data` is the JSON form: anything JSON can hold, dataclasses, dates and paths. The rest is the text form, in this order.
    `verdict` follows, green if the exit status is 0; under it, each of the `reasons` has a line.
    """

    data: object
    headline: str = ""
    sections: Sequence[Lines | Facts | Table] = ()
    verdict: str = ""
    reasons: Sequence[object] = ()
    exit_status: int = 0


class Result(Protocol):
    """Anything that can be shown."""

    def as_report(self) -> Report:
        """Return what to show."""


def show(result: Report | Result | None, output: str) -> int:
    """Write a result to standard output, as `text` or `json`, and return its exit status."""
    if result is None:
        return 0
    report = result if isinstance(result, Report) else result.as_report()
    if output == "json":
        sys.stdout.write(visible_json(json.dumps(report.data, indent=2, ensure_ascii=_is_ascii_only(), default=_for_json)) + "\n")
    else:
        sys.stdout.write(_text(report))
    # Notice a closed pipe here, not when Python exits.
    sys.stdout.flush()
    return report.exit_status


def show_error(problem: object) -> None:
    """Write an error to standard output as JSON, like the errors within a result."""
    sys.stdout.write(visible_json(json.dumps({"errors": [problem]}, indent=2, ensure_ascii=_is_ascii_only(), default=_for_json)) + "\n")
    sys.stdout.flush()


def words(value: object) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
        case timedelta():
            return duration(value.total_seconds())
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M:%S")
        case _:
            return str(value)


def shortened(text: str) -> str:
    """Return the start of a text on one line, for a table."""
    line = on_one_line(text)
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…"


def _is_ascii_only() -> bool:
    """Return whether standard output lacks characters; JSON then has their escapes, and the same values."""
    return not has_all_characters(sys.stdout.encoding)


def _for_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    match value:
        case date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return sorted(value)
        case _:
            return str(value)


def _text(report: Report) -> str:
    if not report.headline and not report.verdict and all(isinstance(section, Lines) for section in report.sections):
        data = "".join(f"{line}\n" for section in report.sections if isinstance(section, Lines) for line in section.lines)
        if sys.stdout.isatty():
            return visible(data)
        if _is_ascii_only() and not data.isascii():
            # A name in other characters would be another name.
            raise UsageError(f"standard output: its encoding {sys.stdout.encoding} lacks some characters; set PYTHONIOENCODING=utf-8")
        return data
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    # FORCE_COLOR makes rich take a log for a terminal.
    if not sys.stdout.isatty():
        console.width = UNLIMITED_WIDTH
    with console.capture() as capture:
        if report.headline:
            console.print(Text(on_one_line(report.headline), style="bold"))
        for section in report.sections:
            title = getattr(section, "title", "")
            if title:
                console.print()
                console.print(Text(on_one_line(title), style="bold"))
            console.print(_rendered(section, console.width), soft_wrap=isinstance(section, Lines))
        if report.verdict:
            console.print()
            console.print(Text(on_one_line(report.verdict), style="bold red" if report.exit_status else "bold green"))
        more = [f"and {len(report.reasons) - _MOST_REASONS:,} more; see above"] if len(report.reasons) > _MOST_REASONS else []
        for reason in [*map(str, report.reasons[:_MOST_REASONS]), *more]:
            console.print(Text(f"- {on_one_line(reason)}"), soft_wrap=True)
    return without_commands("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def _rendered(section: Lines | Facts | Table, width: int) -> RenderableType:
    from rich.text import Text

    match section:
        case Lines():
            return Text("\n".join(map(on_one_line, section.lines)))
        case Facts():
            return pairs([(on_one_line(name), inert(words(value))) for name, value in section.facts.items()])
        case Table():
            numeric = [_is_numeric([row[position] for row in section.rows]) for position in range(len(section.columns))]
            rows = [[on_one_line(words(value)) for value in row] for row in section.rows]
            return table([on_one_line(name) for name in section.columns], rows, numeric, width)


def _is_numeric(values: Sequence[object]) -> bool:
    numbers = [isinstance(value, (int, float, timedelta)) and not isinstance(value, bool) for value in values if value is not None]
    return bool(numbers) and all(numbers)


class ProgressDisplay:
    """
    Shows progress on standard error: a bar on a terminal; in a log, lines with the local date and time.

    Threads may share it.
    """

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bars

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[done]}"))
            # By default, rich also prints what libraries write to standard error, and obeys the escape sequences in it.
            self._bars = Bars(
                *columns,
                TimeElapsedColumn(),
                console=Console(file=terminal()),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def say(self, text: str) -> None:
        """Write a line, above the bars if there are any."""
        shown = message(text)
        if self._bars is not None:
            self._bars.console.print(shown, markup=False, emoji=False, highlight=False, soft_wrap=True)
        else:
            sys.stderr.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {shown}\n")
            sys.stderr.flush()

    @contextmanager
    def task(
        self, name: str, total: int | None = None, *, unit: Literal["bytes", "rows", "steps"] = "steps"
    ) -> Iterator[Callable[[int], None]]:
        """
        Show a task with its total, if known. Yields the function that adds what was done.

        A log also shows when the task began, and how long one took that failed; the error itself is reported elsewhere.
        """
        started = last_shown = time.monotonic()
        done = 0

        def described() -> str:
            return size(done) if unit == "bytes" else f"{done:,} {unit}"

        bar = self._bars.add_task(on_one_line(name), total=total, done="") if self._bars is not None else None

        def advance(amount: int) -> None:
            nonlocal done, last_shown
            with self._lock:
                done += amount
                if self._bars is not None and bar is not None:
                    self._bars.update(bar, completed=done, done=described())
                elif time.monotonic() - last_shown > QUIET_SECONDS:
                    last_shown = time.monotonic()
                    self.say(f"{name}: {described()}{f' ({100 * done // total} %)' if total else ''}")

        if self._bars is None:
            self.say(f"{name}: started")
        try:
            yield advance
        except BaseException:
            if self._bars is None:
                self.say(f"{name}: failed after {duration(time.monotonic() - started)}")
            raise
        if self._bars is not None and bar is not None:
            self._bars.remove_task(bar)
        self.say(f"{name}: {described() if done else 'done'} in {duration(time.monotonic() - started)}")
