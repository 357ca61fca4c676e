"""Inspect a source, and derive dbt's YAML for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from dpe_cli.blocks import reading
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.yaml_line import has_jinja, is_declarable
from dpe_cli.errors import InputError
from dpe_cli.infer import column_types, naming, value_kinds
from dpe_cli.infer.readers import apis, databases, files
from dpe_cli.infer.sample import Sample, take_sample
from dpe_cli.infer.survey import Draft, Survey, SurveyRequest, check_number
from dpe_cli.infer.value_kinds import SLASHED_DATE, SLASHED_FORMAT, Values
from dpe_cli.safe_text.redaction import HIDDEN, excerpt, hide
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.sources.options import parse
from dpe_cli.words import plural

# With fewer records, distinct values may be a coincidence.
_ENOUGH_FOR_UNIQUE = 20
# Keys have these types; distinct measurements do not make a key.
_KEYS = ("text", "integer", "bigint", "smallint", "uuid", "numeric", "character")
# Options taken from the source's own words, in which a server may echo a secret.
_OF_THE_SOURCE = {"data_selector", "records", "null_string", "sheet"}
_DPES_OWN = re.compile(r"_load_id|_slice_id|_ignored_.*")


@dataclass(frozen=True)
class InferredColumn:
    """A column of the contract; its `tests` held for all sampled records, and `note` explains its type."""

    name: str
    data_type: str
    description: str
    path: str | None
    start: int | None
    width: int | None
    format: str | None
    tests: tuple[str, ...]
    note: str


@dataclass(frozen=True)
class InferredTable:
    """A source table, as in dbt's YAML; `notes` are for the person who completes it."""

    source: str
    table: str
    description: str
    external: Mapping[str, object]
    columns: Sequence[InferredColumn]
    notes: Sequence[str]
    records: int

    @property
    def name(self) -> str:
        """The table's name in dpe and dbt."""
        return f"{self.source}.{self.table}"


@dataclass(frozen=True)
class Examined:
    """A source whose records were inspected; `sample` has them in DuckDB's table `sampled`, with missing values as null."""

    sample: Sample
    survey: Survey
    table: InferredTable

    @property
    def places(self) -> dict[str, str]:
        """The names of the columns in `sampled`, by their names in the source."""
        places = self.sample.places
        return {draft.name: places[draft.field] for draft in self.survey.drafts if draft.field in places}


def infer(request: SurveyRequest) -> InferredTable:
    """
    Inspect a source's records, and return its description.

    Raises:
        InputError: it has no records, or cannot be read.
        UsageError: an option is missing that cannot be detected, or a package is missing.
    """
    with examine(request) as examined:
        return examined.table


@contextmanager
def examine(request: SurveyRequest) -> Iterator[Examined]:
    """
    Inspect a source's records, and keep them for further questions.

    Raises:
        InputError: it has no records, or cannot be read.
        UsageError: an option is missing that cannot be detected, or a package is missing.
    """
    with ExitStack() as stack:
        with reading.searching(request.location):
            survey = _survey(request, stack)
        check_number(len(survey.drafts), location=request.location)
        sample = stack.enter_context(take_sample(survey.parts))
        if not sample.records:
            bad = _refused(sample)
            raise InputError(f"{request.location}: it has no records to inspect{f' ({bad})' if bad else ''}; name a source that has some")
        null_string, seen = _seen(survey, sample)
        yield Examined(sample, survey, _table(request, survey, sample, null_string, seen))


def _survey(request: SurveyRequest, stack: ExitStack) -> Survey:
    if request.file_format == "sql" or (request.file_format is None and naming.is_database(request.location)):
        return databases.survey(request)
    if request.file_format == "rest" or (request.file_format is None and naming.is_api(request.location)):
        return apis.survey(request, stack)
    return files.survey(request, stack)


def _seen(survey: Survey, sample: Sample) -> tuple[str, dict[str, Values]]:
    """Return the word for missing values, if there is one, and the values of each column with it."""
    sample.load("")
    seen = _values(survey, sample)
    if not survey.may_have_null_string:
        return "", seen
    drafts = list(survey.drafts)
    word = column_types.null_string(drafts, [seen[draft.field] for draft in drafts], blanks_are_null=survey.blanks_are_null)
    if not word:
        return "", seen
    sample.load(word, blanks_are_null=survey.blanks_are_null)
    with_word = _values(survey, sample)
    # In quotes it may have been a text.
    typed = [sum(column_types.of(draft, values[draft.field]) != "text" for draft in drafts) for values in (seen, with_word)]
    if typed[1] > typed[0]:
        return word, with_word
    sample.load("")
    return "", seen


