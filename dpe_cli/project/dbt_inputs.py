"""
What dbt reads of a project, so that a manifest is used only while none of it has changed.

That is every file in the paths of the project and of its installed packages, the settings at their top, the environment variables that
these ask for, dbt's own variables, and the versions of dbt's packages.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_cli import __version__
from dpe_cli.errors import ProjectError

# dbt's defaults: dbt/config/project.py, Project.from_project_config.
_PATHS: Mapping[str, object] = {
    "model-paths": ["models"],
    "seed-paths": ["seeds"],
    "snapshot-paths": ["snapshots"],
    "macro-paths": ["macros"],
    "test-paths": ["tests"],
    "analysis-paths": ["analyses"],
    "function-paths": ["functions"],
    "docs-paths": [],
    "packages-install-path": "dbt_packages",
}
_SETTINGS = "dbt_project.yml"
# dbt looks for these at the top of a project.
_MORE_FILES = ("packages.yml", "dependencies.yml", "package-lock.yml", "selectors.yml", "vars.yml", "catalogs.yml", ".dbtignore")
_SUFFIXES = (".sql", ".yml", ".yaml", ".md", ".csv", ".py")
# From dbt 1.12 on, semantic models can be in a format of their own, which only these directories have.
_SEMANTIC_MODELS = ("osi-paths", ["osi", "OSI"], "*.json")
# Defaults of dbt's options, from dbt 1.12 on; in the user's home.
_USER_SETTINGS = Path(".dbt") / "user_settings.yml"
_ENV_VAR = re.compile(r"env_var\(\s*['\"](\w+)")
# A secret decides nothing in the manifest, and not even its digest belongs on disk.
_SECRET_SETTING = re.compile(r"^\s*\w*(pass|secret|token|private_key)\w*\s*:", re.IGNORECASE)
_SECRET_VARIABLE = "DBT_ENV_SECRET"  # noqa: S105 dbt's prefix of variables that it shows nowhere
# The clock that files get their times from ticks every 4 ms (CONFIG_HZ=250), at most every 10; in nanoseconds.
_TICK = 10_000_000


@dataclass(frozen=True)
class Inputs:
    """
    What dbt reads of the project in `directory`: where it looks, and the state of it.

    `roots` are directories, some with the ending of the files that count there; `files` have the time of change in nanoseconds and the
    size, `variables` a digest of their values; all of it as it was `at` a time, in nanoseconds. Paths within the project are relative to
    it, so that a copy of the project can use a copy of its manifest.
    """

    profiles: str
    roots: list[str]
    files: dict[str, list[int] | None]
    variables: dict[str, str]
    versions: list[str]
    at: int


def before_parsing(directory: Path, profiles: Path) -> Inputs:
    """
    Return what dbt is about to read, as far as its settings tell.

    Raises:
        ProjectError: dbt_project.yml cannot be read.
    """
    # A file that was saved in this tick of the clock could be saved again in it, and would look the same.
    time.sleep(2 * _TICK / 1e9)
    at = time.time_ns()
    roots = _roots(directory)
    files = _files(directory, profiles, roots)
    names = {name for path in files for name in _asked_for(directory / path)}
    return Inputs(_relative(directory, str(profiles)), roots, files, _digests(names), _versions(), at)


def after_parsing(directory: Path, before: Inputs, parsed: Any) -> Inputs:
    """
    Return what dbt has read; `parsed` is its manifest, as an object of dbt's.

    A file that changed in the meantime has no state, so the next look finds it changed.
    """
    searched = {os.path.join(file.path.project_root, file.path.searched_path) for file in parsed.files.values() if file.path}  # noqa: PTH118 one for each file
    roots = sorted({*before.roots, *(_relative(directory, path) for path in searched if os.path.isdir(path))})  # noqa: PTH112 the same
    files = _files(directory, directory / before.profiles, roots)
    known = tuple(root.partition("*")[0].rstrip(os.sep) + os.sep for root in before.roots)
    changed = {path for path, state in before.files.items() if files.get(path) != state}
    changed |= {path for path in files.keys() - before.files.keys() if path.startswith(known)}
    changed |= {path for path, state in files.items() if state and state[0] >= before.at - _TICK}
    # Names that Jinja puts together are known only when it has asked for them.
    late = [name for name in parsed.env_vars if name not in before.variables]
    variables = before.variables | _digests(late)
    return Inputs(before.profiles, roots, files | dict.fromkeys(changed), variables, before.versions, before.at)


def are_current(directory: Path, profiles: Path, seen: Inputs) -> bool:
    """Return whether all that dbt read is as it was."""
    return (
        seen.profiles == _relative(directory, str(profiles))
        and seen.versions == _versions()
        and seen.variables == _digests(seen.variables)
        and seen.files == _files(directory, profiles, seen.roots)
    )


def profiles_file(directory: Path, given: Path | None) -> Path:
    """Return the profiles.yml that dbt takes; `given` is the directory of --profiles-dir (dbt, "About profiles.yml": search order)."""
    if given or (chosen := os.environ.get("DBT_PROFILES_DIR")):
        return Path(given or chosen or ".") / "profiles.yml"
    places = (directory, Path.cwd(), Path.home() / ".dbt")
    return next((path for place in places if (path := place / "profiles.yml").exists()), places[-1] / "profiles.yml")


def _roots(directory: Path) -> list[str]:
    """Return the directories in which dbt looks for files; that of the installed packages as a whole."""
    settings = settings_of(directory / _SETTINGS)
    roots = [str(root) for option, default in _PATHS.items() for root in _listed(settings.get(option) or default)]
    option, default, ending = _SEMANTIC_MODELS
    return roots + [os.path.join(str(root), ending) for root in _listed(settings.get(option) or default)]  # noqa: PTH118 as the others


def packages_directory(directory: Path) -> Path:
    """Return the directory into which dbt installs the packages of a project."""
    option = "packages-install-path"
    return directory / str(settings_of(directory / _SETTINGS).get(option) or _PATHS[option])


def _listed(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else [value]


def settings_of(path: Path) -> Mapping[str, Any]:
    """
    Return the settings in one of dbt's files.

    Raises:
        ProjectError: it cannot be read, is not valid YAML, or holds no settings.
    """
    import yaml

    try:
        settings = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectError(f"{path}: cannot be read ({error}); run dpe within a dbt project, or give --project-dir") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ProjectError(f"{path}{where}: is not valid YAML ({problem}); correct it") from error
    if not isinstance(settings, dict):
        raise ProjectError(f"{path}: holds no settings; write at least `name: …` and `profile: …`")
    return settings


def _files(directory: Path, profiles: Path, roots: Iterable[str]) -> dict[str, list[int] | None]:
    """Return the state of each file."""
    files: dict[str, list[int] | None] = {}
    for path in (str(profiles), str(Path.home() / _USER_SETTINGS), *(str(directory / name) for name in (_SETTINGS, *_MORE_FILES))):
        try:
            state = os.stat(path)  # noqa: PTH116 at each start
        except OSError:
            continue
        files[_relative(directory, path)] = [state.st_mtime_ns, state.st_size]
    for root in roots:
        path, _, ending = root.partition("*")
        for entry in _tree(os.path.join(directory, path), ending or _SUFFIXES):  # noqa: PTH118 at each start
            state = _state(entry)
            files[_relative(directory, entry.path)] = [state.st_mtime_ns, state.st_size]
    return files


def _state(entry: os.DirEntry[str]) -> os.stat_result:
    """Return the state of a file; of the link itself, if it leads nowhere, as an editor's lock does."""
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)


