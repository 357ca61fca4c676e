"""Match the columns of an input to the contract by name, and say what to declare if they do not fit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dpe_cli.blocks.contract import MOST_COLUMNS, StagingTable, by_delivered_name
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.yaml_line import addable, is_declarable, is_plain, lines_to_add, renames
from dpe_cli.errors import ContractError
from dpe_cli.load import staging
from dpe_cli.load.copier import Shape
from dpe_cli.safe_text.redaction import excerpt
from dpe_cli.safe_text.visible_text import in_message
from dpe_cli.words import did_you_mean

_MOST_FAULTS = 5

# Returns types for the columns that the contract lacks, by name; those that it does not know are text.
Guess = Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Delivery:
    """
    The columns of an input: their names in order, and where it is. `guess` returns types for those that are not in the contract.

    `follows_others`: earlier inputs were loaded, which do not have them.
    """

    names: tuple[str, ...]
    dialect: Dialect
    location: str
    guess: Guess = dict
    follows_others: bool = False


def matched(table: StagingTable, delivery: Delivery, *, load_id: int, ignore_extra_columns: bool) -> Shape:
    """
    Return how an input is loaded; columns that the contract does not name go into columns that are dropped.

    Raises:
        ContractError: a column is missing, delivered twice, or not in the contract.
    """
    names = delivery.names
    if len(names) > MOST_COLUMNS:
        raise ContractError(
            f"{table.source}, {in_message(delivery.location)}, line 1: {len(names):,} fields are more columns than a table can have "
            f"({MOST_COLUMNS:,} besides dpe's own); check the delimiter and the quote in the external block, or ask the sender for fewer "
            "columns"
        )
    known = by_delivered_name(table.columns)
    delivered = Counter(known[name].name for name in names if name in known)
    missing = [column for column in table.columns if column.name not in delivered]
    required = [column.name for column in missing if not column.may_be_missing]
    faults = [f"column {name} is missing" for name in required]
    faults += [
        f"column {column.name} is delivered twice, as {' and '.join(repr(name) for name in names if name in column.names)}"
        for column in table.columns
        if delivered[column.name] > 1
    ]
    columns: list[str] = []
    extra: list[str] = []
    for position, name in enumerate(names, 1):
        if name in known:
            columns.append(known[name].name)
            continue
        columns.append(staging.ignored_column(len(extra)))
        extra.append(name)
        if not ignore_extra_columns:
            hint = _hint(name, list(known)) if len(faults) < _MOST_FAULTS else ""
            faults.append(f"column {excerpt(name)!r}, field {position}, is not in the contract{hint}")
    if faults:
        shown = "; ".join(faults[:_MOST_FAULTS]) + (f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else "")
        advice = _advice(delivery, required, [] if ignore_extra_columns else extra)
        where = f"{table.source}, {in_message(delivery.location)}, line 1"
        raise ContractError(f"{where}: {shown}; correct the columns in {table.declared_at}{advice}")
    types = {column.name: column.data_type for column in table.columns}
    types |= {staging.ignored_column(number): "text" for number in range(len(extra))}
    # Rejects name the contract's columns.
    shown_names = tuple(known[name].name if name in known else name for name in names)
    absent = tuple(column.name for column in missing)
    return Shape(load_id, shown_names, tuple(columns), types, len(extra), delivery.dialect, absent, table.columns)


def _advice(delivery: Delivery, required: Sequence[str], extra: Sequence[str]) -> str:
    """Return what to declare, besides corrections: that a column was renamed or may be missing, and the lines of new ones."""
    advice = ""
    if required:
        advice += f", write optional: true into the meta of {required[0]} if a delivery may lack it"
    if required and (new := next(filter(is_declarable, extra), None)):
        advice += f", or headers: [{_written(new)}] if that is its new name"
    if not extra:
        return advice
    declared = addable(extra)
    types = delivery.guess() if declared else {}
    lines = lines_to_add({name: types.get(name, "text") for name in declared}, optional=delivery.follows_others)
    return f"{advice}, or set extra_columns: ignore to drop unlisted fields{renames(extra)}{lines}"


def _written(name: str) -> str:
    return name if is_plain(name) else in_message(json.dumps(name, ensure_ascii=False))


def _hint(name: str, names: Sequence[str]) -> str:
    hint = did_you_mean(excerpt(name), names)
    return f" ({hint})" if hint else ""
