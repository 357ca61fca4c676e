"""Files as they are delivered, loaded into PostgreSQL 18; nothing of a refused file is visible."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from support.staged_source import Stage

from dpe_cli.errors import ContractError, InputError
from dpe_cli.ingest.extract import load_request_of
from dpe_cli.load.inputs import Known, planned
from dpe_cli.sources.files import compression, find

CSV = b"id,note\n1,a\n2,b\n"
ROWS = [(1, "a"), (2, "b")]


def _zip(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}),
    "zip": lambda content: _zip(**{"a.csv": content}),
}


@pytest.mark.parametrize(
    ("options", "content"),
    [
        ({"delimiter": ";"}, "id;note\n1;a\n2;b\n"),
        ({"delimiter": "\t"}, "id\tnote\n1\ta\n2\tb\n"),
        ({"quote": "'"}, "id,note\n'1','a'\n2,b\n"),
        ({"escape": "\\"}, 'id,note\n"1","a"\n2,b\n'),
        ({"header": False}, "1,a\n2,b\n"),
        ({}, "note,id\na,1\nb,2\n"),
        ({}, '"note","id"\na,1\nb,2\n'),
        ({}, "id,note\r\n1,a\r\n2,b\r\n"),
        ({}, "id,note\n1,a\n2,b"),
        ({}, "id,note\r\n1,a\r\n2,b"),
        ({"extra_columns": "ignore"}, "x,id,y,note,z\n,1,\xe9,a,\n0,2,0,b,0\n"),
    ],
    ids=repr,
)
def test_a_file_is_read_as_its_options_say(stage: Stage, options: dict[str, object], content: str) -> None:
    """However the file is written, the rows are the same, and nothing is rejected."""
    source = stage("id integer, note text", **options)

    result = source.deliver(content).extract()

    assert (ROWS, 0) == (source.rows(), result.rows_rejected)


def test_a_null_in_quotes_is_text(stage: Stage) -> None:
    """Only the unquoted null string is a missing value."""
    source = stage("id integer, note text", null_string="NA")

    source.deliver('id,note\n1,NA\n2,"NA"\n3,\n4,""\nNA,x\n').extract()

    assert [(1, None), (2, "NA"), (3, ""), (4, ""), (None, "x")] == source.rows()


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-be", "utf-16-be"),
        ("latin-1", "latin-1"),
        ("cp1252", "cp1252"),
        ("utf-32", "utf-32"),
    ],
)
def test_text_is_text_in_any_encoding(stage: Stage, encoding: str, declared: str) -> None:
    """With or without a byte order mark, even in a file without a header."""
    source = stage("note text, id integer", encoding=declared)
    source.deliver("note,id\né,1\n".encode(encoding)).extract()
    source.declare(header=False)
    source.deliver("ü,2\n".encode(encoding), "b.csv").declare(location="b.csv")
    source.extract()

    assert [("é", 1), ("ü", 2)] == source.rows()


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_a_compressed_file_is_read(stage: Stage, kind: str) -> None:
    """According to its name's ending, or as declared."""
    source = stage("id integer, note text")
    source.deliver(COMPRESSORS[kind](CSV), f"a.csv.{kind}").extract()
    source.declare(compression=kind, location="delivery")
    source.deliver(COMPRESSORS[kind](CSV.replace(b"a", b"c")), "delivery").extract()

    assert [(1, "a"), (1, "c"), (2, "b"), (2, "b")] == source.rows()