def _tree(path: str, endings: str | tuple[str, ...], within: frozenset[tuple[int, int]] = frozenset()) -> Iterator[os.DirEntry[str]]:
    """Yield the files in a directory that end so; `within` are the directories that it is in, to which a link in it may lead back."""
    try:
        state = os.stat(path)  # noqa: PTH116 at each start
        entries = list(os.scandir(path))
    except (FileNotFoundError, NotADirectoryError):
        return
    identity = (state.st_dev, state.st_ino)
    if identity in within:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _tree(entry.path, endings, within | {identity})
        elif entry.name.endswith(endings):
            yield entry


def _relative(directory: Path, path: str) -> str:
    return path.removeprefix(f"{directory}{os.sep}")


def _asked_for(path: Path) -> set[str]:
    """Return the environment variables that a file names, secrets of the connection apart."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        # A link that leads nowhere, or a file that is gone: if dbt needs it, dbt says so.
        return set()
    return {name for line in lines if not _SECRET_SETTING.match(line) for name in _ENV_VAR.findall(line)}


def _digests(names: Iterable[str]) -> dict[str, str]:
    """Return each variable's value as a digest, and those that direct dbt itself."""
    wanted = {*names, *(name for name in os.environ if name.startswith("DBT_"))}
    return {
        name: hashlib.sha256(os.environ[name].encode(errors="surrogateescape")).hexdigest() if name in os.environ else ""
        for name in sorted(wanted)
        if not name.startswith(_SECRET_VARIABLE)
    }


def _versions() -> list[str]:
    """Return the versions of dpe and of dbt's packages: the names of the directories that pip wrote, which takes no import."""
    spec = importlib.util.find_spec("dbt")
    places: Sequence[str] = list(spec.submodule_search_locations or []) if spec else []
    names = {name for place in places for name in _names(os.path.dirname(place))}  # noqa: PTH120 at each start
    installed = [name for name in names if name.startswith("dbt") and name.endswith(".dist-info")]
    return [f"dpe {__version__}", *sorted(installed)]


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 at each start
    except OSError:
        return []
