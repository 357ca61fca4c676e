"""What dbt knows of the project: sources with their columns, models, rules; read from a manifest that is parsed when stale."""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from dpe_cli.embedded import state_directory
from dpe_cli.errors import ProjectError, UsageError
from dpe_cli.load.staging import Column, StagingTable
from dpe_cli.sources import external
from dpe_cli.sources.external import External

_DBT_SUFFIXES = (".sql", ".yml", ".yaml", ".md", ".csv")
_PATH_OPTIONS = ("model-paths", "seed-paths", "snapshot-paths", "macro-paths", "test-paths", "analysis-paths")
_PLAIN_SELECTOR = re.compile(r"source:[\w*?]+(\.[\w*?]+)?")


@dataclass(frozen=True)
class Source:
    """A dbt source table that dpe extracts. `name` is dbt's `source_name.table_name`."""

    unique_id: str
    name: str
    table: StagingTable
    external: External
    spec: str | None


@dataclass(frozen=True)
class Model:
    """A relation that dbt builds. `tenant_column` is None for shared and private ones."""

    unique_id: str
    name: str
    schema: str
    alias: str
    tenant_column: str | None
    is_published: bool


@dataclass(frozen=True)
class Rule:
    """A data quality rule as one dbt test implements it."""

    rule_id: str
    test: str
    unique_id: str
    dimension: str
    severity: str
    owner: str
    because: str


