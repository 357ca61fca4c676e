"""
The policies that a model's declaration calls for, as PostgreSQL writes them in its catalog.

`macros/rls/protect_table.sql` creates them. They are derived again here from the project's files, so that a table's policies can be
compared with what its author declared, no matter what its build did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_CONTEXT_IS_OPEN = "( SELECT dpe.context_is_open() AS context_is_open)"
_EVERY_TENANT_IS_OPEN = "( SELECT dpe.every_tenant_is_open() AS every_tenant_is_open)"
_MASK = "pg_has_role('dpe_masked_reader'::name, 'usage'::text)"
_READERS = ("dpe_masked_reader", "dpe_reader")


@dataclass(frozen=True)
class TableColumn:
    """A column: its quoted name, its type, and whether its texts are equal only if they are identical."""

    quoted: str
    type: str
    is_exact: bool

    @property
    def is_comparable(self) -> bool:
        """Whether it has one of PostgreSQL's text types, so that other roles' casts, operators or collations cannot decide equality."""
        return self.is_exact and self.type in {"text", "name", "varchar", "bpchar"}

    @property
    def compared(self) -> str:
        """The column as PostgreSQL writes it in a comparison with text."""
        return f"({self.quoted})::text" if self.type in {"varchar", "bpchar"} else self.quoted


@dataclass(frozen=True)
class TablePolicy:
    """A policy with its `roles` sorted and its `command` as in pg_policy. A missing expression is an empty string."""

    command: str
    is_permissive: bool
    roles: tuple[str, ...]
    using: str
    with_check: str


def compared_columns(declaration: Mapping[str, Any]) -> list[str]:
    """Return the columns that the policies of a declaration compare (macros/rls/policy_columns.sql)."""
    tenants = declaration.get("tenant_column")
    if tenants is not None:
        return [tenants] if isinstance(tenants, str) else [str(column) for column in tenants]
    if "role_column" in declaration:
        return [str(declaration["role_column"])]
    return [str(declaration["access"]["column"])] if "access" in declaration else []


def policies(
    declaration: Mapping[str, Any], columns: Sequence[TableColumn], *, readers: Sequence[str], looked_up: str, is_masked: bool
) -> dict[str, TablePolicy]:
    """
    Return the policies of a table with this declaration, by name.

    `columns` are those that it compares, in order; `readers` are the roles that it is granted to; `looked_up` is the quoted name of the
    relation in which `access` looks up keys.
    """
    system = _of_system(declaration, columns)
    found = {
        "dpe_system": TablePolicy("*", True, ("dpe_transformer",), system, system),
        "dpe_admin": TablePolicy("r", True, ("dpe_owner",), system, ""),
    }
    if "private" not in declaration:
        found["dpe_reader"] = TablePolicy("r", True, _READERS, _of_readers(declaration, columns, looked_up, readers), "")
        if is_masked:
            mask = _of_readers(declaration, columns, looked_up, readers, masks=True)
            found["dpe_mask"] = TablePolicy("r", False, ("dpe_reader",), mask, "")
    return found


def _of_system(declaration: Mapping[str, Any], columns: Sequence[TableColumn]) -> str:
    if "tenant_column" not in declaration:
        return _CONTEXT_IS_OPEN
    tenants = _in_array(columns, _sub_select("dpe.visible_tenants()", "visible_tenants", "text[]"))
    return f"({' OR '.join([_EVERY_TENANT_IS_OPEN, *tenants])})"


def _of_readers(
    declaration: Mapping[str, Any], columns: Sequence[TableColumn], looked_up: str, readers: Sequence[str], *, masks: bool = False
) -> str:
    condition = _reads_as_one_of(readers)
    if "tenant_column" in declaration:
        tenants = _in_array(columns, _sub_select("dpe.visible_tenants()", "visible_tenants", "text[]", condition, masks=masks))
        return tenants[0] if len(tenants) == 1 else f"({' OR '.join(tenants)})"
    if "role_column" in declaration:
        role = _sub_select("CURRENT_USER", '"current_user"', "name", condition, masks=masks)
        return f"({columns[0].compared} = {role})"
    if "access" in declaration:
        access = declaration["access"]
        arguments = (looked_up, str(access.get("key") or access["column"]), str(access["role_column"]))
        call = f"dpe.granted_keys({', '.join(map(_literal, arguments))})"
        return _in_array(columns, _sub_select(call, "granted_keys", "text[]", condition, masks=masks))[0]
    if condition:
        return _sub_select("true", "bool", "boolean", condition, masks=masks)
    return f"(NOT ( SELECT {_MASK} AS pg_has_role))" if masks else "true"


def _in_array(columns: Sequence[TableColumn], keys: str) -> list[str]:
    return [f"({column.compared} = ANY ({keys}::text[]))" for column in columns]


def _sub_select(call: str, label: str, kind: str, condition: str = "", *, masks: bool = False) -> str:
    """Return a sub-select that runs once per query. Its result is null for masked readers if it masks, and unless the condition holds."""
    denied = f"WHEN {_MASK} THEN NULL::{kind} " if masks else ""
    if condition:
        call, label = f"CASE {denied}WHEN {condition} THEN {call} ELSE NULL::{kind} END", '"case"'
    elif masks:
        call = f"CASE {denied}ELSE {call} END"
    return f"( SELECT {call} AS {label})"


def _reads_as_one_of(readers: Sequence[str]) -> str:
    """Return the condition for relations that are published to some readers only (macros/rls/is_published_to_some.sql)."""
    if not readers or set(_READERS) <= set(readers):
        return ""
    asked = [f"pg_has_role((to_regrole({_literal(quoted(role))}))::oid, 'usage'::text)" for role in readers]
    return asked[0] if len(asked) == 1 else f"({' OR '.join(asked)})"


def quoted(name: str) -> str:
    """Return a name in quotes, as PostgreSQL reads it."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _literal(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'::text"
