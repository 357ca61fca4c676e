"""dbt's manifest of a project: reused if nothing has changed, else parsed again by dbt."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dpe_cli import __version__
from dpe_cli.errors import ProjectError
from dpe_cli.project import dbt
from dpe_cli.state import state_directory

_DBT_SUFFIXES = (".sql", ".yml", ".yaml", ".md", ".csv")
_PATH_OPTIONS = ("model-paths", "seed-paths", "snapshot-paths", "macro-paths", "test-paths", "analysis-paths")
# dbt reads these from fixed places.
_MORE_FILES = ("packages.yml", "dependencies.yml", "package-lock.yml")
_ENV_VAR = re.compile(r"env_var\(\s*['\"](\w+)")

T = TypeVar("T")


class Parser:
    """Returns dbt's manifest of the project in a directory; `options` are those with which dbt has to parse it."""

    def __init__(self, directory: Path, options: Sequence[str], *, profiles_dir: Path) -> None:
        self._directory = directory
        self._options = options
        self._settings = directory / "dbt_project.yml"
        self._profiles = profiles_dir / "profiles.yml"
        # The same after the project has been moved.
        ways = [option.replace(str(directory), ".") for option in options]
        digest = hashlib.sha256(json.dumps(ways).encode()).hexdigest()[:12]
        self._path = directory / ".dpe" / "parsed" / digest / "manifest.json"
        self._state_path = self._path.with_name("state.json")

    def manifest(self) -> Mapping[str, Any]:
        """
        Return the manifest, after parsing if a file of the project, or a variable that it uses, has changed.

        Raises:
            ProjectError: dbt refuses the project.
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

    def _identity(self) -> list[object]:
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
        started = time.time()
        roots = self._roots()
        state_directory(self._directory)
        # Read before dbt does, so that changes during the parse count as changes.
        state = {"variables": _digests(_variables_asked_for(self._watched(roots))), "roots": roots}
        dbt.invoke(["parse"], ["--target-path", str(self._path.parent), *self._options])
        self._state_path.write_text(json.dumps(state))
        # A file that was saved while dbt was reading counts as newer.
        os.utime(self._path, (started, started))

    def _is_fresh(self) -> bool:
        state = _read(self._state_path)
        try:
            parsed = self._path.stat().st_mtime
            return (
                bool(state)
                and state["variables"] == _digests(state["variables"])
                and all(os.stat(path).st_mtime < parsed for path in self._watched(state["roots"]))  # noqa: PTH116 hundreds of them, at each start
            )
        except OSError:
            return False

    def _watched(self, roots: Sequence[str]) -> Iterator[str]:
        """Yield the files that dbt reads, and their directories, whose times change when a file is removed."""
        for path in (self._settings, self._profiles, *(self._directory / name for name in _MORE_FILES)):
            if path.exists():
                yield str(path)
        for root in roots:
            yield from _tree(str(self._directory / root))

    def _roots(self) -> list[str]:
        """Return the directories in which dbt looks for files."""
        import yaml

        try:
            options = yaml.load(self._settings.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        except (OSError, UnicodeDecodeError) as error:
            raise ProjectError(
                f"{self._settings}: cannot be read ({error}); run dpe within a dbt project, or give --project-dir"
            ) from error
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            problem = getattr(error, "problem", None) or " ".join(str(error).split())
            raise ProjectError(f"{self._settings}{where}: is not valid YAML ({problem}); correct it") from error
        if not isinstance(options, dict):
            raise ProjectError(f"{self._settings}: holds no settings; write at least `name: …` and `profile: …`")
        return [str(root) for option in _PATH_OPTIONS for root in options.get(option) or []]


def _read(path: Path) -> dict[str, Any]:
    """Return the content of one of our files; nothing if it is missing, or was cut short by an interrupt or a full disk."""
    try:
        return json.loads(path.read_bytes())  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return {}


def _tree(path: str) -> Iterator[str]:
    """Yield the directory, the directories below it that dbt reads, and their files."""
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


def _variables_asked_for(watched: Iterable[str]) -> set[str]:
    """Return the environment variables that the project uses; the manifest does not depend on those of the connection."""
    paths = [Path(path) for path in watched if path.endswith((".sql", ".yml", ".yaml")) and not path.endswith("profiles.yml")]
    return {name for path in paths for name in _ENV_VAR.findall(path.read_text(encoding="utf-8", errors="replace"))}


def _digests(names: Iterable[str]) -> dict[str, str]:
    """Return each variable's value as a digest: it may be a secret."""
    return {name: hashlib.sha256(os.environ.get(name, "").encode()).hexdigest() if name in os.environ else "" for name in sorted(names)}