class Project:
    """A dbt project on disk. `vars` is what the user gave as --vars, in YAML."""

    def __init__(
        self, directory: Path, *, profiles_dir: Path | None = None, target: str | None = None, variables: str | None = None
    ) -> None:
        self.directory = directory
        self._profiles_dir = profiles_dir
        self._target = target
        self._variables = variables

    @property
    def dbt_options(self) -> list[str]:
        """The options that make dbt look at this project as dpe does."""
        options = ["--project-dir", str(self.directory)]
        if self._profiles_dir:
            options += ["--profiles-dir", str(self._profiles_dir)]
        elif (self.directory / "profiles.yml").exists() and "DBT_PROFILES_DIR" not in os.environ:
            options += ["--profiles-dir", str(self.directory)]
        if self._target:
            options += ["--target", self._target]
        if self._variables:
            options += ["--vars", self._variables]
        return options

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """
        dbt's manifest, parsed first where a file of the project is newer.

        Raises:
            ProjectError: dbt refuses the project.
        """
        path = self._manifest_path
        if not path.exists() or path.stat().st_mtime <= self._newest_change():
            self._parse(path)
        manifest: Mapping[str, Any] = json.loads(path.read_bytes())
        return manifest

    @cached_property
    def sources(self) -> dict[str, Source]:
        """
        The source tables with an `external:` block, by name.

        Raises:
            ProjectError: a block, or a column without a type.
        """
        found = [self._source(node) for node in self.manifest["sources"].values() if node.get("external")]
        return {source.name: source for source in sorted(found, key=lambda source: source.name)}

    @cached_property
    def models(self) -> dict[str, Model]:
        """The models, seeds and snapshots that become relations, by name."""
        found: dict[str, Model] = {}
        for node in self.manifest["nodes"].values():
            if node["resource_type"] not in {"model", "seed", "snapshot"} or node["config"].get("materialized") == "ephemeral":
                continue
            declared = (node["config"].get("meta") or {}).get("rls") or {}
            found[node["name"]] = Model(
                unique_id=node["unique_id"],
                name=node["name"],
                schema=node["schema"],
                alias=node["alias"],
                tenant_column=declared.get("tenant_column"),
                is_published=bool(declared) and not declared.get("private"),
            )
        return found

    @property
    def node_count(self) -> int:
        """How many nodes a whole build has."""
        return len(self.models) + self.test_count

    @property
    def test_count(self) -> int:
        """How many tests the project has."""
        return sum(node["resource_type"] in {"test", "unit_test"} for node in self.manifest["nodes"].values())

    @cached_property
    def rules(self) -> list[Rule]:
        """The rules, one entry for each test that implements one, by id."""
        found = []
        for node in self.manifest["nodes"].values():
            meta = node.get("config", {}).get("meta") or {}
            if node["resource_type"] == "test" and meta.get("rule"):
                found.append(
                    Rule(
                        rule_id=str(meta["rule"]),
                        test=node["name"],
                        unique_id=node["unique_id"],
                        dimension=str(meta.get("dimension", "")),
                        severity=str(node["config"].get("severity", "error")).lower(),
                        owner=str(meta.get("owner", "")),
                        because=str(meta.get("because", "")),
                    )
                )
        return sorted(found, key=lambda rule: (rule.rule_id, rule.test))

    def select_sources(self, select: Sequence[str], exclude: Sequence[str] = ()) -> list[Source]:
        """
        Return the sources that dbt's selection syntax names; all of them where nothing is selected.

        `source:name` and `source:name.table` are matched here; whatever else is asked of `dbt ls`.

        Raises:
            UsageError: nothing is selected.
        """
        selectors = [part for one in select for part in one.split()]
        if not selectors and not exclude:
            return list(self.sources.values())
        if not exclude and all(_PLAIN_SELECTOR.fullmatch(selector) for selector in selectors):
            names = self._match([selector.removeprefix("source:") for selector in selectors])
        else:
            names = self._ask_dbt(selectors, exclude)
        if not names:
            raise UsageError(self._nothing_selected([*selectors, *exclude]))
        return [source for source in self.sources.values() if source.name in names]

    def _match(self, patterns: Sequence[str]) -> set[str]:
        names: set[str] = set()
        for pattern in patterns:
            whole = pattern if "." in pattern else f"{pattern}.*"
            found = fnmatch.filter(self.sources, whole)
            if not found:
                raise UsageError(self._nothing_selected([f"source:{pattern}"]))
            names.update(found)
        return names

    def _nothing_selected(self, selectors: Sequence[str]) -> str:
        wanted = " ".join(selectors)
        nearest = difflib.get_close_matches(wanted.removeprefix("source:"), self.sources, n=1)
        hint = f"did you mean source:{nearest[0]}?" if nearest else f"there are {', '.join(self.sources) or 'none'}"
        return f"{wanted}: selects no source with an external block; {hint}"

    def _ask_dbt(self, selectors: Sequence[str], exclude: Sequence[str]) -> set[str]:
        command = ["ls", "--quiet", "--resource-type", "source", "--output", "json", "--output-keys", "unique_id"]
        command += ["--select", *selectors] if selectors else []
        command += ["--exclude", *exclude] if exclude else []
        output = self._dbt(command)
        chosen = {json.loads(line)["unique_id"] for line in output.splitlines() if line.startswith("{")}
        return {source.name for source in self.sources.values() if source.unique_id in chosen}

    def _source(self, node: Mapping[str, Any]) -> Source:
        name = f"{node['source_name']}.{node['name']}"
        declared_at = self._declared_at(node)
        meta = {**(node.get("source_meta") or {}), **(node.get("meta") or {}), **((node.get("config") or {}).get("meta") or {})}
        rls = meta.get("rls") or {}
        columns = tuple(
            Column(column["name"], str(column.get("data_type") or ""), column.get("description") or "")
            for column in node["columns"].values()
        )
        untyped = [column.name for column in columns if not column.data_type]
        if not columns or untyped:
            what = f"column {', '.join(untyped)} has no data_type" if untyped else "it declares no columns"
            raise ProjectError(f"{name} ({declared_at}): {what}; the columns with their data_type are the load contract")
        tenant_column = rls.get("tenant_column")
        if tenant_column is not None and tenant_column not in {column.name for column in columns}:
            raise ProjectError(f"{name} ({declared_at}): rls: tenant_column {tenant_column} is not a column; name one of its columns")
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
            external=external.parse(node["external"], source=name, declared_at=declared_at),
            spec=meta.get("spec"),
        )

    def _declared_at(self, node: Mapping[str, Any]) -> str:
        """Return file and line of a source table's declaration."""
        path = self.directory / node["original_file_path"]
        try:
            document = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        except (OSError, yaml.YAMLError):
            return str(node["original_file_path"])
        for source in _entries(document, "sources"):
            if _scalar(source, "name") == node["source_name"]:
                for table in _entries(source, "tables"):
                    if _scalar(table, "name") == node["name"]:
                        return f"{node['original_file_path']}:{table.start_mark.line + 1}"
        return str(node["original_file_path"])

    @property
    def _manifest_path(self) -> Path:
        asked = json.dumps([self._target, self._variables, str(self._profiles_dir or "")])
        digest = hashlib.sha256(asked.encode()).hexdigest()[:12]
        return self.directory / ".dpe" / "parsed" / digest / "manifest.json"

    def _parse(self, path: Path) -> None:
        started = time.time()
        state_directory(self.directory)
        self._dbt(["parse", "--quiet", "--target-path", str(path.parent)])
        # A file that was saved while dbt was reading counts as newer.
        os.utime(path, (started, started))

    def _dbt(self, command: Sequence[str]) -> str:
        """Run dbt, which does not have to reach the server for this, and return its output."""
        program = [sys.executable, "-c", "from dbt.cli.main import cli; cli()"]
        process = subprocess.run(  # noqa: S603 our own interpreter
            [*program, "--no-use-colors", *command, *self.dbt_options], cwd=self.directory, capture_output=True, text=True, check=False
        )
        if process.returncode:
            raise ProjectError(f"dbt {command[0]}: the project cannot be read; correct what dbt says:\n{process.stdout.strip()}")
        return process.stdout

    def _newest_change(self) -> float:
        return max((os.stat(path).st_mtime for path in self._watched()), default=0.0)

    def _watched(self) -> Iterator[str]:
        """Yield the files dbt reads, and their directories, whose times change when a file is removed."""
        settings = self.directory / "dbt_project.yml"
        try:
            options = yaml.load(settings.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)  # noqa: S506 it is the safe one
        except OSError as error:
            raise ProjectError(f"{settings}: no dbt project ({error.strerror}); run dpe within one, or give --project-dir") from error
        except yaml.YAMLError as error:
            raise ProjectError(f"{settings}: is not valid YAML; {error}") from error
        yield str(settings)
        profiles = (self._profiles_dir or self.directory) / "profiles.yml"
        if profiles.exists():
            yield str(profiles)
        for option in _PATH_OPTIONS:
            for root in (options or {}).get(option) or []:
                yield from _tree(str(self.directory / root))


def _tree(path: str) -> Iterator[str]:
    """Yield the directory, those below it that dbt reads, and their files."""
    try:
        entries = list(os.scandir(path))
    except FileNotFoundError:
        return
    yield path
    for entry in entries:
        if entry.is_dir():
            if entry.name not in {"python", "__pycache__"}:
                yield from _tree(entry.path)
        elif entry.name.endswith(_DBT_SUFFIXES):
            yield entry.path


def _entries(node: yaml.Node | None, key: str) -> list[yaml.Node]:
    """Return the items of the list under a key of a YAML mapping."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key and isinstance(value, yaml.SequenceNode):
                return list(value.value)
    return []


def _scalar(node: yaml.Node, key: str) -> str | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key and isinstance(value, yaml.ScalarNode):
                return str(value.value)
    return None