def test_members_of_a_zip_file_are_files(stage: Stage) -> None:
    """Each is a load of its own, even if it is compressed itself; entries added by macOS are skipped."""
    source = stage("id integer, note text")
    members = {"b/two.csv.gz": gzip.compress(b"id,note\n2,b\n"), "a/": b"", "a/one.csv": b"id,note\n1,a\n", "__MACOSX/a/._one.csv": b"\0\5"}

    source.deliver(_zip(**members), "delivery.zip").extract()

    assert ROWS == source.rows()
    assert [("delivery.zip!a/one.csv",), ("delivery.zip!b/two.csv.gz",)] == source.ledger(
        "select location from dpe.loads where source = %s order by load_id"
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_with_the_same_name_are_all_read(stage: Stage) -> None:
    """A zip file may have two; reading by name would yield the last one twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.csv", "id,note\n1,a\n")
        archive.writestr("a.csv", "id,note\n2,b\n")
    source = stage("id integer, note text")

    source.deliver(buffer.getvalue(), "a.zip").extract()

    assert ROWS == source.rows()


def test_a_header_alone_is_a_load_of_nothing(stage: Stage) -> None:
    """So is an empty file, if no header is expected. Such files are loaded once, like others."""
    source = stage("id integer, note text").deliver("id,note\n")
    first = source.extract()
    source.declare(header=False, location="b.csv")
    second = source.deliver(b"", "b.csv").extract()

    assert [1, 1] == [len(first.loads), len(second.loads)]
    assert ([], 0) == (source.rows(), len(source.extract().loads))


def _damaged(content: bytes) -> bytes:
    """Change a byte in the middle of the compressed data."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize("kind", COMPRESSORS)
@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], _damaged], ids=["truncated", "damaged"])
def test_a_broken_compressed_file_is_refused(stage: Stage, kind: str, damage: Callable[[bytes], bytes]) -> None:
    """The error names it, and nothing is visible, even of the parts and files that were read before."""
    source = stage("id integer, note text").deliver(CSV)
    source.extract()
    # Text that does not compress away, so that there is a middle to damage.
    chance = random.Random(kind)
    content = b"id,note\n" + b"".join(b"%d,%s\n" % (number, chance.randbytes(9).hex().encode()) for number in range(20_000))

    source.deliver(b"id,note\n3,c\n", "a2.csv").deliver(damage(COMPRESSORS[kind](content)), f"b.csv.{kind}")

    with pytest.raises(InputError, match=rf"^b.csv.{kind}.*: the compressed data is broken.*; ask the sender to send it again"):
        source.extract()
    assert (ROWS, []) == (source.rows(), source.slices(attached=False))
    # A zip file without its directory is found to be broken before anything is recorded.
    assert ["succeeded"] == [status for status in source.statuses() if status != "failed"]


def test_a_broken_member_is_refused_also_when_it_is_only_hashed(stage: Stage) -> None:
    """Two files of the same size are hashed before they are read."""
    content = random.Random(1).randbytes(1000).hex().encode()
    broken = bytearray(_zip(**{"a.csv": content}))
    broken[200] ^= 0xFF
    source = stage("id integer, note text").deliver(content, "a.csv").deliver(bytes(broken), "b.zip")

    with pytest.raises(InputError, match=r"^b.zip!a.csv: the compressed data is broken"):
        source.extract()


def test_a_zip_file_that_cannot_be_read_says_why(stage: Stage) -> None:
    """Encrypted, compressed in an unusual format, or empty."""
    content = bytearray(_zip(**{"a.csv": CSV}))
    directory = content.index(b"PK\1\2")
    encrypted, exotic = content.copy(), content.copy()
    encrypted[directory + 8] |= 1
    exotic[8:10] = exotic[directory + 10 : directory + 12] = struct.pack("<H", 9)
    source = stage("id integer, note text")

    with pytest.raises(InputError, match=r"^a.zip: the zip file is encrypted; deliver it without a password"):
        source.deliver(bytes(encrypted), "a.zip").extract()
    with pytest.raises(
        InputError, match=r"^a.zip!a.csv: is compressed in a format that Python cannot read .*; deliver it as gz, xz or zst"
    ):
        source.deliver(bytes(exotic), "a.zip").extract()
    with pytest.raises(InputError, match=r"^a.zip: the zip file contains no file"):
        source.deliver(_zip(), "a.zip").extract()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"^a.csv: the file is empty; it needs at least a header"),
        (b"id,note\r1,a\r2,b\r", r"^a.csv, line 1: has a carriage return without a line feed; convert the line ends"),
        (b"id,note\r1,a\r2,b\n", r"^a.csv, line 1: has a carriage return without a line feed; convert the line ends"),
        (b"id,note,id,note,x\n1,a,1,a\n", r"^a.csv, line 1: the header names 'id', 'note' more than once"),
        (b'id,"note\n1,a\n', r"^a.csv, line 1: a quote in the header does not enclose a whole name, or is never closed; correct quote"),
        (b"id,not\xe9\n1,a\n", r"^a.csv, line 1: the header is not valid utf-8 \(0xe9\); correct encoding or compression"),
        (gzip.compress(CSV, mtime=0), r"^a.csv, line 1: the header is not valid utf-8 \(0x8b\)"),
        ("id,note\n1,a\n".encode("utf-16"), r"^a.csv, line 1: the header is not valid utf-8 \(0xff\)"),
    ],
)
def test_a_file_without_a_proper_header_is_refused(stage: Stage, content: bytes, message: str) -> None:
    """The error says what it is, where, and what to do."""
    source = stage("id integer, note text").deliver(content)

    with pytest.raises(InputError, match=message):
        source.extract()
    assert 0 == source.count()


