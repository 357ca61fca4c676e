from __future__ import annotations

import io
import json
import re
import sys
import unicodedata
from contextlib import redirect_stderr

import pytest
import yaml

from dpe_cli.safe_text.visible_text import (
    VisibleStream,
    from_message,
    has_hidden,
    in_message,
    inert,
    message,
    on_one_line,
    terminal,
    visible,
    visible_json,
    visible_standard_error,
)

# In other writing systems these have a glyph, or determine how their neighbours are drawn.
KEPT = {
    "\t": "tab",
    "\n": "line feed",
    "\u200c": "zero-width non-joiner",
    "\u200d": "zero-width joiner",
    **dict.fromkeys("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd", "a sign of its own"),
}
EVERYTHING = "".join(map(chr, range(sys.maxunicode + 1)))


def test_no_control_or_format_character_is_left() -> None:
    """In all of Unicode: controls, formats such as changes of direction, line separators, and lone surrogates."""
    left = {sign for sign in visible(EVERYTHING) if unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}

    assert set(KEPT) == left


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x07\x7f\x00", r"\x1b[2J\x07\x7f\x00"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("a\rb\tc\nd", "a\\x0db\tc\nd"),
        ("user\u202etxt.exe \u2066\u061c\u200e\u2028", r"user\u202etxt.exe \u2066\u061c\u200e\u2028"),
        ("\udcff.csv", r"\udcff.csv"),
        ("\U000e0041", r"\U000e0041"),
        ("Zoë 北京 🇺🇦 👩\u200d🚀 a\u00a0b \\x1b", "Zoë 北京 🇺🇦 👩\u200d🚀 a\u00a0b \\x1b"),
    ],
)
def test_a_hidden_character_is_shown_by_its_code(text: str, shown: str) -> None:
    """Letters, signs and spaces of any language stay, and repeating it changes nothing."""
    assert shown == visible(text) == visible(visible(text))
    assert (text != shown) == has_hidden(text)


def test_one_line_stays_one_line() -> None:
    """In a table cell, no value can start a row of its own."""
    assert r"a⏎DPE SUCCESS\x0d⏎" == on_one_line("a\nDPE SUCCESS\r\n")


def test_only_the_first_line_of_a_message_begins_at_the_left() -> None:
    """A name with a line feed cannot pass for a verdict; all other lines begin with at least four blanks."""
    text = "data/x\nDPE SUCCESS\n Error: y\n  detail\n\n      more"

    assert "data/x\n    DPE SUCCESS\n    Error: y\n    detail\n\n      more" == message(text) == message(message(text))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a, line 7, b.yml: is fine; run x", r"a\x2c line 7\x2c b.yml\x3a is fine\x3b run x"),
        ("s3://shop/a:b,c;d.csv", "s3://shop/a:b,c;d.csv"),
        ("a;\nb:", r"a;⏎b\x3a"),
    ],
)
def test_a_name_does_not_divide_a_message(name: str, shown: str) -> None:
    """What would divide it is shown by its code, and a program reads the name; repeating it changes nothing."""
    assert shown == in_message(name) == in_message(shown)
    assert name.replace("\n", "⏎") == from_message(shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::stop-commands::x", r"\x3a:stop-commands::x"),
        ("a\n \u00a0 ::set-output name=a::b", "a\n \u00a0 \\x3a:set-output name=a::b"),
        ("a ##vso[task.setvariable variable=x]y", r"a #\x23vso[task.setvariable variable=x]y"),
        ("###[group]", r"##\x23[group]"),
        ("##teamcity[buildStop]", r"#\x23teamcity[buildStop]"),
        ("raw.orders::text, [::1]:5432, ## Title, #1 [x]", "raw.orders::text, [::1]:5432, ## Title, #1 [x]"),
    ],
)
def test_a_build_server_finds_no_command(text: str, shown: str) -> None:
    """In a message, a table, a log or JSON; repeating it changes nothing."""
    assert shown == inert(text) == inert(shown)
    stream = io.StringIO()
    VisibleStream(stream).write(text)
    assert shown == stream.getvalue()
    assert shown.replace("\n", "⏎") == on_one_line(text)
    document = visible_json(json.dumps([text]))
    assert (text, False) == (json.loads(document)[0], bool(re.search(r"##\w*\[", document)))


def test_json_keeps_its_values() -> None:
    """Whatever characters they have; the document contains none that a terminal obeys."""
    values = {"北京\x9b": [sign for sign in EVERYTHING if has_hidden(sign)]}
    document = visible_json(json.dumps(values, ensure_ascii=False))

    assert values == json.loads(document)
    assert not has_hidden(document)
    assert "北京" in document


def test_codes_are_those_of_yaml() -> None:
    """In double quotes, YAML reads them as the characters."""
    text = "".join(sign for sign in EVERYTHING if has_hidden(sign) and not "\ud800" <= sign <= "\udfff")

    assert text == yaml.safe_load(f'"{visible(text)}"')


def test_whatever_is_written_to_standard_error_is_visible() -> None:
    """By `write` or by `writelines`; programs that move the cursor get the terminal itself."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        with visible_standard_error():
            sys.stderr.write("\x1b]0;a\n")
            sys.stderr.writelines(["\x9b", "\n"])
            assert terminal() is stream
        assert sys.stderr is stream
        assert terminal() is stream

    assert "\\x1b]0;a\n\\x9b\n" == stream.getvalue()
    assert stream.isatty() == VisibleStream(stream).isatty()
