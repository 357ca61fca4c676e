"""What dbt knows about the project: sources with their columns, models, rules; and which of them a selection names."""

from __future__ import annotations

import fnmatch
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from dpe_cli.errors import ProjectError, UnknownNameError, UsageError
from dpe_cli.project.dbt_inputs import profiles_file
from dpe_cli.project.identity import identify
from dpe_cli.project.manifest import Parser
from dpe_cli.project.model import Model, by_name, models_of
from dpe_cli.project.source import Source, from_node
from dpe_cli.project.stored_names import stored_name
from dpe_cli.server.relations import is_reserved
from dpe_cli.words import nearest

_PLAIN_SELECTOR = re.compile(r"source:[\w*?]+(\.[\w*?]+)?")
# The operators around a name in a selector: `2+fct_flights+`, `@fct_flights`, `source:nyc.flights`.
_AROUND_A_NAME = re.compile(r"^(@|\d*\+)?(\w+:)?|\+\d*$")


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

    @cached_property
    def target(self) -> str:
        """
        The name of dbt's target.

        Raises:
            ProjectError: the project has no name, or no profile of that name.
        """
        return identify(self.directory, profiles_dir=self._profiles_dir, target=self._target, variables=self._variables).target

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

    @property
    def parsed_directory(self) -> Path:
        """Where dbt keeps what it has parsed of the project, so that it parses only what has changed since."""
        return self._parser.directory

    @cached_property
    def _parser(self) -> Parser:
        return Parser(self.directory, self.dbt_options, profiles=profiles_file(self.directory, self._profiles_dir))

    @cached_property
    def sources(self) -> dict[str, Source]:
        """
        The source tables with an `external:` block, by name.

        Raises:
            ProjectError: a block is wrong, a column has no type, or two packages declare a source of one name.
        """
        declared = [Source.from_dict(source) for source in self._parser.derived("sources", self._declared_sources)]
        found: dict[str, Source] = {}
        for source in sorted(declared, key=lambda source: source.name):
            # Staging and the ledger know a source by its name only.
            if source.name in found:
                other = found[source.name].table.declared_at
                raise ProjectError(f"{source.name} ({source.table.declared_at}): {other} declares a source of this name too; rename one")
            found[source.name] = source
        return found

    def _declared_sources(self, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
        from dpe_cli.project.source_yaml import Declarations

        declarations = Declarations(self.directory)
        return [asdict(from_node(node, declarations.of(node))) for node in manifest["sources"].values() if node.get("external")]

    @cached_property
    def models(self) -> dict[str, Model]:
        """The models, seeds and snapshots that become relations, by unique id."""
        return models_of(self.manifest)

    @property
    def models_named(self) -> dict[str, list[Model]]:
        """These by each name that people give them; versions of a model share one, and so may models of two packages."""
        return by_name(self.models.values())

    @property
    def files(self) -> dict[str, str]:
        """The files of models, seeds, snapshots and sources, relative to the project, by the relation's `schema.name`."""
        nodes = [*self.manifest["nodes"].values(), *self.manifest["sources"].values()]
        kinds = {"model", "seed", "snapshot", "source"}
        return {".".join(stored_name(node)): node["original_file_path"] for node in nodes if node["resource_type"] in kinds}

    @property
    def published_schemas(self) -> list[str]:
        """The schemas in which models, seeds and snapshots are published."""
        return sorted({model.schema for model in self.models.values()})

    @property
    def staging_schemas(self) -> list[str]:
        """The schemas into which sources are loaded."""
        return sorted({source.table.schema for source in self.sources.values()})

    @property
    def failure_schemas(self) -> list[str]:
        """The schemas in which tests may store their failures (`data_tests: +schema`)."""
        found = {node["schema"] for node in self.manifest["nodes"].values() if node["resource_type"] == "test"}
        return sorted(schema for schema in found.difference(self.published_schemas, self.staging_schemas) if not is_reserved(schema))

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
            UnknownNameError: a selector, or all of them together, name no source.
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
            raise UnknownNameError(self._nothing_selected([*selectors, *exclude], "selects no source with an external block", self.sources))
        return [source for source in self.sources.values() if source.name in names]

    def sources_among(self, select: Sequence[str], exclude: Sequence[str] = ()) -> list[Source]:
        """
        Return the sources among everything that dbt's selection syntax names; there may be none if models need none.

        Raises:
            UnknownNameError: nothing at all is selected.
        """
        if not _split(select) and not exclude:
            return list(self.sources.values())
        chosen = self._selected(select, exclude)
        if not chosen:
            raise UnknownNameError(
                self._nothing_selected([*_split(select), *exclude], "selects nothing", [*self.sources, *self.models_named])
            )
        return [source for source in self.sources.values() if source.unique_id in chosen]

    def untestable(self, select: Sequence[str], exclude: Sequence[str], published: Collection[tuple[str, str]]) -> list[str]:
        """
        Return the ids of the selected tests that read relations which are neither selected nor published.

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
        return sorted(test["unique_id"] for test in tests if missing.intersection(test["depends_on"]["nodes"]))

    def selected(self, select: Sequence[str], exclude: Sequence[str]) -> set[str] | None:
        """
        Return the ids of what dbt's selection syntax names; None for everything.

        Raises:
            ProjectError: dbt cannot read the project, or a selector.
        """
        # A selector may be the default.
        if not _split(select) and not exclude and not (self.directory / "selectors.yml").exists():
            return None
        return self._selected(select, exclude)

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
                raise UnknownNameError(self._nothing_selected([selector], "selects no source with an external block", self.sources))
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
