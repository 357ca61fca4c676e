"""dbt's manifest of a project: reused if nothing has changed, else parsed again by dbt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from dpe_cli import __version__
from dpe_cli.errors import ProjectError
from dpe_cli.project import dbt, dbt_inputs, package, unapplied
from dpe_cli.state import state_directory, state_path

T = TypeVar("T")
# dbt's own file of what it has parsed.
PARTIAL = "partial_parse.msgpack"


class Parser:
    """Returns dbt's manifest of the project in a directory; `options` are those with which dbt has to parse it."""

    def __init__(self, directory: Path, options: Sequence[str], *, profiles: Path) -> None:
        self._directory = directory
        self._options = options
        self._profiles = profiles
        # The same after the project has been moved.
        ways = [option.replace(str(directory), ".") for option in options]
        digest = hashlib.sha256(json.dumps(ways).encode()).hexdigest()[:12]
        self._path = state_path(directory) / "parsed" / digest / "manifest.json"
        self._state_path = self._path.with_name("state.json")

    @property
    def directory(self) -> Path:
        """The target directory of dbt in which the manifest is."""
        return self._path.parent

    def manifest(self) -> Mapping[str, Any]:
        """
        Return the manifest, after parsing if a file of the project, or a variable that it uses, has changed.

        Raises:
            ProjectError: dbt refuses the project, or the project declares something without effect.
        """
        if self._is_fresh() and (fresh := _read(self._path)):
            return fresh
        self._parse()
        return json.loads(self._path.read_bytes())  # type: ignore[no-any-return]

    def derived(self, name: str, derive: Callable[[Mapping[str, Any]], T]) -> T:
        """
        Return the result of `derive` (JSON values) for the manifest; it is kept under `name` until the manifest changes.

        A manifest has megabytes, and a command may need only a few lines of it.

        Raises:
            ProjectError: dbt refuses the project.
        """
        path = self._path.with_name(f"{name}.json")
        if self._is_fresh() and (kept := _read(path)) and kept["of"] == self._identity():
            return kept["value"]  # type: ignore[no-any-return]
        value = derive(self.manifest())
        path.write_text(json.dumps({"of": self._identity(), "value": value}))
        return value

    @property
    def _variables(self) -> str | None:
        return self._options[self._options.index("--vars") + 1] if "--vars" in self._options else None

    def _identity(self) -> list[object]:
        """Tell this manifest from another, also from one of a parse that was interrupted before its inputs were remembered."""
        return [__version__, self._path.stat().st_mtime_ns, self._path.stat().st_size]

    def selected(self, select: Sequence[str], exclude: Sequence[str]) -> set[str]:
        """
        Return the ids of what dbt's selection syntax names.

        Raises:
            ProjectError: dbt cannot read the project, or a selector.
        """
        command = ["ls", "--output", "json", "--output-keys", "unique_id"]
        command += ["--select", *select] if select else []
        command += ["--exclude", *exclude] if exclude else []
        # dbt reuses what it parsed next to the manifest; the manifest itself stays unchanged.
        outcome = dbt.invoke(command, ["--no-write-json", "--target-path", str(self._path.parent), *self._options])
        return {json.loads(line)["unique_id"] for line in outcome.result}

    def _parse(self) -> None:
        state_directory(self._directory)
        package.install(self._directory, lambda: dbt.invoke(["deps"], ["--project-dir", str(self._directory)]))
        seen = dbt_inputs.before_parsing(self._directory, self._profiles)
        parsed = self._parsed()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(dbt.as_json(parsed), encoding="utf-8")
        seen = dbt_inputs.after_parsing(self._directory, seen, parsed)
        self._state_path.write_text(json.dumps({"of": self._identity(), "inputs": asdict(seen)}))

    def _parsed(self) -> Any:
        """Return dbt's manifest as an object of dbt's, unless the project declares something without effect."""
        options = ["--no-write-json", "--target-path", str(self._path.parent), *self._options]
        warned: ProjectError | None = None
        try:
            parsed = dbt.invoke(["parse"], options).result
        except ProjectError as error:
            if not dbt.is_warning(error):
                raise
            # The project makes errors of dbt's warnings, which name no line and no remedy.
            options += ["--warn-error-options", "{}"]
            warned, parsed = error, dbt.invoke(["parse"], options).result
        if dbt.reads_what_is_gone(parsed):
            parsed = dbt.invoke(["parse", "--no-partial-parse"], options).result
        found = unapplied.find(self._directory, parsed, self._variables)
        if found or warned:
            # A test that dbt left out would stay out after what it reads has been added: that changes another file.
            (self._path.parent / PARTIAL).unlink(missing_ok=True)
        if found:
            raise ProjectError("; ".join(map(str, found))) from warned
        if warned:
            raise warned
        return parsed

    def _is_fresh(self) -> bool:
        state = _read(self._state_path)
        try:
            seen = dbt_inputs.Inputs(**state["inputs"]) if state else None
            return seen is not None and state["of"] == self._identity() and dbt_inputs.are_current(self._directory, self._profiles, seen)
        except (OSError, KeyError, TypeError):
            # A file is gone, or an earlier version of dpe wrote the state in another form.
            return False


def _read(path: Path) -> dict[str, Any]:
    """Return the content of one of our files; nothing if it is missing, or was cut short by an interrupt or a full disk."""
    try:
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return {}
