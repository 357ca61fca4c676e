"""What dbt knows about the project: sources with their columns, models, rules; and which of them a selection names."""

from __future__ import annotations

import fnmatch
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpe_cli.blocks.contract import Column, StagingTable
from dpe_cli.errors import ProjectError, UsageError
from dpe_cli.project.inputs import profiles_file
from dpe_cli.project.manifest import Parser
from dpe_cli.sources.options import parse
from dpe_cli.sources.options.base import External
from dpe_cli.sources.options.parse import SourceDeclaration
from dpe_cli.words import did_you_mean, nearest

# Needed only if the project has changed, like YAML.
if TYPE_CHECKING:
    from dpe_cli.project.source_yaml import Declaration

_PLAIN_SELECTOR = re.compile(r"source:[\w*?]+(\.[\w*?]+)?")
# The operators around a name in a selector: `2+fct_flights+`, `@fct_flights`, `source:nyc.flights`.
_AROUND_A_NAME = re.compile(r"^(@|\d*\+)?(\w+:)?|\+\d*$")

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
        columns = tuple(Column(**column) for column in values["table"]["columns"])
        table = StagingTable(**{**values["table"], "columns": columns})
        return cls(**{**values, "table": table, "external": parse.from_dict(values["external"])})


@dataclass(frozen=True)
class Model:
    """
    A relation that dbt builds. `declared` is the kind of its `meta.rls`.

    `tenant_columns` name the tenants of a row, `masked` columns are hidden from masked readers.
    """

    unique_id: str
    name: str
    schema: str
    alias: str
    tenant_columns: tuple[str, ...]
    declared: str
    masked: tuple[str, ...] = ()

    @property
    def is_published(self) -> bool:
        """Whether readers may read it."""
        return self.declared != "private"


