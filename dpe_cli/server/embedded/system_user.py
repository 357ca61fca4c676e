"""
As whom the embedded PostgreSQL runs.

PostgreSQL refuses to run as root. Where dpe is run by root (a container, mostly), the server gets a system user of its
own, or runs as the one whose data it has; everywhere else it runs as the person who runs dpe.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
        """Whether this is somebody else than who runs dpe."""
        return self.uid != os.geteuid()

    def run(self, arguments: Sequence[str | Path], *, directory: Path, script: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, give it `script` as standard input, and return what it wrote; its messages are in English."""
        identity = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.is_other else {}
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [str(argument) for argument in arguments],
            check=False,
            cwd=directory,
            # Not the caller's environment: PGDATA and PGOPTIONS would steer the server, and passwords are none of its business.
            env={name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ} | {"LC_ALL": "C"},
            input=script or "",
            capture_output=True,
            text=True,
            errors="replace",
            **identity,
        )

    def make_directory(self, directory: Path) -> None:
        """Make a directory, where it is missing, that nobody but this user enters, and see to it that it is so."""
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
        """Own a directory and all within, as it may have got another owner when it was copied or mounted elsewhere."""
        if directory.stat().st_uid == self.uid:
            return
        if os.geteuid() != 0:
            raise ServerError(f"{directory}: belongs to another user than {self.name}; run dpe as the user that made it, or remove it")
        for parent, _, files in os.walk(directory):
            for path in (Path(parent), *(Path(parent, name) for name in files)):
                os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def let_through(self, directory: Path) -> None:
        """Let this user pass to a directory: search permission, and no more, on each directory above that lacks it. Says so."""
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
        """Let this user read a directory and all within: programs that root installed under a strict umask. Says so where it has to."""
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
    Return the user that runs the server of a directory: oneself.

    For root it is the directory's owner, so that somebody's own server stays theirs when root looks in; for a new
    directory it is the system user `dpe-postgres`, which is made when it is missing.
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
    """Return who owns a directory, unless that is root or, as in a directory from another machine, nobody that is known here."""
    try:
        found = pwd.getpwuid(directory.stat().st_uid)
    except (OSError, KeyError):
        return None
    return found if found.pw_uid != 0 else None


def _create() -> pwd.struct_passwd:
    if shutil.which("useradd") is None:
        raise ServerError(f"user {NAME}: PostgreSQL cannot run as root, and useradd is not there; create that user, or run dpe as another")
    created = subprocess.run(
        ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", NAME],
        env=for_program(),
        check=False,
        capture_output=True,
        text=True,
    )
    try:
        # Another dpe may have made it meanwhile, so that what counts is the user and not useradd's exit status.
        return pwd.getpwnam(NAME)
    except KeyError:
        raise ServerError(f"user {NAME}: could not be created ({created.stderr.strip()}); create it, or run dpe as another") from None
