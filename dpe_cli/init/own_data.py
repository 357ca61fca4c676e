"""The pipeline of a new project for data that its user already has: the inferred source, a staging model and a mart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dpe_cli.errors import UsageError
from dpe_cli.infer import yaml_text
from dpe_cli.infer.inference import InferredTable
from dpe_cli.init import templates
from dpe_cli.project.model import REQUIRED
from dpe_cli.words import did_you_mean

SHARED, PRIVATE = "shared", "private"
# The answers that name no column.
KINDS = (SHARED, PRIVATE)
# Policies compare columns of these types only (macros/rls/check_policy_column.sql).
_COMPARABLE = ("text", "varchar", "character varying", "char", "character", "name")


def tenant_columns(found: InferredTable) -> list[str]:
    """Return the columns that could say whose row it is."""
    return [column.name for column in found.columns if is_comparable(column.data_type)]


def is_comparable(data_type: str) -> bool:
    """Return whether policies can compare a column of this type."""
    return data_type.partition("(")[0].strip().lower() in _COMPARABLE


def declaration(found: InferredTable, answer: str) -> Mapping[str, Any]:
    """
    Return the `meta.rls` for an answer to the question who may see which rows: a column, `shared` or `private`.

    Raises:
        UsageError: the answer is none of these.
    """
    candidates = tenant_columns(found)
    if answer not in (*KINDS, *candidates):
        raise UsageError(f"{answer}: is not a column of {found.name} that could say whose row it is; {other_answers(answer, candidates)}")
    return as_declaration(answer)


def as_declaration(answer: str) -> Mapping[str, Any]:
    """Return an answer as `meta.rls`: `shared`, `private`, or a tenant column."""
    return {answer: True} if answer in KINDS else {"tenant_column": answer}


def other_answers(answer: str, columns: Sequence[str]) -> str:
    """Return, for a message about a wrong answer, the right ones."""
    hint = did_you_mean(answer, columns, f"these could: {', '.join(columns)};" if columns else "no column is a text;")
    return f"{hint} or answer {SHARED} or {PRIVATE}"


def open_questions(files: Mapping[str, str]) -> list[str]:
    """Return the paths of those of the files that still ask who may see which rows."""
    return [path for path, text in files.items() if f"{{rls: {REQUIRED}}}" in text]


def files(found: InferredTable, name: str, rls: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the files of the project `name` that load an inferred table and publish it; `rls` is None if the question is open."""
    columns = [
        {
            "sql": yaml_text.name_in_sql(column.name),
            "yaml": yaml_text.column_line(column, "description"),
            "contract": yaml_text.column_line(column, "data_type", "description"),
        }
        for column in found.columns
    ]
    values = {
        "name": name,
        "source": found.source,
        "table": found.table,
        "location": found.external["location"],
        "relation": f"{name}_marts.{yaml_text.name_in_sql(found.table)}",
        "columns": columns,
        "answers": [yaml_text.in_one_line({"rls": {"tenant_column": column}}) for column in tenant_columns(found)],
        "rls": yaml_text.in_one_line(rls) if rls else None,
        "tenant": rls.get("tenant_column") if rls else None,
        "shared": bool(rls and rls.get(SHARED)),
    }
    # A staging table without a tenant column is open to the pipeline only.
    of_source = {"rls": rls} if rls and "tenant_column" in rls else None
    path = f"models/staging/{found.source}/_{found.source}__sources.yml"
    return {path: yaml_text.document(found, f"{name}_raw", of_source), **templates.render(("own",), values)}
