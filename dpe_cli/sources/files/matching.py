"""
Which files match a location.

The location's fixed directories, before its first wildcard, are the operator's. What is below them may be a sender's work: symbolic
links there lead no further than the fixed directories, unless the source follows links.
"""

from __future__ import annotations

import fnmatch
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpe_cli.errors import InputError
from dpe_cli.safe_text.visible_text import in_message

_WILDCARDS = frozenset("*?[")
_ANY_DEPTH = "**"


def base_of(location: str, project_dir: Path) -> Path:
    """Return the fixed directory of a location, without links."""
    return _resolved(_divided(location, project_dir)[0])


def check_links(path: Path, base: Path, *, location: str) -> None:
    """
    Refuse a path that a link leads out of the base.

    Raises:
        InputError: one does.
    """
    if not _resolved(path).is_relative_to(base):
        raise InputError(
            f"{location}: a symbolic link leads out of {base}; deliver the file itself, or set follow_links in the external block "
            "if its sender may read whatever dpe can read"
        )


def matching(location: str, project_dir: Path, *, base: Path | None) -> list[Path]:
    """
    Return the paths that match a location, sorted by name; hidden ones only if the pattern names them.

    The path of an existing file is taken literally too, even if it contains brackets, but never instead of other files:
    otherwise a file that is literally named `*.csv` would hide all others. Without a `base`, links may lead anywhere.

    Raises:
        InputError: a directory cannot be listed, or a link leads out of the base.
    """
    directory, parts = _divided(location, project_dir)
    found = {*_Search(location, base, project_dir).expand(directory, parts)} if parts else set()
    if (project_dir / location).is_file():
        found.add(project_dir / location)
    return sorted(found)


def _divided(location: str, project_dir: Path) -> tuple[Path, tuple[str, ...]]:
    """Return a location's fixed directory, and what follows: at least the name of a file, which the sender may have chosen."""
    parts = Path(location).parts
    fixed = next((index for index, part in enumerate(parts) if _WILDCARDS & set(part)), len(parts) - 1)
    return project_dir.joinpath(*parts[:fixed]), parts[fixed:]


@dataclass(frozen=True)
class _Search:
    """Finds what matches, in time proportional to what is there, whatever links a sender makes."""

    location: str
    base: Path | None
    project_dir: Path

    def expand(self, directory: Path, parts: Sequence[str]) -> Iterator[Path]:
        """Yield the paths below a directory that match the parts of a pattern."""
        first, *rest = parts
        if first == _ANY_DEPTH:
            while rest and rest[0] == _ANY_DEPTH:
                rest = rest[1:]
            for below in self._directories(directory):
                yield from self.expand(below, rest or ["*"])
        elif not _WILDCARDS & set(first):
            if os.path.lexists(directory / first):
                yield from self._within(directory / first, rest)
        else:
            for entry in self._entries(directory):
                if fnmatch.fnmatchcase(entry.name, first) and (first.startswith(".") or not entry.name.startswith(".")):
                    yield from self._within(directory / entry.name, rest)

    def _within(self, path: Path, rest: Sequence[str]) -> Iterator[Path]:
        if not rest:
            yield path
        elif _is_directory(path):
            if self.base is not None:
                check_links(path, self.base, location=shown(path, self.project_dir))
            yield from self.expand(path, rest)

    def _directories(self, top: Path) -> Iterator[Path]:
        """
        Yield a directory and those below it, each once.

        A link to a directory within the base is not followed: what it leads to is found anyway. If links may lead anywhere, they come
        after the directories themselves.
        """
        waiting, links, seen = deque([top]), deque[Path](), set[tuple[int, int]]()
        while waiting or links:
            directory = waiting.popleft() if waiting else links.popleft()
            try:
                status = directory.stat()
            except FileNotFoundError:
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            yield directory
            for entry in self._entries(directory):
                path = directory / entry.name
                if entry.name.startswith(".") or not _is_directory(path):
                    continue
                if not entry.is_symlink():
                    waiting.append(path)
                elif self.base is None:
                    links.append(path)
                else:
                    check_links(path, self.base, location=shown(path, self.project_dir))

    def _entries(self, directory: Path) -> Iterable[os.DirEntry[str]]:
        try:
            with os.scandir(directory) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            # The location's own directory is missing, or a directory was removed meanwhile.
            return ()
        except OSError as error:
            raise InputError(
                f"{shown(directory, self.project_dir)}: cannot be searched for {self.location} ({error.strerror}); "
                "correct its permissions, or remove it"
            ) from error


def _is_directory(path: Path) -> bool:
    # Path.is_dir() raises if the path may not be looked at.
    return os.path.isdir(path)  # noqa: PTH112


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))


def name_of(path: Path, project_dir: Path) -> str:
    """Return a path relative to the project, if it is in it."""
    return str(path.relative_to(project_dir)) if path.is_relative_to(project_dir) else str(path)


def shown(path: Path, project_dir: Path) -> str:
    """Return this name for a message, even if it is not valid UTF-8."""
    return in_message(name_of(path, project_dir).encode(errors="backslashreplace").decode())


def is_text(name: str) -> bool:
    """Return whether a name is valid UTF-8."""
    return name == name.encode(errors="ignore").decode()
