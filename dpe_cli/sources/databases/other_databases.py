"""Any other database as a source: by its SQLAlchemy URL, with a server-side cursor, in one transaction."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from uuid import UUID

from dpe_cli import optional_packages
from dpe_cli.blocks import cursors
from dpe_cli.blocks.block import Block
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.inputs import Opened
from dpe_cli.errors import InputError
from dpe_cli.safe_text.redaction import redact
from dpe_cli.safe_text.server_messages import without_details
from dpe_cli.sources import secrets
from dpe_cli.sources.options.queries import Sql
from dpe_cli.sources.query_inputs import TableInput
from dpe_cli.sources.read import rows
from dpe_cli.sources.read.limited_calls import LateError, LimitedCalls

_T = TypeVar("_T")

_ROWS_AT_ONCE = 5000
# Databases that are started when they are needed take a minute.
_CONNECT_SECONDS = 120.0
# Longer than any query; a socket takes no more.
_LONGEST_READ = 1e6
_OF_MYSQL = frozenset({"mysql", "mariadb"})
# How databases without these types keep their values: BIT(1) and BINARY(16). Other bytes stay bytes, which the loader rejects.
_BITS = {b"\0": "false", b"\1": "true"}
_UUID_BYTES = 16


class Database:
    """A connection to a database, of which no call takes longer than the source's timeout, whatever its driver waits for."""

    def __init__(self, options: Sql, where: str) -> None:
        self.connection: Any = None
        self._options = options
        self._where = where
        self._calls = LimitedCalls()

    def run(self, function: Callable[[], _T], *, seconds: float = math.inf) -> _T:
        """
        Call a function that uses the connection.

        Raises:
            InputError: it took too long.
        """
        seconds = min(seconds, self._options.timeout)
        try:
            return self._calls.run(seconds, function)
        except LateError as error:
            if self.connection is not None and self.connection.dialect.name == "sqlite":
                # It does not wait, but computes.
                self.connection.connection.driver_connection.interrupt()
            raise InputError(
                f"{self._where}: the database sent nothing for {seconds:g} seconds; extract again, "
                "or set a longer `timeout` if its query takes longer"
            ) from error

    def connect(self, engine: Any) -> None:
        """Connect, and begin a transaction."""
        self.connection = self.run(engine.connect, seconds=_CONNECT_SECONDS)
        self.run(lambda: _prepare(self.connection))

    def close(self) -> None:
        """Roll back and disconnect; a connection that a driver still waits for is left to it, until the process ends."""
        if self.connection is not None and not self._calls.is_late:
            self.run(self.connection.close)
        self._calls.close()


@contextmanager
def connected(options: Sql, *, where: str, project_dir: Path) -> Iterator[Database]:
    """
    Connect, and begin a transaction; `where` is what messages call the database.

    Raises:
        InputError: it is not reachable, refuses to be read, or does not answer.
    """
    alchemy: Any = optional_packages.needed("sqlalchemy", by=where)
    try:
        url = _url(alchemy.make_url(secrets.filled(options.location, where=where, in_url=True)), where, project_dir)
        engine = alchemy.create_engine(url, poolclass=alchemy.pool.NullPool, connect_args=_given_to(url, options.timeout))
        database = Database(options, where)
        try:
            database.connect(engine)
            yield database
        finally:
            database.close()
    except alchemy.exc.NoSuchModuleError as error:
        raise InputError(f"{where}: SQLAlchemy does not know this database ({error}); install the package of its dialect") from error
    except ModuleNotFoundError as error:
        raise InputError(f"{where}: needs the driver {error.name}; install it with pip, or name another one in the URL") from error
    except alchemy.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        message = " ".join(redact(without_details(str(cause))).split())
        raise InputError(f"{where}: cannot be read ({message}); correct location, table or query") from error


def _given_to(url: Any, timeout: float) -> dict[str, Any]:
    """Return arguments of a driver that ends its own waiting, after dpe did; what the URL says counts more."""
    if url.get_driver_name() != "pymysql" or "read_timeout" in url.query:
        return {}
    return {"read_timeout": math.ceil(min(timeout, _LONGEST_READ)) + 1}


def _prepare(connection: Any) -> None:
    """Make values arrive as they are stored."""
    if connection.dialect.name in _OF_MYSQL:
        # Otherwise a timestamp would be in the time zone of the server, and without a zone.
        connection.exec_driver_sql("set time_zone = '+00:00'")
    if connection.dialect.name == "sqlite":
        # SQLite does not check its texts. Bytes that are not UTF-8 pass through, so that the loader rejects their row and no other.
        connection.connection.driver_connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")


def _url(url: Any, where: str, project_dir: Path) -> Any:
    """Return a database's URL. A file's path is relative to the project, and the file has to exist: SQLite would create an empty one."""
    if url.get_backend_name() != "sqlite" or not url.database or url.query.get("uri"):
        return url
    path = project_dir / url.database
    if not path.is_file():
        raise InputError(f"{where}: this file does not exist; correct the location, which is relative to the project")
    return url.set(database=str(path))