@pytest.mark.parametrize("extra_columns", ["refuse", "ignore"])
def test_a_header_of_very_many_columns_is_refused_at_once(stage: Stage, extra_columns: str) -> None:
    """Their number is checked before each of them; even so many names that occur twice are found in no time."""
    source = stage("id integer, note text", extra_columns=extra_columns)
    names = [f"c{number}" for number in range(200_000)]
    started = time.monotonic()

    with pytest.raises(
        ContractError, match=r"a.csv, line 1: 200,000 fields are more columns than a table can have \(1,598 besides dpe's own"
    ):
        source.deliver(",".join(names) + "\n").extract()
    with pytest.raises(InputError, match=r"a.csv, line 1: the header names ('c\d+', ){4}'c\d+' and 199,995 others more than once; ask"):
        source.deliver(",".join([*names, *names]) + "\n").extract()

    assert time.monotonic() - started < 15


def test_a_header_that_does_not_end_is_refused(stage: Stage) -> None:
    """Before the whole file is in memory."""
    source = stage("id integer, note text", max_record_bytes=1000).deliver("x" * 5_000_000)

    with pytest.raises(InputError, match=r"^a.csv, line 1: the header does not end; check the line ends"):
        source.extract()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id\n1\n", r"a.csv, line 1: column note is missing; correct the columns in shop.yml:5"),
        (b"id,notes\n1,a\n", r"column note is missing; column 'notes', field 2, is not in the contract \(did you mean note\?\); correct"),
        (b"id,note,x\n1,a,b\n", r"column 'x', field 3, is not in the contract; correct .* or set extra_columns: ignore"),
        (b"id,note,\n1,a,\n", r"column '', field 3, is not in the contract; correct"),
        (b"id,note," + b",".join(b"%d" % number for number in range(9)) + b"\n", r"; and 4 more; correct"),
        (b"{" + b"x" * 100_000, r"column note is missing; column '{x{62}…', field 1, is not in the contract; correct"),
    ],
    ids=range(6),
)
def test_a_header_that_is_not_the_contract_is_refused(stage: Stage, content: bytes, message: str) -> None:
    """Each missing or extra column is named, in a message of reasonable length."""
    source = stage("id integer, note text").deliver(content)

    with pytest.raises(ContractError, match=message):
        source.extract()
    assert (["failed"], 0) == (source.statuses(), source.count())


def test_a_line_that_is_too_long_is_refused(stage: Stage) -> None:
    """It would have to be held in memory; nothing of the file is loaded."""
    source = stage("id integer, note text", max_record_bytes=1000).deliver(b"id,note\n1,a\n2," + b"x" * 5_000_000 + b"\n3,c\n")

    with pytest.raises(InputError, match=r"^a.csv, line 3: the line is longer than 1,000 bytes"):
        source.extract()
    assert (["failed"], 0) == (source.statuses(), source.count())


def test_files_are_found_by_path_and_glob(stage: Stage, tmp_path: Path) -> None:
    """Sorted by name, at any depth, relative to the project or not; directories are skipped."""
    source = stage("id integer", location="data/**/*.csv")
    for name in ("data/b.csv", "data/a.csv", "data/2024/01/c.csv", "data/note.txt", "other/d.csv", "data/x.csv/deep.csv"):
        source.deliver("id\n1\n", name)

    def locations(location: str) -> list[str]:
        source.declare(location=location)
        return [file.location for file in find.find(source.external, source.table.columns, project_dir=tmp_path)]

    assert ["data/2024/01/c.csv", "data/a.csv", "data/b.csv", "data/x.csv/deep.csv"] == locations("data/**/*.csv")
    assert ["data/a.csv", "data/b.csv"] == locations("data/*.csv")
    assert ["data/a.csv"] == locations("data/a.csv")
    assert ["data/a.csv"] == locations(str(tmp_path / "data" / "a.*"))


