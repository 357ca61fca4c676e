"""Singer taps as sources: any tap's stream, with the state from which it resumes in the ledger, next to the rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from dpe_cli import ending_signals
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.contract import StagingTable
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.inputs import Opened
from dpe_cli.environment import for_program
from dpe_cli.errors import InputError
from dpe_cli.safe_text.secret_forms import spans
from dpe_cli.sources import secrets
from dpe_cli.sources.json import json_path, parsing
from dpe_cli.sources.json.records import LINE_FEED, JsonRecords
from dpe_cli.sources.options.queries import Singer
from dpe_cli.sources.query_inputs import BaseQueryInput
from dpe_cli.sources.read.lines import whole_lines
from dpe_cli.sources.read.rows import DIALECT
from dpe_cli.sources.singer import catalog as singer_catalog
from dpe_cli.sources.singer import messages as singer_messages
from dpe_cli.sources.singer import program as taps
from dpe_cli.sources.singer.messages import Messages
from dpe_cli.sources.singer.program import Program, Running


class Tap(BaseQueryInput):
    """The records that a tap delivers of one stream, from the state on that the last extract left."""

    # Taps only promise delivery at least once.
    may_repeat = True

    def __init__(self, options: Singer, table: StagingTable, *, name: str, project_dir: Path) -> None:
        self.stream = options.stream or options.tap_stream_id or name.rpartition(".")[2]
        super().__init__(f"{options.location} {self.stream}")
        self.options = options
        self.table = table
        self.project_dir = project_dir
        self.state: str | None = None

    def begin(self, after: str | None) -> None:
        """
        Note the state that the last extract saved.

        Raises:
            InputError: it is not a state.
        """
        super().begin(after)
        if after is not None and not after.startswith("{"):
            raise InputError(
                f"{self.location}: the saved cursor ({after}) is not a Singer state; "
                f"start over with: dpe extract --full-refresh source:{self.table.source}"
            )

    def end(self) -> str | None:
        """Return the last state that the tap wrote; None if it wrote none, which keeps the previous one, or if none is needed."""
        return None if self.options.disposition == "replace" else self.state

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """
        Find the tap, and discover its streams.

        Raises:
            InputError: it is not installed, fails, or has no such stream.
        """
        options = self.options
        environment = self._environment()
        path = taps.find(options.tap, options.executable, project_dir=self.project_dir, where=self.location)
        # Whatever ends dpe, no tap keeps running, and no file of secrets is left.
        with ending_signals.raised(), taps.private_directory() as directory, ExitStack() as running:
            given = _Given(directory)
            program = Program(path, project_dir=self.project_dir, where=self.location, environment=environment)
            config = given.file("config.json", json.dumps(self._config))
            arguments = ["--config", config]
            catalog = self._catalog(program, arguments)
            entry = singer_catalog.select(catalog, options, self.stream, self._fields, where=self.location)
            arguments += [options.catalog_option, given.file("catalog.json", json.dumps(catalog))]
            if self.after is not None:
                arguments += ["--state", given.file("state.json", self.after)]
            names = {self.stream, *(str(entry[name]) for name in ("stream", "tap_stream_id") if name in entry)}
            yield _OpenedTap(self, names, lambda: running.enter_context(program.run(arguments)))

    def keep(self, state: str | None) -> None:
        """
        Save a state for the ledger.

        Raises:
            InputError: it contains a secret, which must not get into the ledger.
        """
        self.state = state
        kept = self.end()
        variables = [*self._variables, *(self.options.environment or [])]
        values = [value for _, value in secrets.bare(self._given_config)] + [os.environ.get(name, "") for name in variables]
        held = [secret for value in values for secret in (value, *secrets.parts(value)) if secrets.is_long(secret)]
        if spans(kept or "", held):
            raise InputError(
                f"{self.location}: the tap's state contains a secret of its configuration or environment, which would end up in "
                "the ledger; nothing was loaded, write disposition: replace, which keeps no state"
            )

    @cached_property
    def _given_config(self) -> Any:
        name = self.options.config_file
        return self.options.config if name is None else _document(self.project_dir / name, "config_file", self.location)

    @cached_property
    def _config(self) -> Any:
        """The tap's configuration; a file may contain secrets in plain text."""
        for _, value in secrets.bare(self._given_config):
            secrets.remember(value)
        return secrets.filled_document(self._given_config, where=self._declared_name)

    @property
    def _variables(self) -> list[str]:
        """The variables that its configuration refers to."""
        return secrets.names(secrets.texts(self._given_config))

    @property
    def _declared_name(self) -> str:
        """The tap's name in messages about its declaration."""
        return f"{self.location} ({self.table.declared_at})" if self.table.declared_at else self.location

    def _environment(self) -> dict[str, str]:
        """Return the tap's environment: what any program needs, and what the source names."""
        named = self.options.environment or []
        for name in named:
            if name not in os.environ:
                raise InputError(
                    f"{self._declared_name}: environment names {name}, but the environment has no variable {name}; "
                    "set it, or write it into the project's .env"
                )
            secrets.remember(os.environ[name], is_called_one=secrets.names_one(name))
        return for_program([*self._variables, *named])

    @property
    def _fields(self) -> set[str] | None:
        """The properties to select: those in the contract; or None for all, if extra properties are refused."""
        steps = [json_path.of(column) for column in self.table.columns]
        if self.options.extra_columns == "refuse" or () in steps:
            return None
        return {str(step[0]) for step in steps} | {name for column in self.table.columns for name in column.headers}

    def _catalog(self, program: Program, arguments: list[str]) -> Any:
        """Return the catalog from the file that the block names, or the one that the tap discovers."""
        if self.options.catalog_file is not None:
            return _document(self.project_dir / self.options.catalog_file, "catalog_file", self.location)
        with program.run([*arguments, "--discover"]) as running:
            written = b"".join(running.output(timeout=self.options.timeout))
            running.check_end()
        try:
            return parsing.parse(written)
        except ValueError as error:
            raise InputError(
                f"{self.location}: the tap's --discover output is not a valid catalog ({error}); set `catalog_file`, or fix the tap"
            ) from error


