"""
The JSON Schemas of what commands write with --output json, made from the dataclasses that they write.

`results.schema.json` has one definition per command, named like it: `#/$defs/loads list`, and one per dataclass. Tests validate what the
commands write.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Union

from dpe_cli.access.checks import Finding
from dpe_cli.access.earlier import EarlierSession
from dpe_cli.access.grants import Change, Entry
from dpe_cli.access.matrix import Cell
from dpe_cli.access.visibility import Visibility
from dpe_cli.ingest.loads import Undone
from dpe_cli.ingest.plan import PlannedExtract
from dpe_cli.init.adopt.questions import Question
from dpe_cli.init.adopt.refused import Refusal
from dpe_cli.load.ledger import Load
from dpe_cli.load.ledger_entries import ExtractEntry
from dpe_cli.load.ledger_rejects import RejectEntry
from dpe_cli.load.result import ExtractResult
from dpe_cli.pipeline.checks import Check
from dpe_cli.pipeline.planned_build import PlannedBuild
from dpe_cli.problems import Problem
from dpe_cli.project.dbt_runner import NodeResult
from dpe_cli.publishing.builds import Publication
from dpe_cli.publishing.diff import Difference
from dpe_cli.publishing.uses import Use
from dpe_cli.quality.freshness import Freshness
from dpe_cli.quality.quarantine import QuarantineCount
from dpe_cli.quality.results import FailingRow, Run, State
from dpe_cli.quality.rules import Rule
from dpe_cli.server.bootstrap import BootstrapReport
from dpe_cli.server.server import ServerStatus
from dpe_cli.server.sessions import Session
from dpe_cli.specs.findings import Answers

Schema = dict[str, Any]

# The schemas of dataclasses that commands write, by name.
_PARTS: dict[str, Schema] = {}

_SCALARS: dict[object, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    Path: {"type": "string"},
    Decimal: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    # In seconds.
    timedelta: {"type": "number"},
    Any: {},
    object: {},
}


def of_type(kind: Any) -> Schema:
    """Return the schema of a type as report.py writes it."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        _PARTS[kind.__name__] = _fields(kind)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [of_type(argument) for argument in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": of_type(arguments[1])}
    if isinstance(origin, type) and issubclass(origin, (Sequence, set, frozenset)):
        return {"type": "array", "items": of_type(arguments[0])}
    raise TypeError(f"{kind}: has no JSON Schema; add it to result_schemas.py")


def _fields(kind: Any, *, but: Sequence[str] = (), **more: Any) -> Schema:
    """Return the schema of a dataclass without some fields, and with others."""
    hints = typing.get_type_hints(kind)
    return _object(**{field.name: hints[field.name] for field in dataclasses.fields(kind) if field.name not in but}, **more)