def test_brackets_in_a_path_are_not_a_pattern(stage: Stage, tmp_path: Path) -> None:
    """Neither in the project's path, nor in that of an existing file."""
    source = stage("id integer", location="delivery [1].csv")
    source.directory = tmp_path / "project [new]"
    source.deliver("id\n1\n", "delivery [1].csv")
    source.extract()
    source.declare(location="*.csv")

    assert (1, 1) == (source.count(), source.extract().skipped)


@pytest.mark.parametrize("location", ["*.csv", "?.csv", "[*].csv", "[a*].csv", "*/x.csv"])
def test_a_file_named_like_the_pattern_hides_no_other(stage: Stage, location: str) -> None:
    """A sender who delivers a file with that very name, or in such a directory, does not keep the others from being loaded."""
    source = stage("id integer", location=location, disposition="replace")
    for number, name in enumerate(["*.csv", "?.csv", "[*].csv", "[a*].csv", "a.csv", "*/x.csv", "ua/x.csv"]):
        source.deliver(f"id\n{number}\n", name)
    expected = {
        "*.csv": [0, 1, 2, 3, 4],
        "?.csv": [0, 1, 4],
        "[*].csv": [0, 2],
        "[a*].csv": [0, 3, 4],
        "*/x.csv": [5, 6],
    }

    source.extract()

    assert expected[location] == [number for (number,) in source.rows()]


def test_a_file_elsewhere_has_its_whole_path(stage: Stage, tmp_path: Path) -> None:
    """A file within the project has a relative path."""
    source = stage("id integer", location=str(tmp_path / "a.csv")).deliver("id\n1\n")
    elsewhere = source.directory / "project"

    [file] = find.find(source.external, source.table.columns, project_dir=elsewhere)

    assert str(tmp_path / "a.csv") == file.location


def test_no_file_is_an_error(stage: Stage) -> None:
    """Nothing was delivered, or the location is wrong: neither may go unnoticed."""
    source = stage("id integer", location="data/*.csv")

    with pytest.raises(InputError, match=r"^data/\*.csv: no file matches; correct the location \(it is relative to .*\)"):
        source.extract()


def test_a_dangling_link_is_reported(stage: Stage, tmp_path: Path) -> None:
    """By its name."""
    source = stage("id integer")
    (tmp_path / "a.csv").symlink_to("nowhere.csv")

    with pytest.raises(InputError, match=r"^a.csv: cannot be read \(No such file or directory\); ask the sender to send it again"):
        source.extract()


@pytest.mark.parametrize("name", ["x.csv", "x.csv.zip", "link.csv"])
def test_only_files_are_read(stage: Stage, tmp_path: Path, name: str) -> None:
    """A named pipe would wait for a writer forever, and a device never ends."""
    source = stage("id integer").deliver("id\n1\n")
    if name == "link.csv":
        (tmp_path / name).symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / name)

    with pytest.raises(InputError, match=rf"^{name}: is not a file, but a (named pipe|device); remove it, or correct the location"):
        source.extract()


def test_a_file_that_becomes_a_pipe_is_refused(stage: Stage, tmp_path: Path) -> None:
    """Between being found and being opened."""
    source = stage("id integer").deliver("id\n1\n")
    [file] = find.find(source.external, source.table.columns, project_dir=tmp_path)
    (tmp_path / "a.csv").unlink()
    os.mkfifo(tmp_path / "a.csv")

    with pytest.raises(InputError, match=r"^a.csv: is not a file, but a named pipe"), file.open():
        pass