class _OpenedTap:
    """A tap that is ready to run."""

    dialect: Dialect = DIALECT

    def __init__(self, tap: Tap, names: set[str], run: Callable[[], Running]) -> None:
        options, table = tap.options, tap.table
        self._tap = tap
        # The tap ends with the block that opened it, however far it was read.
        self._run = run
        self._records = JsonRecords(
            table.columns, ignores_extra=options.extra_columns == "ignore", declared_at=table.declared_at, within=singer_messages.RECORD
        )
        self._messages = Messages(names, table.columns, where=tap.location, declared_at=table.declared_at)
        self.columns = self._records.columns

    def missing(self) -> tuple[str, ...]:
        """Return the columns that no record had."""
        return self._records.missing()

    def blocks(self) -> Iterator[Block]:
        """
        Yield the records of the stream; the tap is read no faster than they are loaded.

        Raises:
            InputError: the tap fails, or writes something that is not a message.
            ContractError: a record has a member that the contract does not name.
        """
        number = 1
        read = 0
        where = self._tap.location
        running = self._run()
        chunks = running.output(timeout=self._tap.options.timeout)
        for data, line in whole_lines(chunks, location=where, max_record_bytes=self._tap.options.max_record_bytes):
            if not data.endswith(LINE_FEED):
                # A tap that crashes leaves a partial last line.
                running.check_end()
            read += len(data)
            if records := self._messages.records(data, line):
                block = self._records.block(records, LINE_FEED, location=where, first_line=number, by_number=True)
                number += block.records
                yield singer_messages.as_delivered(block)
        running.check_end()
        self._check_schema()
        self._tap.size = read
        self._tap.keep(self._messages.state)

    def _check_schema(self) -> None:
        """Refuse a tap that did not even describe the stream: the existing rows would be replaced by nothing."""
        messages = self._messages
        if not messages.has_schema:
            others = f", only of {', '.join(sorted(messages.others))}" if messages.others else ""
            raise InputError(
                f"{self._tap.location}: the tap wrote no SCHEMA of the stream {self._tap.stream}{others}; "
                "set `stream` to its name in the messages, and `tap_stream_id` to its name in the catalog"
            )


class _Given:
    """Files for a tap, readable only by this user."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file(self, name: str, content: str) -> str:
        """Write a file, and return its path."""
        path = self._directory / name
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
        return str(path)


def _document(path: Path, option: str, where: str) -> Any:
    try:
        return parsing.parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"{where}: {path} cannot be read ({error.strerror}); correct `{option}`") from error
    except ValueError as error:
        raise InputError(f"{where}: {path} is not valid JSON ({error}); correct it") from error
