"""`dpe source infer --write` adds a source to the project, without changing another character."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support.infer_place import Workplace

from dpe_cli.safe_text.visible_text import has_hidden

SOURCES_FILE = """\
# Whose these are: ask sales.
version: 2

sources:
  - name: mine   # the first
    schema: staging
    tables:
      - name: one
        external: {location: data/comma.csv, file_format: csv, disposition: replace}
        columns:
          - {name: id, data_type: text}   # as delivered
          # the end of it

# Others follow.
  - name: other
    schema: staging
    tables: [{name: two, columns: [{name: a, data_type: text}]}]
"""


@pytest.fixture
def declared(place: Workplace) -> Iterator[Path]:
    """Write a sources file, which is removed afterwards."""
    path = place.directory / "models/staging/mine.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(SOURCES_FILE.encode())
    yield path
    path.unlink()


def test_a_table_is_added_to_its_source(place: Workplace, declared: Path) -> None:
    """After the existing tables, without changing a character of them."""
    done = place.infer("data/headless.csv", "--name", "mine.added", "--write")

    assert (0, "") == (done.status, done.err)
    text = declared.read_text()
    before, after = SOURCES_FILE.split("          # the end of it\n")
    assert text.startswith(before)
    assert text.endswith(f"          # the end of it\n{after}")
    assert ["one", "added"] == [table["name"] for table in yaml.safe_load(text)["sources"][0]["tables"]]


def test_a_source_is_added_to_a_file(place: Workplace, declared: Path) -> None:
    """After the existing sources, even if the file has Windows line ends."""
    declared.write_bytes(SOURCES_FILE.replace("\n", "\r\n").encode())

    done = place.infer("data/headless.csv", "--name", "third.added", "--write", str(declared))

    assert (0, "") == (done.status, done.err)
    text = declared.read_bytes().decode()
    assert text.startswith(SOURCES_FILE.replace("\n", "\r\n"))
    assert text.count("\n") == text.count("\r\n")
    assert ["mine", "other", "third"] == [source["name"] for source in yaml.safe_load(text)["sources"]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.one", "mine.one: is already declared in models/staging/mine.yml; give another name with --name"),
        ("yours.one", "yours.one: staging.one is the staging table of mine.one (models/staging/mine.yml)"),
        ("other.three", "its list is empty or in brackets; nothing was written"),
    ],
)
def test_unsafe_additions_are_refused(place: Workplace, declared: Path, name: str, said: str) -> None:
    """The file stays unchanged."""
    done = place.infer("data/headless.csv", "--name", name, "--write")

    assert (1, "") == (done.status, done.out)
    assert said in done.err
    assert SOURCES_FILE == declared.read_text()


@pytest.mark.parametrize("name", ["a\u202eb", "a\x1bb", "a\u2028b", "a\U000e0041b"])
def test_hidden_characters_of_a_header_are_written_as_codes(place: Workplace, name: str) -> None:
    """People can see them, and YAML reads the name that was delivered."""
    place.deliver("data/hidden.csv", f"{name},n\n1,x{name}\n")
    path = place.directory / "hidden.yml"
    assert 0 == place.infer("data/hidden.csv", "--name", "hidden.one", "--write", str(path)).status

    text = path.read_text(encoding="utf-8")
    [source] = yaml.safe_load(text)["sources"]
    assert name == source["tables"][0]["columns"][0]["name"]
    assert not has_hidden(text)
    path.unlink()


def test_a_link_stays_a_link(place: Workplace) -> None:
    """Its target is written; a file with mixed line ends is left alone."""
    place.deliver("data/link.csv", "id\n1\n")
    real = place.directory / "real.yml"
    real.write_bytes(b"version: 2\n")
    link = place.directory / "models" / "link.yml"
    link.symlink_to(real)
    assert 0 == place.infer("data/link.csv", "--name", "linked.one", "--write", str(link)).status
    assert (True, True) == (link.is_symlink(), "linked" in real.read_text(encoding="utf-8"))

    real.write_bytes(b"version: 2\r\n# two\n")
    done = place.infer("data/link.csv", "--name", "linked.two", "--write", str(link))
    assert (1, b"version: 2\r\n# two\n") == (done.status, real.read_bytes())
    assert "has line ends of two kinds" in done.err
    link.unlink()
