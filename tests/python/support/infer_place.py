"""A dbt project with sources of all kinds, in which `dpe source infer` is run."""

from __future__ import annotations

import datetime as dt
import io
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import openpyxl
import pytest
import yaml
from conftest import Cluster

from dpe_cli.cli import main
from dpe_cli.server.server import Server
from support import dbt_projects
from support.infer_samples import FILES, PARQUET, PASSWORD, POSTGRES, SOURCES, SQLITE
from support.misbehaving_api import Api, served


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Workplace:
    """A dbt project, and a server with other databases."""

    directory: Path
    server: Server
    other: Server
    api: Api

    @property
    def environment(self) -> dict[str, str]:
        """The variables for the server, and for a password."""
        server = {"PGHOST": self.server.host, "PGPORT": str(self.server.port), "PGDATABASE": self.server.database, "PGUSER": "postgres"}
        return server | {"ORDERS_PASSWORD": PASSWORD}

    def dpe(self, *arguments: str) -> Done:
        """Run dpe in the project, on its server."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.chdir(self.directory)
            status = main.run(arguments)
        return Done(status, out.getvalue(), err.getvalue())

    def infer(self, *arguments: str) -> Done:
        """Infer a source."""
        return self.dpe("source", "infer", *arguments)

    def table(self, *arguments: str) -> dict[str, Any]:
        """Infer a source, and return its table from the YAML."""
        done = self.infer(*arguments)
        assert (0, "") == (done.status, done.err)
        found: dict[str, Any] = yaml.safe_load(done.out)["sources"][0]["tables"][0]
        return found

    def types(self, *arguments: str) -> dict[str, str]:
        """Infer a source, and return the types of its columns."""
        return {column["name"]: column["data_type"] for column in self.table(*arguments)["columns"]}

    def deliver(self, name: str, content: str | bytes) -> str:
        """Write a file, and return its path relative to the project."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def url(self, password: str = "") -> str:
        """Return the URL of the other database."""
        return f"postgresql://postgres{password}@/{self.other.database}?host={quote(self.other.host, safe='')}&port={self.other.port}"


@pytest.fixture(scope="module")
def place(cluster_18: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """Make a project with files of all formats, other databases and an API."""
    directory = dbt_projects.make(tmp_path_factory.mktemp("infer") / "project", {})
    api = Api()
    with cluster_18.new_database() as server, cluster_18.new_database() as other, served(api) as url:
        api.url = url
        made = Workplace(directory, server, other, api)
        for name, content in FILES.items():
            made.deliver(f"data/{name}", content)
        duckdb.execute(PARQUET.replace("{path}", str(directory / "data/trips.parquet")))
        _workbook(directory / "data/budget.xlsx")
        with closing(sqlite3.connect(directory / "data/shop.db")) as connection:
            connection.executescript(SQLITE)
        with other.connect("admin", autocommit=True) as postgres:
            postgres.execute(POSTGRES)
        yield made


def _workbook(path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["The budget of 2024"])
    sheet.append([])
    sheet.append(["Cost centre", "when", "amount", "ok", "note"])
    for number in range(28):
        sheet.append([f"0{number}", dt.datetime(2024, 1, 1), number * 1.1, True, None if number else "NA"])
    book.create_sheet("Other")
    book.save(path)


@pytest.fixture(scope="module")
def loaded(place: Workplace) -> Mapping[str, Mapping[str, Any]]:
    """Write every source, and extract all of them in one command; return the result of each."""
    nyc = dbt_projects.REPOSITORY / "data" / "nyc_flights"
    for name, (arguments, _) in SOURCES.items():
        filled = [argument.format(api=place.api.url, postgres=place.url(), nyc=nyc) for argument in arguments]
        done = place.infer(*filled, "--name", name, "--write")
        assert (0, "") == (done.status, done.err), name
    done = place.dpe("extract", "--output", "json")
    assert 0 == done.status, done.err
    return {extract["source"]: extract for extract in json.loads(done.out)["extracts"]}