def _values(survey: Survey, sample: Sample) -> dict[str, Values]:
    places = sample.places
    return {draft.field: value_kinds.of_column(sample.connection, places[draft.field]) for draft in survey.drafts}


def _table(request: SurveyRequest, survey: Survey, sample: Sample, null_string: str, seen: Mapping[str, Values]) -> InferredTable:
    written = {"location": request.location, **survey.options}
    if null_string:
        written["null_string"] = null_string
    notes = [_basis(sample), *survey.notes]
    if bad := _refused(sample):
        notes.append(f"{bad}; rejects allows for them: ask the sender to correct them, and lower it again")
    kept = [draft for draft in survey.drafts if _is_usable(draft)]
    if len(kept) < len(survey.drafts):
        left_out = ", ".join(repr(HIDDEN if _is_secret(draft) else excerpt(draft.name)) for draft in survey.drafts if not _is_usable(draft))
        notes.append(f"left out, because PostgreSQL, dpe or dbt does not allow such column names: {left_out}")
        written["extra_columns"] = "ignore"
    if not kept:
        raise InputError(f"{request.location}: none of its column names can be used in PostgreSQL ({notes[-1]}); rename them at the source")
    written["rejects"] = {"max_rows": sum(input_.refused for input_ in sample.inputs)}
    columns = [_column(draft, seen[draft.field], survey) for draft in kept]
    done = InferredTable(request.source, request.table, hide(survey.description), written, columns, list(map(hide, notes)), sample.records)
    _check(done)
    return done


def _column(draft: Draft, values: Values, survey: Survey) -> InferredColumn:
    data_type = column_types.of(draft, values, midnights_are_dates=survey.midnights_are_dates)
    is_required = draft.is_required or (values.nulls == 0 and values.records > 0)
    # A fraction does not identify records either.
    is_key = (
        data_type.startswith(_KEYS)
        and "decimal" not in values.kinds
        and values.records >= _ENOUGH_FOR_UNIQUE
        and values.distinct == values.records
    )
    tests = (("not_null",) if is_required else ()) + (("unique",) if is_required and (draft.is_unique or is_key) else ())
    note = column_types.why_text(draft, values, may_have_null_string=survey.may_have_null_string) if data_type == "text" else ""
    if values.nulls == values.records and draft.declared is None:
        note = "no value was seen: set the type"
    declared = SLASHED_FORMAT if data_type == "date" and SLASHED_DATE in values.kinds else None
    return InferredColumn(draft.name, data_type, hide(draft.description), draft.path, draft.start, draft.width, declared, tests, note)


def _is_secret(draft: Draft) -> bool:
    """Return whether a column's name is a secret that a server echoed."""
    return any(text is not None and hide(text) != text for text in (draft.name, draft.path))


def _is_usable(draft: Draft) -> bool:
    name = draft.name
    is_possible = is_declarable(name) and not _DPES_OWN.fullmatch(name)
    return is_possible and not has_jinja(draft.path or "") and not _is_secret(draft)


def _basis(sample: Sample) -> str:
    """Return how many records the result is based on."""
    inputs = len(sample.inputs)
    among = f" in {inputs:,} files" if inputs > 1 else ""
    if sample.is_cut:
        return f"inferred from {plural(sample.records, 'record')}{among}, and there may be more: set --sample to read more"
    return f"inferred from {plural(sample.records, 'record')}{among}, which is all there are now"


def _refused(sample: Sample) -> str:
    count = sum(input_.refused for input_ in sample.inputs)
    if not count:
        return ""
    first = next(input_ for input_ in sample.inputs if input_.refused)
    name = in_message(first.location)
    where = f"{name}, line {first.first_refused}" if first.first_refused else name
    return f"{plural(count, 'record')} cannot be read like the others, the first at {where}"


def _check(done: InferredTable) -> None:
    """Check it like an extract will."""
    for name, value in done.external.items():
        if has_jinja(str(value)):
            raise InputError(f"{done.name}: {name} is {value}, which dbt would evaluate as Jinja; rename it at the source")
        if name in _OF_THE_SOURCE and hide(str(value)) != str(value):
            raise InputError(f"{done.name}: {name} is {value}, which contains a secret of the location; rename it at the source")
    columns = [
        Column(column.name, column.data_type, path=column.path, start=column.start, width=column.width, format=column.format)
        for column in done.columns
    ]
    parse.parse(done.external, columns, declaration=parse.SourceDeclaration(done.name, "inferred"))
