"""The records of a spec's source, and questions about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from dpe_cli.infer import value_kinds
from dpe_cli.infer.value_kinds import Values
from dpe_cli.specs import vocabulary
from dpe_cli.specs.phrases import Meanings
from dpe_cli.specs.reading import wording
from dpe_cli.specs.requirement import SourceEntry
from dpe_cli.specs.text import Text

_FORMATS = Meanings("sources", "format names")
_SHEET = re.compile(
    r"\[(?P<bracket>[^\]]+)\]|\b(?:sheet|tab|worksheet)\b:?\s+[`\"'“„]?(?P<named>[\w .-]+?)[`\"'”]?\s*(?:$|[,;)])", re.IGNORECASE
)
_TABLE = re.compile(r"\btable\b:?\s+`?(?P<table>\w+(?:\.\w+)?)`?", re.IGNORECASE)


@dataclass(frozen=True)
class Occurrence:
    """A value, the number of records that have it, and the number of the first one, counted from 1 in its file."""

    value: str
    count: int
    record: int


@dataclass(frozen=True)
class Condition:
    """A condition of DuckDB, with the values of its parameters. Its text names columns by their places, and no value."""

    text: str
    values: tuple[object, ...] = ()


@dataclass(frozen=True)
class SourceData:
    """
    The records of a source, in DuckDB's table `sampled`, with missing values as null.

    `places` are the names of its columns there. `is_cut`: there may be more records than were read. `midnights_are_dates`: the format
    has no dates without a time.
    """

    connection: Any
    places: Mapping[str, str]
    records: int
    is_cut: bool
    midnights_are_dates: bool = False

    def find(self, name: str) -> str | None:
        """Return the source's own name of a column, which the spec may write in other letters; None if it has no such column."""
        if name in self.places:
            return name
        wanted = vocabulary.words_of(name)
        return next((own for own in self.places if own.casefold() == name.casefold() or vocabulary.words_of(own) == wanted), None)

    def values(self, column: str) -> Values:
        """Return the kinds of value of a column."""
        return value_kinds.of_column(self.connection, self.places[column])

    def is_blank(self, column: str) -> Condition:
        """Return the condition that a record has no value in a column, however a delivery writes that."""
        place = self.places[column]
        return Condition(f"({place} is null or trim({place}) = '')")

    def is_filled(self, column: str) -> Condition:
        """Return the condition that a record has a value in a column."""
        return Condition(f"not {self.is_blank(column).text}")

    def is_value(self, column: str, value: str, *, in_any_case: bool = False) -> Condition:
        """Return the condition that a column has a value, apart from blanks around it."""
        place = self.places[column]
        return Condition(f"lower(trim({place})) = lower(?)" if in_any_case else f"trim({place}) = ?", (value,))

    def is_not_a_time(self, column: str, time_format: str) -> Condition:
        """Return the condition that a value is not a time written in a format of strptime."""
        return Condition(f"try_strptime(trim({self.places[column]}), ?) is null", (time_format,))

    def is_not_boolean(self, column: str) -> Condition:
        """Return the condition that a value is not one that PostgreSQL takes for a boolean."""
        return Condition(
            f"lower(trim({self.places[column]})) not in ('true', 'false', 't', 'f', 'yes', 'no', 'y', 'n', 'on', 'off', '1', '0')"
        )

    def is_beyond(self, column: str, limit: int) -> Condition:
        """Return the condition that a whole number is not from -limit to limit - 1."""
        return Condition(f"try_cast(trim({self.places[column]}) as hugeint) not between ?::hugeint and ?::hugeint", (-limit, limit - 1))

    def blanks(self, column: str) -> Occurrence | None:
        """Return the records that have no value in a column."""
        return self._first([self.is_blank(column)], "''")

    def matching(self, column: str, condition: Condition) -> Occurrence | None:
        """Return the values of a column for which a condition holds."""
        return self._first([self.is_filled(column), condition], self.places[column])

    def repeated(self, columns: Sequence[str]) -> tuple[str, tuple[int, ...], int] | None:
        """
        Return a value of a key that occurs more than once in a file, the numbers of the records with it, and how many values do.

        Keys without a value are not compared.
        """
        keys = ", ".join(f"trim({self.places[column]})" for column in columns)
        filled = " and ".join(self.is_filled(column).text for column in columns)
        names = ", ".join(f"k{number}" for number in range(len(columns)))
        found = self.connection.execute(
            f"""
            with filled({names}, location, number) as (select {keys}, location, rowid from sampled where {filled}),
            doubled as (
                select {names}, location, list(number order by number) as numbers from filled group by all having count(*) > 1
            )
            select {names}, location, numbers, (select count(*) from doubled) from doubled order by numbers[1] limit 1
            """  # noqa: S608 the names are those of DuckDB's columns, made above
        ).fetchone()
        if found is None:
            return None
        *values, location, numbers, count = found
        before = self._before(location)
        return ", ".join(map(str, values)), tuple(number - before for number in numbers), int(count)

    def count(self, conditions: Sequence[Condition]) -> int:
        """Return the number of records for which all conditions hold."""
        (count,) = self._row("select count(*) from sampled", conditions)
        return int(count)

    def distinct(self, column: str) -> int:
        """Return the number of different values of a column."""
        query = f"select count(distinct trim({self.places[column]})) from sampled"  # noqa: S608 as above
        (count,) = self._row(query, [self.is_filled(column)])
        return int(count)

    def sum(self, column: str, conditions: Sequence[Condition]) -> Decimal | None:
        """Return the sum of a column, as exact as its values are written; None if one of them is not a number."""
        value = f"trim({self.places[column]})"
        number = f"try_cast({value} as decimal(38, 9))"
        found, others = self._row(
            f"select sum({number}), count(*) filter ({value} <> '' and {number} is null) from sampled",  # noqa: S608 as above
            conditions,
        )
        return None if others or found is None else Decimal(found).normalize()

    def column_with(self, values: Sequence[str]) -> str | None:
        """Return the only column that has all these values; None if there are several, or none."""
        found = [name for name in self.places if all(self.count([self.is_value(name, value)]) for value in values)]
        return found[0] if len(found) == 1 else None

    def _first(self, conditions: Sequence[Condition], shown: str) -> Occurrence | None:
        query = f"select count(*), arg_min({shown}, rowid), min(rowid), arg_min(location, rowid) from sampled"  # noqa: S608 as above
        count, value, number, location = self._row(query, conditions)
        return Occurrence(str(value or ""), int(count), int(number) - self._before(location)) if count else None

    def _before(self, location: str) -> int:
        """Return what is to be subtracted from DuckDB's number of a record for its number in its file: files follow each other."""
        (first,) = self.connection.execute("select min(rowid) from sampled where location = ?", [location]).fetchone()
        return int(first) - 1

    def _row(self, query: str, conditions: Sequence[Condition]) -> tuple[Any, ...]:
        """Return the row of a query about the records for which all conditions hold."""
        where = " and ".join(condition.text for condition in conditions) or "true"
        values = [value for condition in conditions for value in condition.values]
        row: tuple[Any, ...] = self.connection.execute(f"{query} where {where}", values).fetchone()
        return row


