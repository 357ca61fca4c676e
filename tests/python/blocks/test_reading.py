"""Reading a delivery: what a library raises is a refusal, what dpe does wrong is a bug, and memory has a limit."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

import duckdb
import openpyxl
import pytest

from dpe_cli import machine
from dpe_cli.blocks import reading
from dpe_cli.blocks.block import Block
from dpe_cli.errors import InputError, RejectLimitError

GOOD = Block(b"1\n", 1, 1, 1)
TOO_MUCH = 4_000_000_000

REFUSALS: dict[str, Callable[[], Any]] = {
    "an error of a library's own": lambda: duckdb.connect().execute("select * from 'no such file.parquet'"),
    "one of Python's errors, within a library": lambda: openpyxl.utils.cell.column_index_from_string("ZZZZZ"),
    "an error of the standard library's own": lambda: zlib.decompress(b"x"),
    "XML that is broken": lambda: ET.fromstring("<a>\x01</a>"),  # noqa: S314
    "bytes that are not text": b"\xff".decode,
    "a file that is gone": lambda: open("/no such directory/file"),  # noqa: PTH123, SIM115
}
BUGS: dict[str, Callable[[], Any]] = {
    "a missing key": lambda: dict[str, str]()["missing"],
    "None": lambda: None + 1,  # type: ignore[operator]
    "the standard library in wrong use": lambda: json.dumps(object()),
}


class _Broken:
    """An input that fails when it is opened, or after its first block."""

    location = "a.xyz"
    columns = ("id",)
    dialect: Any = None

    def __init__(self, fails: Callable[[], Any], *, when_opened: bool) -> None:
        self._fails = fails
        self._when_opened = when_opened

    @contextmanager
    def open(self) -> Iterator[Any]:
        if self._when_opened:
            self._fails()
        yield self

    def blocks(self) -> Iterator[Block]:
        yield GOOD
        self._fails()


def _read(fails: Callable[[], Any], *, when_opened: bool) -> None:
    input_: Any = _Broken(fails, when_opened=when_opened)
    with reading.opened(input_) as opened:
        assert 1 == sum(1 for _ in opened.blocks())


@pytest.mark.parametrize("when_opened", [True, False], ids=["opened", "read"])
@pytest.mark.parametrize("fails", REFUSALS.values(), ids=REFUSALS)
def test_what_a_library_raises_is_a_refusal(fails: Callable[[], Any], when_opened: bool) -> None:  # noqa: FBT001
    """With the name of the input and the library's words."""
    with pytest.raises(InputError, match=r"^a.xyz: cannot be read \(\w+: .*\); correct the source, or ask the sender"):
        _read(fails, when_opened=when_opened)


@pytest.mark.parametrize("when_opened", [True, False], ids=["opened", "read"])
@pytest.mark.parametrize("fails", BUGS.values(), ids=BUGS)
def test_a_mistake_in_dpes_code_is_a_bug(fails: Callable[[], Any], when_opened: bool) -> None:  # noqa: FBT001
    """It is not blamed on the sender."""
    with pytest.raises((KeyError, TypeError)):
        _read(fails, when_opened=when_opened)


@pytest.mark.parametrize("error", [duckdb.Error("the loader's"), RejectLimitError("too many")], ids=str)
def test_what_happens_between_two_blocks_is_not_about_the_delivery(error: Exception) -> None:
    """The loader's own errors pass."""

    def load() -> None:
        input_: Any = _Broken(int, when_opened=False)
        with reading.opened(input_) as opened:
            for _ in opened.blocks():
                raise error

    with pytest.raises(type(error)):
        load()


@pytest.mark.skipif(machine._data_size() is None, reason="only Linux says how much memory a process has")
def test_a_reader_that_takes_too_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine keeps its memory, and the next input has its own limit."""
    monkeypatch.setattr(machine, "_MOST_OF_A_READER", 200_000_000)
    for _ in range(2):
        with pytest.raises(InputError, match=r"^a.xyz: reading it takes more than 200.0 MB of memory, the limit; ask the sender"):
            _read(lambda: bytearray(TOO_MUCH), when_opened=False)

    assert 400_000_000 == len(bytearray(400_000_000))
