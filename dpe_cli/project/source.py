"""The sources of a project: dbt source tables with an `external:` block, their contract and their tenant column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dpe_cli.blocks.contract import Column, StagingTable
from dpe_cli.errors import ProjectError
from dpe_cli.project.stored_names import stored_name
from dpe_cli.sources.options import parse
from dpe_cli.sources.options.base import External
from dpe_cli.sources.options.parse import SourceDeclaration
from dpe_cli.words import did_you_mean

# Needed only if the project has changed, like YAML.
if TYPE_CHECKING:
    from dpe_cli.project.source_yaml import Declaration

# PostgreSQL's own text types. Another role's type, cast or collation could decide which tenant a row belongs to.
_TEXT = re.compile(r"(text|varchar|character varying|char|character|bpchar|name)(\s*\(\s*\d+\s*\))?", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A dbt source table that dpe extracts. `name` is dbt's `source_name.table_name`."""

    unique_id: str
    name: str
    table: StagingTable
    external: External
    spec: str | None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Source:
        """Return the source that `dataclasses.asdict` turned into these values."""
        columns = tuple(Column(**{**column, "headers": tuple(column["headers"])}) for column in values["table"]["columns"])
        table = StagingTable(**{**values["table"], "columns": columns})
        return cls(**{**values, "table": table, "external": parse.from_dict(values["external"])})


def from_node(node: Mapping[str, Any], declaration: Declaration) -> Source:
    """
    Return a source table of dbt's manifest, with its block as the YAML file has it.

    Raises:
        ProjectError: a column has no type, or an option or `meta.rls` is wrong.
    """
    name = f"{node['source_name']}.{node['name']}"
    schema, stored_as = stored_name(node)
    declared_at = declaration.place
    meta = {**(node.get("source_meta") or {}), **(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}
    columns = tuple(_column(column, where=f"{name} ({declared_at})") for column in node["columns"].values())
    _check_headers(columns, where=f"{name} ({declared_at})")
    untyped = [column.name for column in columns if not column.data_type]
    if not columns or untyped:
        what = f"column {', '.join(untyped)} has no data_type" if untyped else "it declares no columns"
        raise ProjectError(f"{name} ({declared_at}): {what}; the columns with their data_type are the load contract")
    tenant_column = _tenant_column(meta.get("rls"), {column.name: column.data_type for column in columns}, where=f"{name} ({declared_at})")
    external = parse.parse(
        declaration.as_written(node["external"]), columns, declaration=SourceDeclaration(name, declared_at, declaration.line_of_option)
    )
    if external.missing_columns == "allow":
        columns = tuple(replace(column, optional=True) for column in columns)
    return Source(
        unique_id=node["unique_id"],
        name=name,
        table=StagingTable(
            source=name,
            schema=schema,
            name=stored_as,
            columns=columns,
            tenant_column=tenant_column,
            description=node.get("description") or "",
            declared_at=declared_at,
        ),
        external=external,
        # YAML reads 7 as a number.
        spec=None if meta.get("spec") is None else str(meta["spec"]),
    )


_PLAIN_META = (("path", str, "a path"), ("start", int, "a number"), ("width", int, "a number"), ("format", str, "a format: DD.MM.YYYY"))


def _column(column: Mapping[str, Any], *, where: str) -> Column:
    """Return a column of the contract, with the place of its values from its meta."""
    meta = {**(column.get("meta") or {}), **((column.get("config") or {}).get("meta") or {})}
    where = f"{where}: column {column['name']}"
    for name, kind, what in _PLAIN_META:
        if not isinstance(meta.get(name), (kind, type(None))):
            raise ProjectError(f"{where}: meta.{name} is {meta[name]!r}; write {what}")
    return Column(
        column["name"],
        str(column.get("data_type") or ""),
        column.get("description") or "",
        path=meta.get("path"),
        start=meta.get("start"),
        width=meta.get("width"),
        headers=_headers(meta.get("headers"), where=where),
        optional=_is_set(meta, "optional", "a delivery may lack the column", where=where),
        default=_default(meta.get("default"), where=where),
        format=meta.get("format"),
        rounds=_is_set(meta, "round", "surplus decimals are to be rounded", where=where),
        null_quoted=_is_set(meta, "null_quoted", "the null string means null within quotes, too", where=where),
    )


def _headers(declared: object, *, where: str) -> tuple[str, ...]:
    """Return the other names of a column."""
    names = [declared] if isinstance(declared, str) else declared
    if not isinstance(names, (list, type(None))) or not all(isinstance(name, str) and name for name in names or ()):
        raise ProjectError(f"{where}: meta.headers is {declared!r}; write the names under which it is delivered, as in [order_no]")
    return tuple(dict.fromkeys(names or ()))


def _is_set(meta: Mapping[str, Any], name: str, meaning: str, *, where: str) -> bool:
    if not isinstance(meta.get(name), (bool, type(None))):
        raise ProjectError(f"{where}: meta.{name} is {meta[name]!r}; write true if {meaning}")
    return bool(meta.get(name))


def _default(declared: object, *, where: str) -> str | None:
    """Return a default as CSV would write it."""
    if isinstance(declared, bool):
        return str(declared).lower()
    if not isinstance(declared, (str, int, float, type(None))):
        raise ProjectError(f"{where}: meta.default is {declared!r}; write a single value, in quotes if it is neither a number nor a word")
    return None if declared is None else str(declared)


def _check_headers(columns: Sequence[Column], *, where: str) -> None:
    """Refuse a name under which two columns would be delivered."""
    owners: dict[str, str] = {column.name: column.name for column in columns}
    for column in columns:
        for name in column.headers:
            owner = owners.setdefault(name, column.name)
            if owner != column.name or name == column.name:
                what = "is its own name" if name == column.name else f"is also a name of column {owner}"
                raise ProjectError(f"{where}: column {column.name}: meta.headers: {name} {what}; remove one of the two")


def _tenant_column(declared: object, types: Mapping[str, str], *, where: str) -> str | None:
    """
    Return the tenant column that a source's `rls` declares; none if its rows have no tenant. Readers do not see staging either way.

    `types` are the source's columns with their declared types.
    """
    if declared in (None, {"shared": True}, {"private": True}):
        return None
    if not isinstance(declared, Mapping) or set(declared) != {"tenant_column"}:
        raise ProjectError(f"{where}: meta.rls is {declared}; write one of {{tenant_column: …}}, {{shared: true}} and {{private: true}}")
    tenant_column = declared["tenant_column"]
    if tenant_column not in types:
        hint = did_you_mean(str(tenant_column), types, f"name one of its columns ({', '.join(types)})")
        raise ProjectError(f"{where}: meta.rls: tenant_column {tenant_column} is not a column; {hint}")
    if not _TEXT.fullmatch(types[tenant_column].strip()):
        what = f"is {types[tenant_column]}; declare it as text, because it is compared with text"
        raise ProjectError(f"{where}: meta.rls: tenant_column {tenant_column} {what}")
    return str(tenant_column)
