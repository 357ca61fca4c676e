r"""
The words and phrases of `wording/*.yml`, by which dpe understands what analysts write.

A file has lists of phrases, each list with a name. A phrase is words, and matches whole words, in capitals or not. In a phrase,
`(a|b)` is one of several wordings, `(the )?` and `files?` may be left out, `\w+` is any word or the rest of one, `…` is what stands
between within a clause, and `(?P<name>…)` gives its words a name. A phrase is a regular expression otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from importlib import resources
from typing import Any

# Not within a word. Unlike `\b`, it also holds beside a sign such as `€` or `?`.
_EDGE = r"(?!(?<=\w)(?=\w))"
# A clause is rarely longer; without a limit, hostile text would take quadratic time.
_WITHIN_CLAUSE = "[^.;]{0,300}?"


@cache
def content(file: str) -> Mapping[str, Any]:
    """Return what a file of wordings holds, by the names of its lists."""
    import yaml  # only once text is checked

    text = resources.files("dpe_cli.specs").joinpath("wording", f"{file}.yml").read_text(encoding="utf-8")
    return dict(yaml.load(text, Loader=yaml.CSafeLoader))


@cache
def words(file: str, name: str) -> frozenset[str]:
    """Return a list of single words, which are compared as they are."""
    return frozenset(content(file)[name])


def expression(phrases: list[str]) -> str:
    """Return the regular expression that matches any of some phrases, the first ones first."""
    return f"{_EDGE}(?:{any_of(phrases)}){_EDGE}"


def any_of(phrases: list[str]) -> str:
    """Return the alternatives of an expression, also within words."""
    return "|".join(map(_expanded, phrases))


def _expanded(phrase: str) -> str:
    # A space is also the end of a line, if the phrase is broken there.
    spaced = phrase.replace("…", _WITHIN_CLAUSE).replace(" ", r"\s")
    return re.sub(r"(?<!\\)\((?!\?)", "(?:", spaced)


class Phrases:
    """A list of phrases of a file; compiled when it is used first, so that importing a module costs nothing."""

    def __init__(self, file: str, name: str, *, is_cased: bool = False, and_then: str = "") -> None:
        """Remember a list; `is_cased`: capitals matter; `and_then` is a regular expression that has to match after a phrase."""
        self.file = file
        self.name = name
        self._is_cased = is_cased
        self._and_then = and_then

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The regular expression that matches any of them."""
        return re.compile(expression(content(self.file)[self.name]) + self._and_then, 0 if self._is_cased else re.IGNORECASE)

    def search(self, text: str) -> re.Match[str] | None:
        """Return the first place where a text has one of the phrases."""
        return self.pattern.search(text)

    def match(self, text: str) -> re.Match[str] | None:
        """Return the phrase with which a text begins."""
        return self.pattern.match(text)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        """Return the phrase of which a text consists."""
        return self.pattern.fullmatch(text)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Return all places where a text has one of the phrases."""
        return self.pattern.finditer(text)

    def sub(self, replacement: str | Callable[[re.Match[str]], str], text: str) -> str:
        """Return a text with something else in place of the phrases."""
        return self.pattern.sub(replacement, text)

    def is_in(self, text: object) -> bool:
        """Return whether a text has one of the phrases."""
        return self.pattern.search(str(text)) is not None


class Meanings:
    """Lists of phrases, each for a meaning: of those that match a whole text, the first one counts."""

    def __init__(self, file: str, name: str) -> None:
        self._file = file
        self._name = name

    @cached_property
    def patterns(self) -> Mapping[str, re.Pattern[str]]:
        """The regular expression of each meaning."""
        return {meaning: re.compile(expression(phrases), re.IGNORECASE) for meaning, phrases in content(self._file)[self._name].items()}

    def of(self, text: str, *, without: Mapping[str, object] | None = None) -> str:
        """Return what a whole text means, leaving out some meanings; empty if it means none of them."""
        return next((name for name, pattern in self.patterns.items() if name not in (without or {}) and pattern.fullmatch(text)), "")

    def within(self, text: str) -> str:
        """Return the first meaning that is anywhere in a text; empty if none is."""
        return next((name for name, pattern in self.patterns.items() if pattern.search(text)), "")
