"""
The operating system's user that the embedded PostgreSQL runs as.

PostgreSQL refuses to run as root. If root runs dpe (mostly in a container), the server runs as the owner of its data
directory or, if that is new, as a system user of its own; otherwise it runs as the user that runs dpe.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dpe_cli import machine
from dpe_cli.environment import for_program
from dpe_cli.errors import ServerError
from dpe_cli.safe_text.visible_text import message

NAME = "dpe-postgres"


@dataclass(frozen=True)
class SystemUser:
    """The operating system's user that the server runs as."""

    name: str
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Whether this is not the user that runs dpe."""
        return self.uid != os.geteuid()

    def run(self, arguments: Sequence[str | Path], *, directory: Path, script: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program as this user with `script` as standard input, and return its output; its messages are in English."""
        identity = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.is_other else {}
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [str(argument) for argument in arguments],
            check=False,
            cwd=directory,
            # Not the caller's environment: PGDATA and PGOPTIONS would change the server, and it has no need of passwords.
            env={name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ} | {"LC_ALL": "C"},
            input=script or "",
            capture_output=True,
            text=True,
            errors="replace",
            **identity,
        )

    def make_directory(self, directory: Path) -> None:
        """Make a missing directory, and ensure that only this user can enter it."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
        if found.st_uid == os.geteuid() and self.is_other:
            os.chown(directory, self.uid, self.gid, follow_symlinks=False)
            found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != self.uid:
            raise ServerError(f"{directory}: is not a directory of the user {self.name}; remove it, or run dpe as the user that made it")
        if stat.S_IMODE(found.st_mode) != 0o700:
            directory.chmod(0o700)

    def write(self, path: Path, text: str) -> None:
        """Write a file that this user owns."""
        path.write_text(text)
        if self.is_other:
            os.chown(path, self.uid, self.gid)

    def take_over(self, directory: Path) -> None:
        """Make this user the owner of a directory and its content: copying or mounting it may have changed the owner."""
        if directory.stat().st_uid == self.uid:
            return
        if os.geteuid() != 0:
            raise ServerError(f"{directory}: belongs to another user than {self.name}; run dpe as the user that made it, or remove it")
        for parent, _, files in os.walk(directory):
            for path in (Path(parent), *(Path(parent, name) for name in files)):
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def let_through(self, directory: Path) -> None:
        """Give others search permission on each directory along this path that this user cannot enter, and print which."""
        if not self.is_other:
            return
        for ancestor in reversed((directory, *directory.parents)):
            found = ancestor.stat()
            if found.st_uid != self.uid and not found.st_mode & stat.S_IXOTH:
                ancestor.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)
                sys.stderr.write(
                    message(f"{ancestor}: search permission (o+x) given, for the PostgreSQL server that runs as {self.name}") + "\n"
                )

    def let_read(self, directory: Path) -> None:
        """Let this user read a directory and its content (programs that root installed under a strict umask), and print that."""
        if not self.is_other or directory.stat().st_mode & stat.S_IROTH:
            return
        for parent, _, files in os.walk(directory):
            for path in (Path(parent), *(Path(parent, name) for name in files)):
                mode = stat.S_IMODE(path.stat().st_mode)
                # Others get the owner's rights to read and to execute.
                path.chmod(mode | (mode & (stat.S_IRUSR | stat.S_IXUSR)) >> 6)
        sys.stderr.write(message(f"{directory}: made readable, for the PostgreSQL server that runs as {self.name}") + "\n")


def server_user(directory: Path) -> SystemUser:
    """
    Return the user that runs the server of a directory: the current one.

    For root it is the directory's owner, so that a user's server remains theirs when root uses it; for a new
    directory it is the system user `dpe-postgres`, which is created if it is missing.
    """
    if os.geteuid() != 0:
        found = pwd.getpwuid(os.geteuid())
    elif owner := _owner(directory):
        found = owner
    else:
        try:
            found = pwd.getpwnam(NAME)
        except KeyError:
            found = _create()
    return SystemUser(found.pw_name, found.pw_uid, found.pw_gid)


def _owner(directory: Path) -> pwd.struct_passwd | None:
    """Return the owner of a directory, unless it is root or (in a directory from another machine) unknown here."""
    try:
        found = pwd.getpwuid(directory.stat().st_uid)
    except (OSError, KeyError):
        return None
    return found if found.pw_uid != 0 else None


def _create() -> pwd.struct_passwd:
    if shutil.which("useradd") is None:
        raise ServerError(
            f"user {NAME}: PostgreSQL cannot run as root, and useradd is not installed; create that user, or run dpe as another user"
        )
    # If two useradd run at once for one name, the second may replace the first one's entry by one with another number (shadow 4.13).
    with machine.locked(Path("/etc")):
        with suppress(KeyError):
            # Another dpe has created it meanwhile.
            return pwd.getpwnam(NAME)
        created = subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", NAME],
            env=for_program(),
            check=False,
            capture_output=True,
            text=True,
        )
        try:
            return pwd.getpwnam(NAME)
        except KeyError:
            raise ServerError(
                f"user {NAME}: could not be created ({created.stderr.strip()}); create it, or run dpe as another user"
            ) from None
