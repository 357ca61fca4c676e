"""Files on an SFTP server: OpenSSH's, on loopback."""

from __future__ import annotations

import base64
import io
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.sftp_server import SftpServer
from support.staged_source import Stage, StagedSource

from dpe_cli.errors import InputError
from dpe_cli.sources.files import remote, sftp


@pytest.fixture(autouse=True)
def home(sftp_server: SftpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the user a home of their own, without known hosts, and an empty directory on the server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SFTP_KEY", str(sftp_server.key))
    (tmp_path / ".ssh").mkdir()
    yield tmp_path
    shutil.rmtree(sftp_server.directory)
    sftp_server.directory.mkdir()


def _source(stage: Stage, sftp_server: SftpServer, pattern: str, **options: Any) -> StagedSource:
    settings = {"key_filename": "${SFTP_KEY}", "look_for_keys": False, "allow_agent": False} | options
    return stage("id integer, note text", location=sftp_server.location(pattern), storage_options=settings)


def test_files_of_an_sftp_server_are_loaded_once(stage: Stage, sftp_server: SftpServer) -> None:
    """Known ones are recognized by size and time; the ledger names server and path, but not the user. Patterns work as elsewhere."""
    (sftp_server.directory / "b").mkdir()
    for name, text in {
        "a1.csv": "1,a",
        "a2.csv": "2,b",
        "b/a3.csv": "3,c",
        "a44.csv": "4,d",
        "a#5.csv": "5,e",
        "b/linked.csv": "6,f",
    }.items():
        (sftp_server.directory / name).write_text(f"id,note\n{text}\n")
    (sftp_server.directory / "a6.csv").symlink_to("b/linked.csv")
    source = _source(stage, sftp_server, "**/a?.csv")

    source.extract()

    assert [(1, "a"), (2, "b"), (3, "c"), (6, "f")] == source.rows()
    place = f"sftp://127.0.0.1:{sftp_server.port}{sftp_server.directory}"
    assert [(f"{place}/{name}",) for name in ("a1.csv", "a2.csv", "a6.csv", "b/a3.csv")] == source.ledger(
        "select location from dpe.loads where source = %s order by 1"
    )
    (sftp_server.directory / "a7.csv").write_text("id,note\n7,g\n")
    assert 1 == source.extract().rows_loaded
    literal = _source(stage, sftp_server, "a#5.csv")
    literal.extract()
    assert [(5, "e")] == literal.rows()


def test_what_is_replaced_before_it_is_fetched_is_loaded_later(
    stage: Stage, sftp_server: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not recorded under the time that the listing named, which another content may have again."""
    file = sftp_server.directory / "a.csv"
    file.write_text("id,note\n1,a\n")
    listed = file.stat()
    source = _source(stage, sftp_server, "*.csv")
    path = remote.FetchedFile.path

    def replaced(fetched: remote.FetchedFile) -> Path:
        file.write_text("id,note\n2,b\n")
        os.utime(file, (listed.st_atime + 60, listed.st_mtime + 60))
        return path.fget(fetched)  # type: ignore[attr-defined,no-any-return]

    with monkeypatch.context() as patched:
        patched.setattr(remote.FetchedFile, "path", property(replaced))
        source.extract()
    assert [(2, "b")] == source.rows()

    file.write_text("id,note\n1,a\n")
    os.utime(file, (listed.st_atime, listed.st_mtime))
    assert 1 == source.extract().rows_loaded


def test_what_is_removed_once_it_is_fetched_is_loaded(stage: Stage, sftp_server: SftpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came completely."""
    file = sftp_server.directory / "a.csv"
    file.write_text("id,note\n1,a\n")
    source = _source(stage, sftp_server, "*.csv")
    read = sftp.read

    def read_and_removed(stream: Any, size: int) -> bytes:
        part = read(stream, size)
        if not part:
            file.unlink()
        return part

    monkeypatch.setattr(sftp, "read", read_and_removed)
    source.extract()

    assert not file.exists()
    assert [(1, "a")] == source.rows()


def test_a_name_that_echoes_a_secret_is_not_in_the_ledger(stage: Stage, sftp_server: SftpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference takes its place; a file is refused if its name has the secret in another form."""
    monkeypatch.setenv("SFTP_PASSWORD", "correct-horse-battery")
    (sftp_server.directory / "a correct-horse-battery.csv").write_text("id,note\n1,a\n")
    source = _source(stage, sftp_server, "*.csv", password="${SFTP_PASSWORD}")
    source.extract()
    (sftp_server.directory / f"b {base64.b64encode(b'shop:correct-horse-battery').decode()}.csv").write_text("id,note\n2,b\n")

    with pytest.raises(InputError, match=r"/b \*\*\*.csv: the name contains a secret of the source; ask the sender for another name"):
        source.extract()
    [(location,)] = source.ledger("select location from dpe.loads where source = %s")
    assert location.endswith("/a ${SFTP_PASSWORD}.csv")


def test_a_large_file_arrives_whole(stage: Stage, sftp_server: SftpServer) -> None:
    """In many requests that are under way at once."""
    (sftp_server.directory / "large.csv").write_text("id,note\n" + "".join(f"{number},{'x' * 50}\n" for number in range(50_000)))
    source = _source(stage, sftp_server, "large.csv")

    assert 50_000 == source.extract().rows_loaded


def test_an_announced_size_takes_neither_memory_nor_time(stage: Stage, sftp_server: SftpServer) -> None:
    """paramiko keeps a list of all parts of a file that it requests: 15 TB took gigabytes, and a minute, whatever the timeout."""
    (sftp_server.directory / "a.csv").write_text("id,note\n1,a\n")
    os.truncate(sftp_server.directory / "a.csv", 15 * 10**12)
    source = _source(stage, sftp_server, "a.csv")
    [file] = remote.find(source.external)

    class Copy(io.BytesIO):
        def write(self, part: Any) -> int:
            assert part.startswith(b"id,note")
            raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        file.fetch(Copy())

    assert time.monotonic() - begin < 5
    assert 15 * 10**12 == file.size


def test_a_file_that_goes_on_after_its_size_is_refused(stage: Stage, sftp_server: SftpServer) -> None:
    """As soon as more came than was announced: it may have no end."""
    (sftp_server.directory / "a.csv").write_text("id,note\n1,a\n")
    [file] = remote.find(_source(stage, sftp_server, "a.csv").external)
    os.truncate(sftp_server.directory / "a.csv", 10**9)
    copy = io.BytesIO()

    file.fetch(copy)

    assert 12 == file.size
    assert 12 < len(copy.getvalue()) < 10**7
    with pytest.raises(InputError, match="a.csv: 12 bytes were announced, .* came; nothing was loaded"):
        _ = remote.FetchedFile(file).path


def test_a_server_with_another_key_than_the_known_one_is_refused(stage: Stage, sftp_server: SftpServer, home: Path) -> None:
    """It may be someone else's. An unknown server is refused on request."""
    (sftp_server.directory / "a.csv").write_text("id,note\n1,a\n")
    strict = _source(stage, sftp_server, "a.csv", host_key_policy="reject")
    with pytest.raises(InputError, match="known_hosts has no key of"):
        strict.extract()

    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIGQ4YJ5yXqgE7Xgkg6sG5ZkzXw1yTQ0m0w2o8o0lP9Z"
    known = home / ".ssh" / "known_hosts"
    known.write_text(f"[127.0.0.1]:{sftp_server.port} {other}\n")
    with pytest.raises(InputError, match="key is not one that"):
        _source(stage, sftp_server, "a.csv").extract()

    known.write_text(f"[127.0.0.1]:{sftp_server.port} {sftp_server.host_key}\n")
    assert 1 == strict.extract().rows_loaded


@pytest.mark.parametrize(("pattern", "fault"), [("none.csv", "does not exist"), ("*.csv", "no file matches")])
def test_a_missing_file_is_reported(stage: Stage, sftp_server: SftpServer, pattern: str, fault: str) -> None:
    """As in other places."""
    with pytest.raises(InputError, match=fault):
        _source(stage, sftp_server, pattern).extract()