class Project:
    """A dbt project on disk. `variables` is the user's --vars, in YAML."""

    def __init__(
        self, directory: Path, *, profiles_dir: Path | None = None, target: str | None = None, variables: str | None = None
    ) -> None:
        self.directory = directory
        self._profiles_dir = profiles_dir
        self._target = target
        self._variables = variables
        self._chosen: dict[tuple[tuple[str, ...], tuple[str, ...]], set[str]] = {}

    @property
    def specs_directory(self) -> Path:
        """Where the project's specs are."""
        return self.directory / "specs"

    @property
    def dbt_options(self) -> list[str]:
        """The options with which dbt sees this project as dpe does."""
        return self.dbt_options_with({})

    def dbt_options_with(self, variables: Mapping[str, object]) -> list[str]:
        """
        Return these options with more variables.

        Raises:
            UsageError: the user's variables are not a YAML mapping.
        """
        options = ["--project-dir", str(self.directory)]
        if self._profiles_dir:
            options += ["--profiles-dir", str(self._profiles_dir)]
        elif (self.directory / "profiles.yml").exists() and "DBT_PROFILES_DIR" not in os.environ:
            options += ["--profiles-dir", str(self.directory)]
        if self._target:
            options += ["--target", self._target]
        if variables or self._variables:
            import yaml

            # In YAML, as given: JSON has no dates.
            options += ["--vars", yaml.safe_dump({**self._given_variables(), **variables}, default_flow_style=True, width=math.inf)]
        return options

    def _given_variables(self) -> Mapping[str, Any]:
        import yaml

        try:
            given = yaml.load(self._variables or "{}", Loader=yaml.CSafeLoader)
        except yaml.YAMLError:
            given = None
        if not isinstance(given, dict):
            raise UsageError(f"--vars: {self._variables} is not a mapping in YAML; write it as {{name: value}}")
        return given

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """
        dbt's manifest, parsed again if the project has changed.

        Raises:
            ProjectError: dbt refuses the project.
        """
        return self._parser.manifest()

    @cached_property
    def _parser(self) -> Parser:
        return Parser(self.directory, self.dbt_options, profiles=profiles_file(self.directory, self._profiles_dir))

    @cached_property
    def sources(self) -> dict[str, Source]:
        """
        The source tables with an `external:` block, by name.

        Raises:
            ProjectError: a block is wrong, or a column has no type.
        """
        found = [Source.from_dict(source) for source in self._parser.derived("sources", self._declared_sources)]
        return {source.name: source for source in sorted(found, key=lambda source: source.name)}

    def _declared_sources(self, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
        from dpe_cli.project.source_yaml import Declarations

        declarations = Declarations(self.directory)
        return [asdict(_source(node, declarations.of(node))) for node in manifest["sources"].values() if node.get("external")]

    @cached_property
    def models(self) -> dict[str, Model]:
        """The models, seeds and snapshots that become relations, by name."""
        found: dict[str, Model] = {}
        for node in self.manifest["nodes"].values():
            if node["resource_type"] not in {"model", "seed", "snapshot"} or node["config"].get("materialized") == "ephemeral":
                continue
            # dpe's macros refuse a wrong declaration.
            declared = _mapping(_mapping(node["config"].get("meta")).get("rls"))
            found[node["name"]] = Model(
                unique_id=node["unique_id"],
                name=node["name"],
                schema=node["schema"],
                alias=node["alias"],
                tenant_columns=_as_tuple(declared.get("tenant_column")),
                declared=next(iter(declared), "private"),
                masked=_as_tuple(_mapping(node["config"].get("meta")).get("masked")),
            )
        return found

    @property
    def files(self) -> dict[str, str]:
        """The files of models, seeds, snapshots and sources, relative to the project, by the relation's `schema.name`."""
        nodes = [*self.manifest["nodes"].values(), *self.manifest["sources"].values()]
        kinds = {"model", "seed", "snapshot", "source"}
        return {
            f"{node['schema']}.{node.get('alias') or node.get('identifier')}": node["original_file_path"]
            for node in nodes
            if node["resource_type"] in kinds
        }

    @property
    def published_schemas(self) -> list[str]:
        """The schemas in which models, seeds and snapshots are published."""
        return sorted({model.schema for model in self.models.values()})

    def key_of(self, model: Model) -> tuple[str, ...]:
        """Return the columns that identify a model's rows, from its unique_key or a test on all rows; none if neither names them."""
        unique_key = self.manifest["nodes"][model.unique_id]["config"].get("unique_key")
        if unique_key:
            return (unique_key,) if isinstance(unique_key, str) else tuple(unique_key)
        for node in self.manifest["nodes"].values():
            test = node.get("test_metadata") or {}
            if node.get("attached_node") != model.unique_id or node["config"].get("where"):
                continue
            if test.get("name") == "unique":
                return (node["column_name"],)
            if test.get("name") == "unique_combination_of_columns":
                return tuple(test["kwargs"].get("combination_of_columns") or ())
        return ()

    @property
    def node_count(self) -> int:
        """How many nodes a whole build has."""
        return len(self.models) + self.test_count

    @property
    def test_count(self) -> int:
        """How many tests the project has."""
        tests = [node for node in self.manifest["nodes"].values() if node["resource_type"] == "test"]
        return len(tests) + len(self.manifest.get("unit_tests") or {})

    def select_sources(self, select: Sequence[str], exclude: Sequence[str] = ()) -> list[Source]:
        """
        Return the sources that dbt's selection syntax names; all of them if nothing is selected.

        `source:name` and `source:name.table` are matched here; `dbt ls` evaluates all other selectors.

        Raises:
            UsageError: a selector, or all of them together, name no source.
        """
        selectors = _split(select)
        if not selectors and not exclude:
            return list(self.sources.values())
        if not exclude and all(_PLAIN_SELECTOR.fullmatch(selector) for selector in selectors):
            names = self._match(selectors)
        else:
            chosen = self._parser.selected(selectors, exclude)
            names = {source.name for source in self.sources.values() if source.unique_id in chosen}
        if not names:
            raise UsageError(self._nothing_selected([*selectors, *exclude], "selects no source with an external block", self.sources))
        return [source for source in self.sources.values() if source.name in names]

    def sources_among(self, select: Sequence[str], exclude: Sequence[str] = ()) -> list[Source]:
        """
        Return the sources among everything that dbt's selection syntax names; there may be none if models need none.

        Raises:
            UsageError: nothing at all is selected.
        """
        if not _split(select) and not exclude:
            return list(self.sources.values())
        chosen = self._selected(select, exclude)
        if not chosen:
            raise UsageError(self._nothing_selected([*_split(select), *exclude], "selects nothing", [*self.sources, *self.models]))
        return [source for source in self.sources.values() if source.unique_id in chosen]

    def untestable(self, select: Sequence[str], exclude: Sequence[str], published: Collection[tuple[str, str]]) -> list[str]:
        """
        Return the selected tests that read relations which are neither selected nor published.

        `published` are schemas and names of relations.
        """
        if not _split(select) and not exclude:
            return []
        chosen = self._selected(select, exclude)
        missing = {
            model.unique_id
            for model in self.models.values()
            if model.unique_id not in chosen and (model.schema, model.alias) not in published
        }
        tests = [node for node in self.manifest["nodes"].values() if node["resource_type"] == "test" and node["unique_id"] in chosen]
        return sorted(test["name"] for test in tests if missing.intersection(test["depends_on"]["nodes"]))

    def _selected(self, select: Sequence[str], exclude: Sequence[str]) -> set[str]:
        key = (tuple(_split(select)), tuple(exclude))
        if key not in self._chosen:
            self._chosen[key] = self._parser.selected(*key)
        return self._chosen[key]

    def _match(self, selectors: Sequence[str]) -> set[str]:
        names: set[str] = set()
        for selector in selectors:
            pattern = selector.removeprefix("source:")
            found = fnmatch.filter(self.sources, pattern if "." in pattern else f"{pattern}.*")
            if not found:
                raise UsageError(self._nothing_selected([selector], "selects no source with an external block", self.sources))
            names.update(found)
        return names

    def _nothing_selected(self, selectors: Sequence[str], what: str, known: Iterable[str]) -> str:
        names = [_AROUND_A_NAME.sub("", selector) for selector in selectors]
        near = [found for name in names if (found := nearest(name, known))]
        spelt = [f"source:{name}" if name in self.sources else name for name in near or self.sources]
        hint = f"did you mean {spelt[0]}?" if near else f"there are {', '.join(spelt) or 'no sources'}"
        return f"{' '.join(selectors)}: {what}; {hint}"


def _split(select: Sequence[str]) -> list[str]:
    """Return the selectors; dbt also takes several in one argument."""
    return [selector for argument in select for selector in argument.split()]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _as_tuple(value: object) -> tuple[str, ...]:
    """Return a name, or a list of names, as names."""
    if isinstance(value, (list, tuple)):
        return tuple(str(name) for name in value)
    return () if value is None else (str(value),)


def _source(node: Mapping[str, Any], declaration: Declaration) -> Source:
    """Return a source table of the manifest."""
    name = f"{node['source_name']}.{node['name']}"
    declared_at = declaration.place
    meta = {**(node.get("source_meta") or {}), **(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}
    columns = tuple(_column(column, where=f"{name} ({declared_at})") for column in node["columns"].values())
    untyped = [column.name for column in columns if not column.data_type]
    if not columns or untyped:
        what = f"column {', '.join(untyped)} has no data_type" if untyped else "it declares no columns"
        raise ProjectError(f"{name} ({declared_at}): {what}; the columns with their data_type are the load contract")
    tenant_column = _tenant_column(meta.get("rls"), {column.name: column.data_type for column in columns}, where=f"{name} ({declared_at})")
    return Source(
        unique_id=node["unique_id"],
        name=name,
        table=StagingTable(
            source=name,
            schema=node["schema"],
            name=node["identifier"],
            columns=columns,
            tenant_column=tenant_column,
            description=node.get("description") or "",
            declared_at=declared_at,
        ),
        external=parse.parse(
            declaration.as_written(node["external"]), columns, declaration=SourceDeclaration(name, declared_at, declaration.line_of_option)
        ),
        spec=meta.get("spec"),
    )


def _column(column: Mapping[str, Any], *, where: str) -> Column:
    """Return a column of the contract, with the place of its values from its meta."""
    meta = {**(column.get("meta") or {}), **((column.get("config") or {}).get("meta") or {})}
    for name, kind in (("path", str), ("start", int), ("width", int)):
        if not isinstance(meta.get(name), (kind, type(None))):
            raise ProjectError(
                f"{where}: column {column['name']}: meta.{name} is {meta[name]!r}; write {'a path' if kind is str else 'a number'}"
            )
    return Column(
        column["name"],
        str(column.get("data_type") or ""),
        column.get("description") or "",
        path=meta.get("path"),
        start=meta.get("start"),
        width=meta.get("width"),
    )


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
