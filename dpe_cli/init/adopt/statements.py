"""What an administrator of the present database has to run, so that dpe_transformer can read the sources and replace the relations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dpe_cli.infer.yaml_text import name_in_sql
from dpe_cli.init.adopt.present import Present
from dpe_cli.project.model import Model
from dpe_cli.project.stored_names import stored_name
from dpe_cli.server.server import LOGINS

_TRANSFORMER = LOGINS["transformer"]


def sources(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the schema and name of each relation of a source that something else loads."""
    return sorted({stored_name(node) for node in manifest["sources"].values() if not node.get("external")})


def write(manifest: Mapping[str, Any], models: Iterable[Model], known: Present) -> list[str]:
    """Return the statements, for what exists."""
    read = [found for found in sources(manifest) if found in known.relations and not known.relations[found].is_open]
    built = sorted((model.schema, model.alias) for model in models)
    return [*_of_sources(read, known), *_of_models(built, known)]


def _of_sources(read: list[tuple[str, str]], known: Present) -> Iterator[str]:
    for schema in sorted({schema for schema, _ in read}):
        inside = [(schema, name) for of, name in read if of == schema]
        yield f"grant usage on schema {name_in_sql(schema)} to {_TRANSFORMER};"
        yield f"grant select on {', '.join(map(_name, inside))} to {_TRANSFORMER};"
        # What is loaded there may be new tables each time.
        for owner in sorted({known.relations[found].owner for found in inside}):
            role = f"for role {name_in_sql(owner)} in schema {name_in_sql(schema)}"
            yield f"alter default privileges {role} grant select on tables to {_TRANSFORMER};"


def _of_models(built: list[tuple[str, str]], known: Present) -> Iterator[str]:
    for schema in sorted({schema for schema, _ in built}):
        if known.schemas.get(schema, _TRANSFORMER) != _TRANSFORMER:
            yield f"alter schema {name_in_sql(schema)} owner to {_TRANSFORMER};"
    for found in built:
        relation = known.relations.get(found)
        if relation is None or relation.owner == _TRANSFORMER:
            continue
        yield f"alter table {_name(found)} owner to {_TRANSFORMER};"
        if relation.grantees:
            roles = ("public" if role == "PUBLIC" else name_in_sql(role) for role in relation.grantees)
            yield f"revoke all on {_name(found)} from {', '.join(roles)};"


def _name(found: tuple[str, str]) -> str:
    return ".".join(map(name_in_sql, found))
