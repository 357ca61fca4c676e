"""Changes of a project's files: shown as a diff, and written all together."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dpe_cli.errors import ProjectError, UsageError
from dpe_cli.safe_text import redaction
from dpe_cli.yaml_insertion import NotInsertableError


@dataclass(frozen=True)
class Change:
    """A file of the project, with its text before (None if it is new) and after; `path` is relative to the project."""

    path: str
    before: str | None
    after: str


@dataclass
class Changes:
    """The changes of the files in a directory, so far; a file may be changed several times."""

    directory: Path
    _texts: dict[str, tuple[str | None, str]] = field(default_factory=dict)

    def text(self, path: str) -> str | None:
        """
        Return the text of a file with the changes so far; None if there is none.

        Raises:
            UsageError: it cannot be read.
        """
        if path in self._texts:
            return self._texts[path][1]
        return self._read(path)

    def edit(self, path: str, edit: Callable[[str], str]) -> None:
        """
        Change a file; a new one is empty before.

        Raises:
            ProjectError: it is written in a way that cannot be extended safely.
            UsageError: it cannot be read.
        """
        before = self._texts[path][0] if path in self._texts else self._read(path)
        try:
            after = edit(self.text(path) or "")
        except NotInsertableError as error:
            raise ProjectError(f"{path}: {error}; nothing was written; rewrite that part in the usual form of YAML, then repeat") from error
        self._texts[path] = (before, after)

    def all(self) -> list[Change]:
        """Return the files that change."""
        return [Change(path, before, after) for path, (before, after) in sorted(self._texts.items()) if after != before]

    def _read(self, path: str) -> str | None:
        try:
            return (self.directory / path).read_bytes().decode()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: cannot be read ({error}); correct it, then repeat") from error


def diff(changes: Iterable[Change]) -> list[str]:
    """Return the lines of a unified diff, without known secrets."""
    lines: list[str] = []
    for change in changes:
        found = difflib.unified_diff(
            [] if change.before is None else change.before.splitlines(),
            change.after.splitlines(),
            "/dev/null" if change.before is None else f"a/{change.path}",
            f"b/{change.path}",
            lineterm="",
        )
        lines += map(redaction.hide, found)
    return lines


def write(directory: Path, changes: Iterable[Change]) -> None:
    """
    Write the files.

    Raises:
        ProjectError: one was changed by somebody else since it was read; the files before it are written.
        UsageError: one cannot be written.
    """
    for change in changes:
        path = directory / change.path
        try:
            if change.before is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8", newline="") as file:
                    file.write(change.after)
                continue
            if path.read_bytes() != change.before.encode():
                raise ProjectError(f"{change.path}: was changed in the meantime; repeat the command")
            with path.open("w", encoding="utf-8", newline="") as file:
                file.write(change.after)
        except FileExistsError as error:
            raise ProjectError(f"{change.path}: was created in the meantime; repeat the command") from error
        except OSError as error:
            raise UsageError(f"{change.path}: cannot be written ({error.strerror}); correct that, then repeat") from error