def _object(*, optional: Sequence[str] = (), **properties: Any) -> Schema:
    """Return the schema of an object with exactly these members, which are types or schemas."""
    return {
        "type": "object",
        "properties": {name: kind if isinstance(kind, dict) else of_type(kind) for name, kind in properties.items()},
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_EXTRACTED = _object(
    seconds=float,
    errors=list[Problem],
    extracts=_list(
        _fields(ExtractResult, but=("is_bug", "retryable"), records_read=int, rows_loaded=int, rows_rejected=int, status=str),
    ),
)
_BALANCE = _object(
    hop=str,
    quantity=str,
    delivered=float,
    rejected=float,
    deduplicated=float,
    filtered=float,
    expected=float,
    found=float,
    unexplained=float,
    rules=Sequence[str],
    holds=bool,
)
_VALIDATION: dict[str, Any] = {
    "checks": _list(_fields(Check, holds=bool)),
    "results": list[NodeResult],
    "sights": list[Visibility],
    "reconciliation": _list(_BALANCE),
    "freshness": list[Freshness],
}
_PLAN = _object(
    errors=list[Problem],
    has_database=bool,
    target=str,
    publishes=bool,
    extracts=_list(_fields(PlannedExtract, but=("is_bug", "retryable"))),
    **typing.get_type_hints(PlannedBuild),
)
_VERDICT = Literal["DPE SUCCESS", "DPE FAILED"]
_EXCHANGED: dict[str, Any] = {"in_use": list[Use], "ended_sessions": list[Session], "not_ended": list[str]}
_EARLIER: dict[str, Any] = {"earlier_sessions": list[EarlierSession], "ended_sessions": list[Session]}
_STATUS: dict[str, Any] = {"is_running": bool, "is_embedded": bool, "url": str, **typing.get_type_hints(ServerStatus)}
_RULE = {**_fields(Rule)["properties"], **_fields(State)["properties"]}

_RUN = _object(
    verdict=_VERDICT,
    errors=list[Problem],
    seconds=float,
    extracted=_EXTRACTED,
    publication=Publication | None,
    not_published=str | None,
    **_EXCHANGED,
    quarantined=list[QuarantineCount],
    validation=_nullable(_object(**_VALIDATION)),
    docs=Path | None,
    not_documented=str | None,
    without_readers=str | None,
)


# What `dpe init --here` writes.
_ADOPTION: dict[str, Any] = {
    "project": str,
    "written": bool,
    "changes": list[dict[str, Any]],
    "diff": list[str],
    "questions": list[Question],
    "private": list[str],
    "targets": list[str],
    "readers": dict[str, list[str]],
    "refused": list[Refusal],
    "statements": list[str],
    "database": dict[str, str],
    "not_asked": str | None,
}


# What a spec asks for.
_SPEC: dict[str, Any] = {
    "ticket": str,
    "title": str,
    "status": str | None,
    "owner": str,
    "pattern": str | None,
    "file": str,
    "sources": list[str],
    "models": list[str],
    "rules": list[str],
}


def _commands() -> dict[str, Schema]:
    return {
        "run": {"anyOf": [_RUN, _PLAN]},
        "extract": _EXTRACTED,
        "spec check": _object(
            errors=list[Problem],
            specs=_list(
                _object(
                    ticket=str,
                    file=str,
                    accepted=bool,
                    findings=_list(_object(id=str, kind=str, line=int, answers=Answers, addressee=str, what=str, question=str)),
                    sources=_list(_object(source=str, records=int, all=bool)),
                    figures_compared=int,
                    figures_not_compared=list[str],
                )
            ),
        ),
        "spec list": _object(specs=_list(_object(**_SPEC))),
        "spec show": _object(**_SPEC, approved_by=str | None, approval=str, changes=list[str]),
        "spec approve": _object(ticket=str, approved_by=str, file=str),
        "spec template": _object(text=str),
        "spec new": _object(file=str, ticket=str, sources=list[str]),
        "source infer": _object(optional=["file"], name=str, records=int, yaml=str, file=str),
        "init": {"anyOf": [_object(project=str, directory=str, files=list[str], rls=_nullable({"type": "object"})), _object(**_ADOPTION)]},
        "validate": _object(verdict=_VERDICT, errors=list[Problem], **_VALIDATION),
        "rules": {"anyOf": [_list(_object(**_RULE)), _object(path=Path), _object(faults=list[str])]},
        "rules show": _object(**_RULE, rows_in_quarantine=int | None, runs=list[Run], rows=list[FailingRow]),
        "loads list": _list(of_type(ExtractEntry)),
        "loads show": _fields(ExtractEntry, loads=list[Load], first_rejects=list[RejectEntry]),
        "loads undo": of_type(Undone),
        "rejects list": _list(of_type(RejectEntry)),
        "rejects show": of_type(RejectEntry),
        "rejects export": _object(source=str, rejects=int, csv=str),
        "rejects replay": _object(source=str, extract_id=int, replayed=int),
        "diff": _object(publication=int, status=str, relations=list[Difference]),
        "publish": _object(optional=["restored", "removed"], publication=Publication, restored=list[str], removed=list[str], **_EXCHANGED),
        "access grant": _object(
            role=str,
            became_reader=bool,
            compared=bool,
            entries=list[Entry],
            removed=list[Entry],
            shortened=list[str],
            **_EARLIER,
        ),
        "access revoke": _object(
            role=str,
            revoked=list[str],
            entries=list[Entry],
            removed=list[Entry],
            **_EARLIER,
        ),
        "access list": {"anyOf": [_list(of_type(Entry)), _list(of_type(Change))]},
        "rls check": _object(
            checks=_list(_object(check_id=str, name=str, severity=str, title=str, why=str)),
            findings=list[Finding],
        ),
        "rls matrix": _object(cells=_list(_fields(Cell, but=("expected", "problem"))), faults=list[str]),
        "docs build": _object(site=Path),
        "schema": {"type": "object"},
        "env": of_type(dict[str, str]),
        "db start": _object(**_STATUS),
        "db stop": _object(stopped=bool),
        "db status": {"anyOf": [_object(**_STATUS), _object(is_running=bool, is_embedded=bool)]},
        "db url": _object(url=str),
        "db dump-options": _object(schemas=list[str], extensions=list[str], left_out=list[str], options=list[str]),
        "bootstrap": _fields(BootstrapReport, server=str, port=int, database=str),
    }


def results() -> Schema:
    """Return the document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Results of dpe",
        "description": "What each command with --output json writes if it does not end in an error: the definition with its name.",
        "$defs": {**_commands(), **dict(sorted(_PARTS.items()))},
    }
