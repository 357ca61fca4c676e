"""Look at a source, and say what dbt's YAML for it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from dpe_cli.blocks.contract import Column
from dpe_cli.errors import InputError
from dpe_cli.infer import column_types, naming, value_kinds
from dpe_cli.infer.readers import apis, databases, files
from dpe_cli.infer.sample import Looked, looked
from dpe_cli.infer.survey import Asked, Draft, Look
from dpe_cli.infer.value_kinds import Values
from dpe_cli.safe_text.redaction import HIDDEN, hide
from dpe_cli.sources.options import parse
from dpe_cli.words import plural

# Of fewer records, it may be chance that no value comes twice.
_ENOUGH_FOR_UNIQUE = 20
# Keys are of these types; that no two measurements are alike says nothing.
_KEYS = ("text", "integer", "bigint", "smallint", "uuid", "numeric", "character")
_LONGEST_NAME = 63
# dbt would run it, and with it fail, or read it as something else.
_JINJA = re.compile(r"\{[{%#]")
# Options that are words of the source, in which a server may echo a secret.
_OF_THE_SOURCE = {"data_selector", "records", "null_string", "sheet"}
_DPES_OWN = re.compile(r"_load_id|_slice_id|_ignored_.*")


@dataclass(frozen=True)
class FoundColumn:
    """A column of the contract; `tests` hold in all that was looked at, and `note` says why its type is what it is."""

    name: str
    data_type: str
    description: str
    path: str | None
    start: int | None
    width: int | None
    tests: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class Found:
    """A source table, as dbt's YAML has it; `notes` are for whoever completes it."""

    source: str
    table: str
    description: str
    external: Mapping[str, object]
    columns: Sequence[FoundColumn]
    notes: Sequence[str]
    records: int

    @property
    def name(self) -> str:
        """The name by which dpe and dbt know it."""
        return f"{self.source}.{self.table}"


def infer(asked: Asked) -> Found:
    """
    Look at a source's records, and return what they are.

    Raises:
        InputError: there are none, or they cannot be read.
        UsageError: something has to be said that nothing tells, or a package is missing.
    """
    with ExitStack() as stack:
        look = _look(asked, stack)
        found = stack.enter_context(looked(look.parts))
        if not found.records:
            bad = _refused(found)
            raise InputError(f"{asked.location}: there is no record to look at{f' ({bad})' if bad else ''}; name a source that has some")
        null_string, seen = _seen(look, found)
        return _found(asked, look, found, null_string, seen)


def _look(asked: Asked, stack: ExitStack) -> Look:
    if asked.file_format == "sql" or (asked.file_format is None and naming.is_database(asked.location)):
        return databases.look(asked)
    if asked.file_format == "rest" or (asked.file_format is None and naming.is_api(asked.location)):
        return apis.look(asked, stack)
    return files.look(asked, stack)


def _seen(look: Look, found: Looked) -> tuple[str, dict[str, Values]]:
    """Return the word for missing values, if there is one, and what was seen in each column with it."""
    found.load("")
    seen = _values(look, found)
    if not look.may_have_null_string:
        return "", seen
    drafts = list(look.drafts)
    word = column_types.null_string(drafts, [seen[draft.field] for draft in drafts], blanks_are_null=look.blanks_are_null)
    if not word:
        return "", seen
    found.load(word, blanks_are_null=look.blanks_are_null)
    with_word = _values(look, found)
    # In quotes it may have been a text.
    typed = [sum(column_types.of(draft, values[draft.field]) != "text" for draft in drafts) for values in (seen, with_word)]
    return (word, with_word) if typed[1] > typed[0] else ("", seen)


def _values(look: Look, found: Looked) -> dict[str, Values]:
    places = {name: f"c{number}" for number, name in enumerate(found.columns)}
    return {draft.field: value_kinds.of_column(found.connection, places[draft.field]) for draft in look.drafts}