def test_a_link_that_may_not_be_followed_is_reported(stage: Stage, tmp_path: Path) -> None:
    """By its name: a link to itself, for example."""
    source = stage("id integer")
    (tmp_path / "a.csv").symlink_to("a.csv")

    with pytest.raises(InputError, match=r"^a.csv: cannot be read \(Too many levels of symbolic links\)"):
        source.extract()


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".zip", ".parquet", ".xlsx"])
def test_a_link_to_what_its_sender_may_not_read_is_refused(stage: Stage, tmp_path: Path, suffix: str) -> None:
    """dpe may read it: its own .env, or what others delivered to other places. Also if the link takes a file's place after it was found."""
    formats = {".parquet": "parquet", ".xlsx": "excel"}
    source = stage("id integer", location=f"ua/*/*{suffix}", file_format=formats.get(suffix, "csv"))
    outside = tmp_path / f"outside{suffix}"
    outside.write_bytes(_zip(**{"a.csv": b"id\n1\n"}) if suffix == ".zip" else b"id\n1\n")
    for name in ("file", "directory"):
        delivered = tmp_path / "ua" / "new" / f"outside{suffix}"
        source.deliver(outside.read_bytes(), f"ua/new/outside{suffix}")
        [file] = find.find(source.external, source.table.columns, project_dir=tmp_path)
        delivered.unlink()
        if name == "file":
            delivered.symlink_to(outside)
        else:
            delivered.parent.rmdir()
            delivered.parent.symlink_to(tmp_path)

        with pytest.raises(InputError, match=rf"^ua/new(/outside{suffix})?: a symbolic link leads out of {tmp_path}/ua; deliver the file"):
            source.extract()
        with pytest.raises(InputError, match="cannot be read .a symbolic link leads out of"), file.open():
            pass
        delivered.unlink() if name == "file" else delivered.parent.unlink()


