"""
Reading a delivery: whatever a library raises about it is a refusal of that delivery, and a reader has a memory limit.

Libraries raise anything for what a sender broke: an encrypted Parquet file, a control character in a workbook. Only
exceptions that dpe raises itself, in its own code, are bugs.
"""

from __future__ import annotations

import logging
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from dpe_cli import machine
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.inputs import Input, MayLackColumns, Opened
from dpe_cli.errors import DpeError, InputError
from dpe_cli.words import size

_log = logging.getLogger(__name__)
_OWN = "dpe_cli"
# Of Python's own exceptions, these come from what is read or from the machine; the others (KeyError, TypeError …) from a mistake in code.
_OF_THE_DELIVERY = (OSError, EOFError, UnicodeError, MemoryError, RecursionError)
_PACKAGES = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("purelib", "platlib")})
_SHOWN_CHARACTERS = 300


@contextmanager
def opened(input_: Input) -> Iterator[Opened]:
    """
    Open an input to be read once, with a limit on the memory that reading it takes.

    Raises:
        InputError: it cannot be read.
    """
    with ExitStack() as stack, machine.limited_memory(machine.reader_memory()):
        with refusing(input_.location):
            found = stack.enter_context(input_.open())
        try:
            yield _Refusing(found, input_.location)
        except MemoryError as error:
            # The loader, which shares the limit, may be the one that fails.
            raise out_of_memory(input_.location) from error


class _Refusing:
    """An open input whose blocks are read with `refusing`; what the loader raises between two blocks is not its concern."""

    def __init__(self, found: Opened, location: str) -> None:
        self.columns: tuple[str, ...] = found.columns
        self.dialect: Dialect = found.dialect
        self._found = found
        self._location = location

    def blocks(self) -> Iterator[Block]:
        """
        Yield the blocks once.

        Raises:
            InputError: one cannot be read.
        """
        blocks = self._found.blocks()
        while True:
            with refusing(self._location):
                block = next(blocks, None)
            if block is None:
                return
            yield block

    def missing(self) -> tuple[str, ...]:
        """Return the columns that no record had, if records may lack any."""
        return self._found.missing() if isinstance(self._found, MayLackColumns) else ()


@contextmanager
def searching(where: str) -> Iterator[None]:
    """
    Find inputs, or compare them with what is known, with a limit on the memory that this takes.

    Raises:
        InputError: a library failed, or the limit was reached.
    """
    with machine.limited_memory(machine.reader_memory()), refusing(where):
        yield


@contextmanager
def refusing(where: str) -> Iterator[None]:
    """
    Turn what a library raises into a refusal of what is read; `where` is what messages call it.

    Raises:
        InputError: a library failed, or the memory limit was reached.
    """
    try:
        yield
    except DpeError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(where) from error
        if not is_of_a_library(error):
            raise
        _log.debug("%s: the traceback", where, exc_info=error)
        raise InputError(f"{where}: cannot be read ({_message(error)}); correct the source, or ask the sender to send it again") from error


def is_of_a_library(error: BaseException) -> bool:
    """
    Return whether an exception is about what is read, rather than a mistake in dpe's code.

    It is if a library defines its class, so that dpe would not raise it; if it was raised within a package that is installed besides
    dpe, whatever its class; or if it is one of Python's exceptions for files, encodings, depth and memory. A KeyError or
    TypeError in dpe's own code, or in a function of the standard library that this calls, stays a bug.
    """
    if isinstance(error, _OF_THE_DELIVERY):
        return True
    package = type(error).__module__.partition(".")[0]
    return package not in {"builtins", _OWN, "__main__"} or _was_raised_in_a_package(error.__traceback__)


def _was_raised_in_a_package(traceback: TracebackType | None) -> bool:
    """Return whether there is a frame of an installed package after the last one of dpe."""
    is_within = False
    while traceback is not None:
        code = traceback.tb_frame
        name = str(code.f_globals.get("__name__", "")).partition(".")[0]
        if name == _OWN:
            is_within = False
        elif name not in sys.stdlib_module_names and code.f_code.co_filename.startswith(_PACKAGES):
            is_within = True
        traceback = traceback.tb_next
    return is_within


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out: Python's, DuckDB's, or that of the XML parser."""
    names = {class_.__name__ for class_ in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryException"}) or str(error).startswith("out of memory")


def out_of_memory(where: str) -> InputError:
    """Return the error that names the memory limit."""
    limit = size(machine.reader_memory())
    return InputError(f"{where}: reading it takes more than {limit} of memory, the limit; ask the sender for smaller files and values")


def _message(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
