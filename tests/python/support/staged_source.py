"""A source for the tests: files in a directory, the staging table that they are loaded into, and the results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from conftest import Cluster

from dpe_cli.blocks.contract import Column, StagingTable
from dpe_cli.ingest import extract as extracts
from dpe_cli.load import staging
from dpe_cli.load.extraction import Extractor
from dpe_cli.load.result import ExtractResult
from dpe_cli.project.source import Source
from dpe_cli.server import contexts
from dpe_cli.server.server import Server
from dpe_cli.sources.options.parse import SourceDeclaration, parse

numbers = itertools.count(1)

# Creates a source with a table of its own: `stage("id integer, note text", tenant_column="note", disposition="replace")`.
Stage = Callable[..., "StagedSource"]


class StagedSource:
    """
    A source with these columns, as in a table's definition; other arguments are options of its external block.

    By default it loads all files of its directory into the schema `raw`, appends them, and accepts any number of rejects.
    """

    def __init__(
        self, server: Server, directory: Path, columns: str, *, schema: str = "raw", tenant_column: str | None = None, **external: Any
    ) -> None:
        self.server = server
        self.directory = directory
        defaults = {"location": "*", "file_format": "csv", "disposition": "append", "rejects": {"max_ratio": 1}}
        name = f"orders_{next(numbers)}"
        self.table = StagingTable(f"shop.{name}", schema, name, _columns(columns), tenant_column=tenant_column, declared_at="shop.yml:5")
        self.external = self._parsed(defaults | external)

    def declare(self, columns: str | None = None, *, tenant_column: str | None = None, **external: Any) -> None:
        """Change the declaration: the columns, the tenant column, options of the external block."""
        if columns is not None:
            self.table = replace(self.table, columns=_columns(columns))
        if tenant_column is not None:
            self.table = replace(self.table, tenant_column=tenant_column)
        self.external = self._parsed(asdict(self.external) | external)

    def _parsed(self, external: dict[str, Any]) -> Any:
        return parse(external, self.table.columns, declaration=SourceDeclaration("shop", "shop.yml:5"))

    def deliver(self, content: str | bytes, name: str = "a.csv") -> Self:
        """Write a file."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def extract(self, *, jobs: int = 2, **options: Any) -> ExtractResult:
        """Extract what was delivered."""
        return self.run(self.extraction(jobs=jobs, **options))

    def run(self, extraction: Extractor) -> ExtractResult:
        """Run an extraction of what was delivered."""
        return extraction.run(extracts.inputs_of(self.source, project_dir=self.directory))

    @property
    def source(self) -> Source:
        """The source as the project declares it."""
        return Source("", self.table.source, self.table, self.external, None)

    def extraction(self, *, jobs: int = 2, **options: Any) -> Extractor:
        """Return an extraction that is still to be run."""
        order = extracts.load_request_of(self.source)
        return Extractor(partial(self.server.connect, "loader"), order, jobs=jobs, **options)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return the rows in staging, sorted, as a model sees them: without dpe's own columns, nulls as None."""
        names = ", ".join(f'"{column.name}"' for column in self.table.columns)
        return sorted(self.query(f"select {names} from {self.relation}"), key=repr)

    def count(self) -> int:
        """Return the number of rows in staging."""
        return int(self.query(f"select count(*) from {self.relation}")[0][0])

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Query as dbt does, in the system context of the transformer."""
        with self.server.connect("transformer") as connection, contexts.system_context(connection, actor="test"):
            return connection.execute(statement.encode(), parameters).fetchall()

    def rejects(self, columns: str = "position, column_name, sqlstate, reason, raw") -> list[tuple[Any, ...]]:
        """Return the rejects in the ledger, by file and line."""
        return self.ledger(f"select {columns} from dpe.rejects where source = %s order by load_id, position")

    def statuses(self) -> list[str]:
        """Return the status of each extract, oldest first."""
        return [status for (status,) in self.ledger("select status from dpe.extracts where source = %s order by extract_id")]

    def ledger(self, statement: str) -> list[tuple[Any, ...]]:
        """Query the ledger about this source, as the loader."""
        with self.server.connect("loader") as connection, contexts.system_context(connection, actor="test"):
            return connection.execute(statement.encode(), [self.table.source]).fetchall()

    def slices(self, *, attached: bool) -> list[str]:
        """Return the names of the slices that are attached, or that are not."""
        with self.server.connect("loader") as connection:
            return [slice_.name for slice_ in staging.slices(connection, self.table, attached=attached)]

    @property
    def relation(self) -> str:
        """The staging table, for a statement."""
        return f'"{self.table.schema}"."{self.table.name}"'


@pytest.fixture
def stage(module_server: Server, tmp_path: Path) -> Stage:
    """Create sources on PostgreSQL 18."""
    return partial(StagedSource, module_server, tmp_path)


@pytest.fixture(scope="module")
def module_server_anywhere(any_cluster: Cluster) -> Iterator[Server]:
    """Give a bootstrapped database that the tests of one file share, on each version in turn."""
    with any_cluster.new_database() as server:
        yield server


@pytest.fixture
def stage_anywhere(module_server_anywhere: Server, tmp_path: Path) -> Stage:
    """Create sources on each version in turn."""
    return partial(StagedSource, module_server_anywhere, tmp_path)


def _columns(definition: str) -> tuple[Column, ...]:
    return tuple(_column(part) for part in definition.split(", "))


def _column(definition: str) -> Column:
    """
    Return a column: `name text`, `name text at $.customer.name`, or `name text at 5+10` for ten characters from the fifth on.

    `name text also old+older` has other names; `name text optional` and `name text default x` may be missing.
    `name date format DD.MM.YYYY` has this form; `name numeric(10,2) rounds` and `name date null_quoted` accept more.
    """
    definition, _, template = definition.partition(" format ")
    definition, rounds, _ = definition.partition(" rounds")
    definition, null_quoted, _ = definition.partition(" null_quoted")
    definition, is_given, default = definition.partition(" default ")
    definition, optional, _ = definition.partition(" optional")
    definition, _, headers = definition.partition(" also ")
    definition, _, place = definition.partition(" at ")
    name, data_type = definition.split(" ", 1)
    column = Column(
        name,
        data_type,
        headers=tuple(headers.split("+")) if headers else (),
        optional=bool(optional),
        default=default if is_given else None,
        format=template or None,
        rounds=bool(rounds),
        null_quoted=bool(null_quoted),
    )
    if not place or place.startswith("$"):
        return replace(column, path=place or None)
    start, _, width = place.partition("+")
    return replace(column, start=int(start), width=int(width))