def test_a_directory_that_becomes_a_link_while_a_file_is_opened_leads_nowhere(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was checked is what is opened: each directory on the way is opened by itself, without following links."""
    source = stage("id integer", location="ua/**/*.csv").deliver("id\n1\n", "ua/new/a.csv")
    [file] = find.find(source.external, source.table.columns, project_dir=tmp_path)
    resolved = os.path.realpath(tmp_path / "ua/new/a.csv")
    (tmp_path / "ua" / "new").rename(tmp_path / "new")
    (tmp_path / "ua" / "new").symlink_to(tmp_path / "new")
    monkeypatch.setattr(os.path, "realpath", lambda _: resolved)

    with (
        pytest.raises(InputError, match=r"^ua/new/a.csv: cannot be read \((Not a directory|Too many levels of symbolic links)\)"),
        file.open(),
    ):
        pass


def test_links_that_stay_or_that_the_operator_made_are_followed(stage: Stage, tmp_path: Path) -> None:
    """Within the location's directory, above it, or anywhere if the source follows links."""
    source = stage("id integer", location="data/**/*.csv").deliver("id\n1\n", "ua/2024/a.csv").deliver("id\n2\n", "ha/b.csv")
    (tmp_path / "data").symlink_to("ua")
    (tmp_path / "ua" / "newest.csv").symlink_to("2024/a.csv")
    (tmp_path / "ua" / "this_year").symlink_to("2024")

    def locations(**options: Any) -> list[str]:
        source.declare(**options)
        return [file.location for file in find.find(source.external, source.table.columns, project_dir=tmp_path)]

    assert ["data/2024/a.csv", "data/newest.csv"] == locations()
    assert ["data/this_year/a.csv"] == locations(location="data/this*/a.csv")
    (tmp_path / "ua" / "shared").symlink_to(tmp_path / "ha")
    with pytest.raises(InputError, match=rf"^data/shared: a symbolic link leads out of {tmp_path}/ua"):
        locations(location="data/**/*.csv")
    assert ["data/2024/a.csv", "data/newest.csv", "data/shared/b.csv"] == locations(follow_links=True)


@pytest.mark.parametrize("follow_links", [False, True])
def test_links_to_their_own_directory_do_not_multiply_files(stage: Stage, tmp_path: Path, *, follow_links: bool) -> None:
    """Two of them double the paths at each level, forty levels deep: each directory is searched once."""
    source = stage("id integer", location="data/**/*.csv", follow_links=follow_links).deliver("id\n1\n", "data/up/a.csv")
    for name in ("l", "m"):
        (tmp_path / "data" / "up" / name).symlink_to(".")
    searched: list[str] = []
    scan = os.scandir

    def counting(path: str) -> object:
        searched.append(str(path))
        assert len(searched) < 10
        return scan(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", counting)
        found = [file.location for file in find.find(source.external, source.table.columns, project_dir=tmp_path)]

    assert ["data/up/a.csv"] == found


def test_a_zip_file_of_many_members_is_read_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory, which grows with them, is not read again for each of them, neither to hash nor to load it."""
    source = stage("id integer, note text")
    source.deliver(_zip(**{f"{number}.csv": b"id,note\n%d,a\n" % number for number in range(20)}), "a.zip")
    read = zipfile.ZipFile._RealGetContents  # type: ignore[attr-defined]
    parsed: list[object] = []

    def counting(self: zipfile.ZipFile) -> None:
        parsed.append(self)
        read(self)

    monkeypatch.setattr(zipfile.ZipFile, "_RealGetContents", counting)
    source.extract()

    assert (20, 1) == (source.count(), len(parsed))


@pytest.mark.parametrize("count", [10, 100])
def test_files_of_one_size_are_hashed_in_proportion_to_their_number(stage: Stage, count: int) -> None:
    """Each is compared with what is known, not with each other one; renamed ones too."""
    source = stage("id integer", location="*", changed_files="replace")
    for number in range(count):
        source.deliver(f"id\n{number:09}\n", f"{number}.csv")
    asked: list[str] = []
    content_hash = find.File.content_hash

    def counting(self: find.File) -> str:
        asked.append(self.location)
        return content_hash(self)

    files = find.find(source.external, source.table.columns, project_dir=source.directory)
    known = [Known(number, f"gone/{number}.csv", file.size, file.content_hash(), None) for number, file in enumerate(files)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find.File, "content_hash", counting)
        assert len(planned(files, [], load_request_of(source.source)).new) == count
        assert len(planned(files, known, load_request_of(source.source)).moved) == count

    assert len(asked) < 6 * count


def test_compression_is_detected_by_name() -> None:
    """By its last ending, in any case."""
    names = ["a.csv", "a.csv.GZ", "a.bz2", "a.xz", "a.zst", "a.gz.zip", "gz"]

    assert ["none", "gz", "bz2", "xz", "zst", "zip", "none"] == [compression.kind_of(name) for name in names]


@pytest.mark.timeout(60)
def test_a_record_in_many_streams_is_read_once(stage: Stage) -> None:
    """bzip2 has no least size of a stream: what was read of the record is not searched again after each."""
    streams = bz2.compress(b"id\n") + bz2.compress(b"x" * 8) * 300_000 + bz2.compress(b"\n")
    source = stage("id text", location="*.bz2").deliver(streams, "a.csv.bz2")
    source.extract()

    assert [("x" * 2_400_000,)] == source.rows()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_all_streams_of_a_compressed_file_are_read(stage: Stage, kind: str) -> None:
    """As written by parallel compressors, or by concatenating files; zeros at the end are ignored."""
    compress = COMPRESSORS[kind]
    filled = b"" if kind == "zst" else b"\0" * 512
    content = compress(b"id,note\n1,a\n") + compress(b"2,b\n") + filled
    source = stage("id integer, note text").deliver(content, f"a.csv.{kind}")

    source.extract()

    assert [(1, "a"), (2, "b")] == source.rows()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_broken_stream_after_a_good_one_is_refused(stage: Stage, kind: str) -> None:
    """It is not trailing garbage, but part of the file's records."""
    second = bytearray(COMPRESSORS[kind](b"2,b\n"))
    second[1] ^= 1
    source = stage("id integer, note text").deliver(COMPRESSORS[kind](b"id,note\n1,a\n") + bytes(second), f"a.csv.{kind}")

    with pytest.raises(InputError, match=rf"^a.csv.{kind}: the compressed data is broken"):
        source.extract()

    assert [] == source.rows()


def test_a_name_that_is_not_utf_8_is_reported(stage: Stage) -> None:
    """Otherwise the ledger could not name the file."""
    source = stage("id integer", location="*.csv")
    (source.directory / os.fsdecode(b"a\xff.csv")).write_text("id\n1\n")

    with pytest.raises(InputError, match=r"^a\\udcff.csv: the file's name is not valid UTF-8; rename it$"):
        source.extract()
