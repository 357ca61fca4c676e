"""What the records of a source refute: columns, types, keys, blanks and figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dpe_cli.infer.value_kinds import SLASHED_DATE, KindStatistics
from dpe_cli.safe_text.redaction import excerpt
from dpe_cli.specs import vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.requirement import Contract, ContractColumn, Requirement, SourceEntry
from dpe_cli.specs.source_data import Occurrence, SourceData
from dpe_cli.words import nearest, plural

_WITHOUT_VALUE = Phrases("sources", "without value")
_INTEGERS = {"smallint": 2**15, "integer": 2**31, "int": 2**31, "bigint": 2**63}
_WHOLE, _ANY_NUMBER = frozenset({"integer"}), frozenset({"integer", "decimal", "float"})
_MOMENTS = frozenset({"timestamp", "timestamptz", "date"})
# The kinds of value that are of a type; None for one that takes any text.
_KINDS: tuple[tuple[str, frozenset[str] | None], ...] = (
    (r"smallint|int(?:eger)?|bigint|whole number|serial", _WHOLE),
    (r"num(?:eric|ber)?(?:\(.*\))?|dec(?:imal)?(?:\(.*\))?|float|real|double(?: precision)?|amount|money", _ANY_NUMBER),
    (r"bool(?:ean)?|yes/no", frozenset({"boolean"})),
    (r"date", frozenset({"date", SLASHED_DATE})),
    (r"timestamptz|timestamp with time zone", frozenset({"timestamptz"})),
    (r"timestamp(?: without time zone)?|date ?time", _MOMENTS),
    (r"uuid", frozenset({"uuid"})),
)
_FORMAT = re.compile(r"\b(?:DD|MM|YYYY|YY|HH24|HH|MI|SS)(?:[./ :-]+(?:DD|MM|YYYY|YY|HH24|HH|MI|SS|mm|ss))+\b")
_PARTS = {"YYYY": "%Y", "YY": "%y", "DD": "%d", "MM": "%m", "HH24": "%H", "HH": "%H", "MI": "%M", "SS": "%S", "mm": "%M", "ss": "%S"}
_PART = re.compile("|".join(_PARTS))
_ZONE_KNOWN = re.compile(r"\bUTC\b|\blocal\b|\btime\b", re.IGNORECASE)


def findings(requirement: Requirement, source: SourceEntry, data: SourceData) -> Iterator[SpecFinding]:
    """Yield what the records of a source refute."""
    contract = requirement.contract(source.name.bare)
    if contract is None:
        return
    found: dict[str, str] = {}
    for column in contract.columns:
        own = data.find(column.name.bare)
        if own is None:
            yield _missing(source, column, data)
        else:
            found[column.name.lower] = own
            yield from _of_column(requirement, source, column, own, data)
    yield from _key(source, contract, found, data)


def _missing(source: SourceEntry, column: ContractColumn, data: SourceData) -> SpecFinding:
    names = list(data.places)
    listed = ", ".join(excerpt(name) for name in names[:12]) + (", …" if len(names) > 12 else "")
    near = nearest(column.name.bare, names)
    return finding(
        "column_missing",
        column.name.line,
        f"{source.name.bare} has no column {column.name.bare}; it has {listed}",
        f"The spec lists the column {column.name.bare} of {source.name.bare}, and what is delivered has none ({listed}). Will "
        "it be delivered, or " + (f"is {near} meant?" if near else "does it have another name?"),
    )


def _of_column(requirement: Requirement, source: SourceEntry, column: ContractColumn, own: str, data: SourceData) -> Iterator[SpecFinding]:
    name = f"{source.name.bare}.{column.name.bare}"
    blanks = data.blanks(own)
    tenant = requirement.text_of("tenant").lower
    if blanks is not None and tenant == column.name.lower and not _says_of_blanks(requirement, column):
        yield finding(
            "tenant_blank",
            column.name.line,
            f"{plural(blanks.count, 'record')} of {data.records:,} have no {column.name.bare}, the first is record "
            f"{blanks.record}: no reader would see them",
            f"{plural(blanks.count, 'record')} of {source.name.bare} have no {column.name.bare}, which decides who sees a row "
            "(the first is record "
            f"{blanks.record}). To whom do they belong, or will they be corrected?",
        )
    elif blanks is not None and column.may_be_empty is False and tenant != column.name.lower:
        yield finding(
            "blank_refuted",
            column.name.line,
            f"{name} is never empty according to the spec, and {plural(blanks.count, 'record')} of {data.records:,} have no "
            f"value, the first is record {blanks.record}",
            f"{column.name.bare} of {source.name.bare} should never be empty; {plural(blanks.count, 'record')} have no value "
            f"(the first is record {blanks.record}). Is that a "
            "fault of the delivery, or may it be empty, and what does that mean then?",
        )
    if refuted := _refuted(column, own, data):
        value, why = excerpt(refuted.value), column.data_type.bare
        others = f", and {plural(refuted.count - 1, 'other record')}" if refuted.count > 1 else ""
        yield finding(
            "type_refuted",
            column.name.line,
            f"{name} is {why} according to the spec, and record {refuted.record} has {value!r}{others}",
            f"{column.name.bare} of {source.name.bare} should be {why}. Record {refuted.record} has {value!r}{others}. Are "
            "these faults that will be corrected, or "
            "what do such values mean?",
        )


def _says_of_blanks(requirement: Requirement, column: ContractColumn) -> bool:
    """Return whether the spec says what becomes of records without a value in a column: a sentence names both."""
    words = vocabulary.words_of(column.name.bare)
    texts = [*(step.text for step in requirement.transformations), *requirement.prose("sources", "source columns", "access")]
    return any(
        _WITHOUT_VALUE.is_in(sentence) and re.search(rf"\b{re.escape(words)}\b", vocabulary.words_of(sentence.lower)) is not None
        for text in texts
        for sentence in text.sentences
    )


def _refuted(column: ContractColumn, own: str, data: SourceData) -> Occurrence | None:
    """Return values that are not of the stated type."""
    data_type = column.data_type.lower
    kinds = next((kinds for wording, kinds in _KINDS if re.fullmatch(wording, data_type)), None)
    if kinds is None:
        return None
    if format_ := _FORMAT.search(column.meaning.bare):
        return data.matching(own, data.is_not_a_time(own, _PART.sub(lambda match: _PARTS[match[0]], format_[0])))
    if "timestamptz" in kinds and _ZONE_KNOWN.search(column.meaning.bare):
        kinds = _MOMENTS
    strange = _strange(own, kinds, data)
    if strange and kinds == {"boolean"}:
        return data.matching(own, data.is_not_boolean(own))
    if strange:
        found = [data.matching(own, data.is_value(own, kind.example.strip())) for kind in strange]
        first = min((occurrence for occurrence in found if occurrence is not None), key=lambda occurrence: occurrence.record, default=None)
        return None if first is None else Occurrence(first.value, sum(kind.count for kind in strange), first.record)
    limit = _INTEGERS.get(data_type)
    return None if limit is None else data.matching(own, data.is_beyond(own, limit))


def _strange(own: str, kinds: frozenset[str], data: SourceData) -> list[KindStatistics]:
    """Return the kinds of value of a column that are not among those of its type."""
    strange = {name: kind for name, kind in data.values(own).kinds.items() if name not in kinds}
    if data.midnights_are_dates and "date" in kinds and (times := strange.get("timestamp")) and times.at_midnight == times.count:
        del strange["timestamp"]
    if kinds == {"boolean"} and (numbers := strange.get("integer")) and {numbers.least, numbers.greatest} <= {0, 1}:
        del strange["integer"]
    return list(strange.values())


def _key(source: SourceEntry, contract: Contract, found: Mapping[str, str], data: SourceData) -> Iterator[SpecFinding]:
    columns = [found[key.lower] for key in contract.key if key.lower in found]
    if not columns or len(columns) < len(contract.key):
        return
    names = ", ".join(key.bare for key in contract.key)
    line = contract.key[0].line
    if repeated := data.repeated(columns):
        value, records, count = repeated
        listed = " and ".join(map(str, records[:3])) if len(records) < 3 else ", ".join(map(str, records[:3]))
        others = f"; so do {plural(count - 1, 'other value')}" if count > 1 else ""
        yield finding(
            "key_not_unique",
            line,
            f"{names} does not identify a record of {source.name.bare}: {excerpt(value)} is in records {listed}{others}",
            f"{names} should identify a record of {source.name.bare}, and {excerpt(value)} occurs in records {listed}{others}. "
            "Is that a fault of the delivery, does a further "
            "column belong to the key, or which of the records counts?",
        )
