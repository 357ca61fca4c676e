"""Phrases by which analysts say where something is, how it is loaded, and whether it may be empty."""

from __future__ import annotations

import re
from typing import cast

from dpe_cli.specs.phrases import Meanings, Phrases
from dpe_cli.specs.requirement import Loading
from dpe_cli.specs.text import NOTHING, Text

_SUFFIX = r"(?:csv|tsv|txt|psv|dat|jsonl|ndjson|json|xlsx|xlsm|xls|parquet|db|sqlite3?|xml|zip|gz|zst|bz2|xz)"
# Each part starts where a word does, and has a limit: hostile text would take quadratic time otherwise.
_VARIABLE = r"\$\{\w{1,99}\}[^\s`,;)|]*"
_URL = r"(?<![\w+.-])[a-z][a-z0-9+.-]{0,20}://[^\s`,;)|]+"
_TAP = r"singer:[\w-]+"
_FOLDERS = r"[\w.*?{}\[\]-]{1,200}/"
_PATH = rf"(?<![\w.*?{{}}\[\]/~-])(?:~?/(?:{_FOLDERS}){{0,40}}|(?:{_FOLDERS}){{1,40}})(?:[\w.*?{{}}-]{{0,200}}[\w*}}])"
# With spaces, if it is in backticks.
_TICKED = rf"(?<=`)[^`\n]{{1,300}}\.{_SUFFIX}(?:\.\w+)?(?=`)"
_FILE = rf"(?<![\w*?-])[\w*?-]{{1,200}}(?:\.[\w*?-]{{1,200}}){{0,9}}\.{_SUFFIX}\b(?:\.\w+)?"
# A URL, or a path with a slash or the suffix of a data file; `*` and `?` are those of a pattern of names.
LOCATION = re.compile(f"{_VARIABLE}|{_URL}|{_TAP}|{_TICKED}|{_PATH}|{_FILE}", re.IGNORECASE)
SOURCE_NAME = re.compile(rf"\b[a-z_]\w{{0,99}}\.(?!{_SUFFIX}\b)[a-z_]\w*", re.IGNORECASE)
_FORMATS = Phrases("sources", "formats")
_DELIVERED = Phrases("sources", "delivered")
_LOADINGS = Meanings("sources", "loading")
_YES = Phrases("sources", "yes")
_NO = Phrases("sources", "no")


def location(text: Text) -> Text:
    """Return the location that a text names; empty if it names none. A URL or the name of a data file is one before a mere path."""
    found = [match for match in LOCATION.finditer(text.value) if _is_location(text, match)]
    return text.part(found[0].start(), found[0].end()) if found else NOTHING


def _is_location(text: Text, match: re.Match[str]) -> bool:
    """Return whether it is a URL or the name of a data file, or stands alone or in backticks: `Feb/Mar` in a sentence is not a path."""
    if "://" in match[0] or match[0].startswith(("singer:", "${")) or is_file(match[0]):
        return True
    return len(match[0]) * 2 > len(text.bare) or text.value[: match.start()].endswith("`")


def is_file(address: str) -> bool:
    """Return whether a URL is that of a file, not of an API."""
    return re.search(rf"\.{_SUFFIX}(?:\.\w+)?(?:$|\?)", address, re.IGNORECASE) is not None


def data_format(text: Text) -> Text:
    """Return the format that a text names."""
    match = _FORMATS.search(text.value)
    return NOTHING if match is None else text.part(match.start(), match.end())


def delivered(text: Text) -> Text:
    """Return how often a source is delivered, according to a text."""
    match = _DELIVERED.search(text.value)
    return NOTHING if match is None else text.part(match.start(), match.end())


def loading(text: Text) -> Loading | None:
    """Return how a source is loaded, according to a text; None if it does not say."""
    return cast("Loading | None", _LOADINGS.within(text.lower) or None)


def is_yes(text: Text) -> bool | None:
    """Return what a cell such as `yes`, `no` or `never` says; None if it says neither."""
    if _NO.fullmatch(text.lower):
        return False
    return True if _YES.fullmatch(text.lower) else None
