"""The records of a spec's source, and questions about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from dpe_cli.infer import request as infer_request
from dpe_cli.infer import value_kinds
from dpe_cli.infer.request import Request
from dpe_cli.infer.value_kinds import Values
from dpe_cli.specs import vocabulary
from dpe_cli.specs.reading import wording
from dpe_cli.specs.requirement import SourceEntry
from dpe_cli.specs.text import Text

_FORMATS: Mapping[str, str] = {
    "csv": r"\bcsv\b|\btsv\b",
    "jsonl": r"\bjson ?lines\b|\bjsonl\b|\bndjson\b",
    "json": r"\bjson\b",
    "parquet": r"\bparquet\b",
    "excel": r"\bexcel\b|\bxlsx?\b|\bspreadsheet\b|\bworkbook\b",
    "fixed_width": r"\bfixed.width\b",
    "sql": r"\bsqlite\b|\bpostgres(?:ql)?\b|\bmysql\b|\bmariadb\b|\bdatabase\b",
    "rest": r"\brest\b|\bapi\b",
}
_SHEET = re.compile(
    r"\[(?P<bracket>[^\]]+)\]|\b(?:sheet|tab|worksheet)\b:?\s+[`\"'“„]?(?P<named>[\w .-]+?)[`\"'”]?\s*(?:$|[,;)])", re.IGNORECASE
)
_TABLE = re.compile(r"\btable\b:?\s+`?(?P<table>\w+(?:\.\w+)?)`?", re.IGNORECASE)
# The values of a column that are not there, however a delivery writes them.
_BLANK = "({place} is null or trim({place}) = '')"


@dataclass(frozen=True)
class Occurrence:
    """A value, the number of records that have it, and the number of the first one, counted from 1 in its file."""

    value: str
    count: int
    record: int


@dataclass(frozen=True)
class SourceData:
    """
    The records of a source, in DuckDB's table `sampled`, with missing values as null.

    `places` are the names of its columns there. `is_cut`: there may be more records than were read. `midnights_are_dates`: the format has no
    dates without a time.
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

    def blanks(self, column: str) -> Occurrence | None:
        """Return the records that have no value in a column."""
        return self._first(_BLANK.format(place=self.places[column]), "''")

    def matching(self, column: str, condition: str) -> Occurrence | None:
        """Return the values of a column for which a condition of DuckDB holds, in which `v` stands for the value without blanks around it."""
        place = self.places[column]
        return self._first(f"not {_BLANK.format(place=place)} and ({re.sub(r'(?<![a-z])v(?![a-z])', f'trim({place})', condition)})", place)

    def repeated(self, columns: Sequence[str]) -> tuple[str, tuple[int, ...], int] | None:
        """
        Return a value of a key that occurs more than once in a file, the numbers of the records with it, and how many values do.

        Keys without a value are not compared.
        """
        places = [self.places[column] for column in columns]
        keys = ", ".join(f"trim({place})" for place in places)
        filled = " and ".join(f"not {_BLANK.format(place=place)}" for place in places)
        numbered = f"select {keys}, location, {_NUMBER} as number from sampled where {filled}"
        names = ", ".join(f"k{number}" for number in range(len(places)))
        found = self.connection.execute(
            f"""
            with numbered({names}, location, number) as ({numbered}),
            doubled as (
                select {names}, location, list(number order by number) as numbers from numbered group by all having count(*) > 1
            )
            select {names}, numbers, (select count(*) from doubled) from doubled order by numbers[1] limit 1
            """  # noqa: S608 names of DuckDB's columns, made above
        ).fetchone()
        if found is None:
            return None
        *values, numbers, count = found
        return ", ".join(map(str, values)), tuple(numbers), int(count)

    def count(self, condition: str = "true", *arguments: str) -> int:
        """Return the number of records for which a condition holds."""
        (count,) = self.connection.execute(f"select count(*) from sampled where {condition}", list(arguments)).fetchone()  # noqa: S608
        return int(count)

    def distinct(self, column: str) -> int:
        """Return the number of different values of a column."""
        place = self.places[column]
        (count,) = self.connection.execute(
            f"select count(distinct trim({place})) from sampled where not {_BLANK.format(place=place)}"
        ).fetchone()  # noqa: S608
        return int(count)

    def sum(self, column: str, condition: str, *arguments: str) -> Decimal | None:
        """Return the sum of a column, as exact as its values are written; None if one of them is not a number."""
        place = self.places[column]
        query = f"select sum(try_cast(trim({place}) as decimal(38, 9))), count(*) filter (trim({place}) <> '' and try_cast(trim({place}) as decimal(38, 9)) is null) from sampled where {condition}"  # noqa: S608
        found, others = self.connection.execute(query, list(arguments)).fetchone()
        return None if others or found is None else Decimal(found).normalize()

    def column_with(self, values: Sequence[str]) -> str | None:
        """Return the only column that has all these values; None if there are several, or none."""
        found = [name for name, place in self.places.items() if all(self.count(f"trim({place}) = ?", value) for value in values)]
        return found[0] if len(found) == 1 else None

    def _first(self, condition: str, shown: str) -> Occurrence | None:
        count, value, number = self.connection.execute(
            f"select count(*), arg_min({shown}, number), min(number) from (select *, {_NUMBER} as number from sampled) where {condition}"  # noqa: S608
        ).fetchone()
        return Occurrence(str(value or ""), int(count), int(number)) if count else None


# The number of a record within its file; the records were inserted in their order.
_NUMBER = "(row_number() over (partition by location order by rowid))"


@contextmanager
def read(source: SourceEntry, project_dir: Path) -> Iterator[SourceData]:
    """
    Read the records of a source where the spec says that they are.

    Raises:
        InputError: it cannot be read, or has no records.
        UsageError: what the spec says of it cannot be understood, or a package is missing.
    """
    location = wording.location(source.location).bare
    about = Text(" ".join((source.location.value, source.format.value)), source.line)
    sheet, table = (
        _SHEET.search(about.bare.replace(location, " ")),
        _TABLE.search(f"{about.bare.replace(location, ' ')} {source.what.bare}"),
    )
    file_format = _format(source, location)
    request = Request(
        location=location,
        name=source.name.bare if re.fullmatch(r"[a-z_]\w*\.[a-z_]\w*", source.name.bare) else None,
        file_format=file_format,
        table=(table["table"] if table is not None else source.table) if file_format == "sql" else None,
        sheet=(sheet["bracket"] or sheet["named"]).strip() if sheet is not None and file_format == "excel" else None,
        allow_private_addresses=True,
    )
    with infer_request.examined(request, project_dir) as examined:
        places = {draft.name: place for draft in examined.survey.drafts if (place := examined.place(draft.name)) is not None}
        is_cut = any(input_.is_cut for input_ in examined.sample.inputs)
        yield SourceData(examined.sample.connection, places, examined.sample.records, is_cut, examined.survey.midnights_are_dates)


def _format(source: SourceEntry, location: str) -> str | None:
    """Return the format that the location tells, or the spec; None to find it out."""
    if "://" in location and not location.startswith(("http://", "https://", "s3://", "gs://", "az://", "sftp://", "file://")):
        return "sql"
    if re.search(r"\.xls[xm]$", location, re.IGNORECASE):
        return "excel"
    said = source.format.lower
    found = next((name for name, wording_ in _FORMATS.items() if re.search(wording_, said)), None)
    return None if found == "csv" else found