class SqlTable(TableInput):
    """A table or a query of a database that SQLAlchemy supports."""

    def __init__(self, options: Sql, columns: Sequence[Column], *, project_dir: Path) -> None:
        super().__init__(options, columns)
        self._project_dir = project_dir
        self._sqlalchemy: ModuleType = optional_packages.needed("sqlalchemy", by=self.location)

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """
        Connect, and begin a transaction.

        Raises:
            InputError: the database is not reachable, or refuses to be read.
        """
        with connected(self._options, where=self.location, project_dir=self._project_dir) as database:
            query = database.run(lambda: self._query(database.connection))
            yield _OpenedQuery(self, database, query)

    def _query(self, connection: Any) -> Any:
        """Return the query, limited to new rows."""
        alchemy = self._sqlalchemy
        options = self._options
        shortened: set[str] = set()
        if options.query is not None:
            given = options.query.strip().removesuffix(";").replace(":", "\\:")
            text = alchemy.text(given)
            # Its columns without its rows, which a driver may fetch all at once.
            names = list(connection.execute(alchemy.text(f"select * from ({given}\n) dpe_query where 1 = 0")).keys())
            relation = text.columns(*map(alchemy.column, names)).subquery("dpe_query")
        else:
            schema, _, name = (options.table or "").rpartition(".")
            known = alchemy.inspect(connection)
            if not (known.has_table(name, schema=schema or None) or name in known.get_view_names(schema=schema or None)):
                raise InputError(f"{self.location}: table {options.table} does not exist; correct `table`")
            described = known.get_columns(name, schema=schema or None)
            names = [column["name"] for column in described]
            relation = alchemy.table(name, *map(alchemy.column, names), schema=schema or None)
            if connection.dialect.name in _OF_MYSQL:
                shortened = {column["name"] for column in described if isinstance(column["type"], alchemy.types.FLOAT)}
        query = alchemy.select(*(self._exact(relation.c[name], shortened) for name in self._taken(names)))
        incremental = options.incremental
        column = incremental.column(self._columns) if incremental else None
        if incremental is None or column is None:
            return query
        start = incremental.start(self.after)
        cursor = relation.c[self._delivered_as(column, names)]
        condition = alchemy.true() if start is None else cursor >= _comparable(start, column.data_type)
        end = connection.execute(alchemy.select(alchemy.func.max(cursor)).where(condition)).scalar()
        # As the database writes it: a database that keeps times as text compares them as text.
        self._end = None if end is None else str(end)
        # It is unknown when a row without a cursor arrived.
        return query.where(alchemy.or_(condition, cursor.is_(None)))

    def _exact(self, column: Any, shortened: Collection[str]) -> Any:
        """Return a column; as a double, which has all digits, if MySQL and MariaDB would show only six of them (FLOAT)."""
        return (column * self._sqlalchemy.literal_column("1e0")).label(column.name) if column.name in shortened else column

    def converters(self, names: Sequence[str]) -> list[tuple[int, Callable[[bytes], str | bytes]]]:
        """Return, by the index of their column in `names`, what turns bytes into values of the contract's types."""
        types = {column.name: column.data_type.strip().lower() for column in self._columns}
        found = ((index, _CONVERTERS.get(types.get(name, ""))) for index, name in enumerate(names))
        return [(index, converter) for index, converter in found if converter]


def _boolean(value: bytes) -> str | bytes:
    return _BITS.get(value, value)


def _uuid(value: bytes) -> str | bytes:
    return str(UUID(bytes=value)) if len(value) == _UUID_BYTES else value


_CONVERTERS: Mapping[str, Callable[[bytes], str | bytes]] = {"boolean": _boolean, "bool": _boolean, "uuid": _uuid}


def _comparable(start: str | float, data_type: str) -> str | int | float | Decimal:
    """
    Return the starting value in the form in which the database compares it.

    A time is written without T and zone: as text, that sorts before the full form, so that too much is read rather than too little.
    """
    if not isinstance(start, str):
        return start
    match cursors.kind(data_type):
        case "time":
            return re.sub(r"(?<=\d)T(?=\d)", " ", start).removesuffix("+00:00")
        case "whole number":
            return int(start)
        case "number":
            return Decimal(start)
    return start


class _OpenedQuery:
    """A query whose columns are known."""

    dialect: Dialect = rows.DIALECT

    def __init__(self, table: SqlTable, database: Database, query: Any) -> None:
        self._table = table
        self._database = database
        self._query = query
        self.columns = tuple(column.name for column in query.selected_columns)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        read = 0
        for block in rows.numbered(rows.blocks(self._converted(self._rows())), self.columns):
            read += len(block.data)
            yield block
        self._table.size = read

    def _rows(self) -> Iterator[Sequence[Any]]:
        """Yield the rows; each time that some are fetched, this may take as long as the source's timeout."""
        run = self._database.run
        connection = self._database.connection.execution_options(stream_results=True)
        result = run(lambda: connection.execute(self._query).yield_per(_ROWS_AT_ONCE))
        while fetched := run(lambda: result.fetchmany(_ROWS_AT_ONCE)):
            yield from fetched

    def _converted(self, result: Iterable[Sequence[Any]]) -> Iterable[Sequence[Any]]:
        """Return the rows, with values instead of the bytes that stand for them."""
        converters = self._table.converters(self.columns)
        return (_with_values(row, converters) for row in result) if converters else result


def _with_values(row: Sequence[Any], converters: Sequence[tuple[int, Callable[[bytes], str | bytes]]]) -> list[Any]:
    values = list(row)
    for index, converter in converters:
        if isinstance(values[index], bytes):
            values[index] = converter(values[index])
    return values