@contextmanager
def read(source: SourceEntry, project_dir: Path) -> Iterator[SourceData]:
    """
    Read the records of a source where the spec says that they are.

    Raises:
        InputError: it cannot be read, or has no records.
        UsageError: what the spec says of it cannot be understood, or a package is missing.
    """
    from dpe_cli.infer import request as infer_request  # only once records are read, with all that reads them

    location = wording.location(source.location).bare
    location = str(Path(location).expanduser()) if location.startswith("~/") else location
    about = Text(f"{source.location.value} {source.format.value}", source.line).bare.replace(location, " ")
    sheet, table = _SHEET.search(about), _TABLE.search(f"{about} {source.what.bare}")
    file_format = _format(source, location)
    request = infer_request.Request(
        location=location,
        name=source.name.bare if re.fullmatch(r"[a-z_]\w*\.[a-z_]\w*", source.name.bare) else None,
        file_format=file_format,
        table=(table["table"] if table is not None else source.table) if file_format == "sql" else None,
        sheet=(sheet["bracket"] or sheet["named"]).strip() if sheet is not None and file_format == "excel" else None,
        # Who writes a spec does not decide which inner addresses are called.
        allow_private_addresses=False,
    )
    with infer_request.examined(request, project_dir) as examined:
        sample = examined.sample
        yield SourceData(sample.connection, examined.places, sample.records, sample.is_cut, examined.survey.midnights_are_dates)


def _format(source: SourceEntry, location: str) -> str | None:
    """Return the format that the location tells, or the spec; None to find it out."""
    if "://" in location and not location.startswith(("http://", "https://", "s3://", "gs://", "az://", "sftp://", "file://")):
        return "sql"
    if re.search(r"\.xls[xm]$", location, re.IGNORECASE):
        return "excel"
    found = _FORMATS.within(source.format.lower)
    return None if found == "csv" else found or None
