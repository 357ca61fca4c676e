"""Values are inserted into YAML as text: every character that was there stays, and what cannot be done so is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from dpe_cli.yaml_insertion import NotInsertableError, Step, parsed, with_item, with_value

SETTINGS = """\
# Ours.
name: 'shop'   # the old name

models:
    shop:
        # Views were too slow.
        +materialized: table

        marts: {+schema: marts, +tags: [daily]}
    # nothing else

vars:
flags: {}
"""

INSERTED: dict[str, tuple[Sequence[Step], Any, str]] = {
    "below other keys": (["models", "shop", "+meta"], {"a": 1}, "        marts: {+schema: marts, +tags: [daily]}\n        +meta: {a: 1}\n"),
    "with missing parents": (["models", "other", "+meta", "a"], 1, "[daily]}\n    other:\n        +meta:\n            a: 1\n"),
    "into brackets": (["models", "shop", "marts", "+meta"], {"a": 1}, "        marts: {+meta: {a: 1}, +schema: marts, "),
    "into empty brackets": (["flags", "a"], True, "flags: {a: true}\n"),
    "below an empty key": (["vars", "day"], "2026-01-01", "vars:\n    day: '2026-01-01'\n"),
    "at the end, after a gap": (["seeds", "+schema"], "raw", "flags: {}\n\nseeds:\n    +schema: raw\n"),
    "in place of a scalar": (["name"], "shops", "name: shops   # the old name\n"),
    "with quotes for Jinja": (["name"], "{{ var('a') }}", "name: \"{{ var('a') }}\"   # the old name\n"),
}


@pytest.mark.parametrize("name", INSERTED)
def test_a_value_is_inserted(name: str) -> None:
    """Where people would write it, indented as the rest is."""
    path, value, line = INSERTED[name]

    text = with_value(SETTINGS, path, value)

    assert line in text
    place = parsed(text)
    for step in path:
        place = place[step]
    assert value == place


@pytest.mark.parametrize("name", [name for name in INSERTED if "scalar" not in name and "quotes" not in name])
def test_nothing_else_changes(name: str) -> None:
    """Comments and blank lines stay, and so does every character: the old text is what is left without the new one."""
    path, value, _ = INSERTED[name]
    text = iter(with_value(SETTINGS, path, value))

    assert all(character in text for character in SETTINGS)


def test_the_first_place_is_before_comments() -> None:
    """They belong to the key that follows them."""
    text = with_value(SETTINGS, ["models", "shop", "+meta"], {"a": 1}, first=True)

    assert "    shop:\n        +meta: {a: 1}\n        # Views were too slow.\n" in text


def test_an_item_of_a_list_is_found_by_its_name() -> None:
    """A model in its list."""
    text = "models:\n  - name: a\n  - name: b\n    # why\n    config: {tags: x}\n"

    assert "config: {meta: {rls: 1}, tags: x}" in with_value(text, ["models", ("name", "b"), "config", "meta"], {"rls": 1})
    assert "  - name: a\n    config:\n      meta: 1\n" in with_value(text, ["models", ("name", "a"), "config", "meta"], 1, first=True)


ITEMS: dict[str, tuple[str, str, bool]] = {
    "a list of lines": ("a:\n  - x # why\n", "a:\n  - x # why\n  - new\n", False),
    "a list without indentation": ("a:\n- x\nb: 1\n", "a:\n- x\n- new\nb: 1\n", False),
    "before the first": ("a:\n  - x\n", "a:\n  - new\n  - x\n", True),
    "brackets": ("a: [x, y]\n", "a: [x, y, new]\n", False),
    "the start of brackets": ("a: [x, y]\n", "a: [new, x, y]\n", True),
    "empty brackets": ("a: []\n", "a: [new]\n", False),
    "an empty key": ("a:\nb: 1\n", "a:\n  - new\nb: 1\n", False),
    "no list": ("b: 1\n", "b: 1\n\na:\n  - new\n", False),
    "an empty text": ("", "a:\n  - new\n", False),
    "Windows' line ends": ("a:\r\n  - x\r\n", "a:\r\n  - x\r\n  - new\r\n", False),
    "no line end": ("a: [x]", "a: [x, new]\n", False),
}


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_is_added(name: str) -> None:
    """In the form that the list has."""
    before, after, first = ITEMS[name]

    assert after == with_item(before, ["a"], "new", first=first)


REFUSED = {
    "anchors": ("a: &same\n  b: 1\nc: *same\n", ["c", "d"]),
    "a list where a mapping is expected": ("a: [1]\n", ["a", "b"]),
    "a text where a mapping is expected": ("a: x\n", ["a", "b"]),
    "no YAML": ("a: {b\n", ["a", "b"]),
    "line ends of two kinds": ("a: 1\r\nb: 2\n", ["c"]),
    "a mapping in place of the value": ("a: {b: 1}\n", ["a"]),
    "a key that is there twice": ("a: {x: 1}\na: {y: 1}\n", ["a", "b"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_safe_is_refused(name: str) -> None:
    """Rather than changing something else as well."""
    text, path = REFUSED[name]

    with pytest.raises(NotInsertableError):
        with_value(text, path, "new")


def test_what_merge_keys_repeat_may_change_with_it() -> None:
    """If the caller says so; nothing else may."""
    text = "a: &same\n  b: 1\n  c: 2\nd:\n  <<: *same\n  e: 3\n"
    with pytest.raises(NotInsertableError):
        with_value(text, ["a", "b"], 9)

    assert {"a": {"b": 9, "c": 2}, "d": {"b": 9, "c": 2, "e": 3}} == parsed(with_value(text, ["a", "b"], 9, repeated=True))