def _found(asked: Asked, look: Look, found: Looked, null_string: str, seen: Mapping[str, Values]) -> Found:
    written = {"location": asked.location, **look.options}
    if null_string:
        written["null_string"] = null_string
    notes = [_basis(found), *look.notes]
    if bad := _refused(found):
        notes.append(f"{bad}; have them corrected, or allow for them in rejects")
    kept = [draft for draft in look.drafts if _is_usable(draft)]
    if len(kept) < len(look.drafts):
        left_out = ", ".join(repr(HIDDEN if _is_secret(draft) else draft.name) for draft in look.drafts if not _is_usable(draft))
        notes.append(f"left out, for PostgreSQL, dpe or dbt cannot have a column of that name: {left_out}")
        written["extra_columns"] = "ignore"
    if not kept:
        raise InputError(f"{asked.location}: PostgreSQL can have none of its columns ({notes[-1]}); have them named otherwise")
    written["rejects"] = {"max_rows": 0}
    columns = [_column(draft, seen[draft.field], look) for draft in kept]
    done = Found(asked.source, asked.table, hide(look.description), written, columns, list(map(hide, notes)), found.records)
    _check(done)
    return done


def _column(draft: Draft, values: Values, look: Look) -> FoundColumn:
    data_type = column_types.of(draft, values, midnights_are_dates=look.midnights_are_dates)
    is_required = draft.is_required or (values.nulls == 0 and values.records > 0)
    # Nor does a fraction tell records apart.
    is_key = (
        data_type.startswith(_KEYS)
        and "decimal" not in values.kinds
        and values.records >= _ENOUGH_FOR_UNIQUE
        and values.distinct == values.records
    )
    tests = (("not_null",) if is_required else ()) + (("unique",) if is_required and (draft.is_unique or is_key) else ())
    note = column_types.why_text(draft, values, may_have_null_string=look.may_have_null_string) if data_type == "text" else ""
    if values.nulls == values.records and draft.declared is None:
        note = "no value was seen: give it the type that it is to have"
    return FoundColumn(draft.name, data_type, hide(draft.description), draft.path, draft.start, draft.width, tests, note)


def _is_secret(draft: Draft) -> bool:
    """Tell whether a server echoed a secret as a column's name."""
    return any(text is not None and hide(text) != text for text in (draft.name, draft.path))


def _is_usable(draft: Draft) -> bool:
    name = draft.name
    is_possible = 0 < len(name.encode()) <= _LONGEST_NAME and not _DPES_OWN.fullmatch(name)
    return is_possible and not _JINJA.search(f"{name} {draft.path}") and not _is_secret(draft)


def _basis(found: Looked) -> str:
    """Return on how many records the result rests."""
    inputs = len(found.inputs)
    among = f" in {inputs:,} files" if inputs > 1 else ""
    if any(one.is_cut for one in found.inputs):
        return f"inferred from {plural(found.records, 'record')}{among}, and there may be more: --sample looks at others"
    return f"inferred from {plural(found.records, 'record')}{among}, all that there are now"


def _refused(found: Looked) -> str:
    count = sum(one.refused for one in found.inputs)
    if not count:
        return ""
    first = next(one for one in found.inputs if one.refused)
    where = f"{first.location}, line {first.first_refused}" if first.first_refused else first.location
    return f"{plural(count, 'record')} cannot be read as the others, the first at {where}"


def _check(done: Found) -> None:
    """Have it checked as it will be when it is extracted."""
    for name, value in done.external.items():
        if _JINJA.search(str(value)):
            raise InputError(f"{done.name}: {name} is {value}, in which dbt would see Jinja; have it named otherwise")
        if name in _OF_THE_SOURCE and hide(str(value)) != str(value):
            raise InputError(f"{done.name}: {name} is {value}, which holds a secret of the location; rename it at the source")
    columns = [Column(one.name, one.data_type, path=one.path, start=one.start, width=one.width) for one in done.columns]
    parse.parse(done.external, columns, place=parse.Place(done.name, "inferred"))
