"""Phrases by which analysts say where something is, how it is loaded, and whether it may be empty."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dpe_cli.specs.requirement import Loading
from dpe_cli.specs.text import NOTHING, Text

_SUFFIX = r"(?:csv|tsv|txt|psv|dat|jsonl|ndjson|json|xlsx|xlsm|xls|parquet|db|sqlite3?|xml|zip|gz|zst|bz2|xz)"
# A URL, or a path with a slash or the suffix of a data file; `*` and `?` are those of a pattern of names.
LOCATION = re.compile(
    rf"\$\{{\w+\}}[^\s`,;)|]*|[a-z][a-z0-9+.-]*://[^\s`,;)|]+|singer:[\w-]+|(?:[\w.*?{{}}\[\]-]+/)+[\w.*?{{}}-]*[\w*}}]|[\w*?-]+(?:\.[\w*?-]+)*\.{_SUFFIX}\b(?:\.\w+)?",
    re.IGNORECASE,
)
SOURCE_NAME = re.compile(rf"\b[a-z_]\w*\.(?!{_SUFFIX}\b)[a-z_]\w*\b", re.IGNORECASE)
_FORMAT = re.compile(
    r"\b(?:csv|tsv|json lines|jsonl|ndjson|json|excel|xlsx|spreadsheet|workbook|parquet|sqlite|postgres(?:ql)?|mysql|mariadb|database|"
    r"api|rest|fixed.width|singer|tap)\b",
    re.IGNORECASE,
)
_DELIVERED = re.compile(
    r"\b(?:(?:every|each) (?:\w+ ){0,2}?(?:minute|hour|morning|evening|night|day|week|weekday|month|quarter|year|monday|tuesday|wednesday|thursday|friday|"
    r"saturday|sunday)\b[^.;,|]*|hourly|daily|nightly|weekly|monthly|quarterly|yearly|once(?: a (?:day|week|month|year))?|on demand|when it changes)",
    re.IGNORECASE,
)
# The first that matches counts: `the newest delivery only` is a replacement although `new` is in it.
_LOADING: Mapping[Loading, str] = {
    "incremental": r"\bsince\b|\bincremental|\bdeltas?\b|\bupsert|\bmerged?\b|\bwatermark|\bonly (?:the )?chang|\bchanged (?:rows|records|entries)|\bnewer than\b|\bwhat (?:is|has) (?:new|changed)|\bchanges only\b|\b(?:higher|greater|later|above) (?:than )?the (?:last|highest|greatest|latest)\b",
    "replace": r"\b(?:newest|latest|last|most recent|current) (?:\w+ ){0,2}(?:only|counts|replaces|wins)|\breplac|\boverwrit|\bfull(?:y)?[ -]?(?:re)?(?:load|fresh)|\bfull\b|\bcomplete(?:ly)? (?:each|every|new)|\btruncat|\bsnapshot|\bfrom scratch|\btakes? the place of|\bcomplete (?:list|export|file|table)\b|\bwins\b|\bonly the (?:newest|latest|last)|\b(?:whole|entire) (?:file|table|list|sheet)",
    "append": r"\beach (?:\w+ ){1,2}once\b|\bappend|\badd(?:ed|s)?\b|\baccumulat|\ball (?:deliveries|files) (?:are )?(?:kept|stay)|\bonly once\b|\bnew (?:files|records|rows|lines)\b|\bcumulat|\bonce each\b|\beach file\b|\bkept\b",
}
_YES = re.compile(r"(?:yes|y|true|x|✓|✔|may|nullable|optional|allowed|possible|sometimes|often|rarely|seldom)\b.*", re.IGNORECASE)
_NO = re.compile(
    r"(?:no|n|false|never|not null|required|mandatory|not allowed|always (?:there|filled|present)|must not)\b.*", re.IGNORECASE
)


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
    match = _FORMAT.search(text.value)
    return NOTHING if match is None else text.part(match.start(), match.end())


def delivered(text: Text) -> Text:
    """Return how often a source is delivered, according to a text."""
    match = _DELIVERED.search(text.value)
    return NOTHING if match is None else text.part(match.start(), match.end())


def loading(text: Text) -> Loading | None:
    """Return how a source is loaded, according to a text; None if it does not say."""
    lower = text.lower
    return next((kind for kind, wording in _LOADING.items() if re.search(wording, lower)), None)


def is_yes(text: Text) -> bool | None:
    """Return what a cell such as `yes`, `no` or `never` says; None if it says neither."""
    if _NO.fullmatch(text.lower):
        return False
    return True if _YES.fullmatch(text.lower) else None
