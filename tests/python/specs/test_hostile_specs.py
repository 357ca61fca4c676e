"""A spec is written by others: none takes dpe long to read, whatever it contains."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from importlib import resources

import pytest
from support.long_tests import LONG

from dpe_cli import specs
from dpe_cli.specs import phrases
from dpe_cli.specs.phrases import Meanings, Phrases

# Whole texts of these (`·` is a space, `↵` the end of a line): each begins what some expression looks for, and does not end it.
REPEATED = [
    "a",
    "A",
    "1",
    "_",
    "-",
    ".",
    "·",
    "`",
    "|",
    "*",
    "{",
    "/",
    "(",
    "↵",
    "a.",
    "a_",
    "a/",
    "a-",
    "a,",
    "a·",
    "A·",
    "1,",
    "1·",
    "1.",
    "=",
    "a=",
    "://",
    "`a",
    "newest·",
    "it·",
    "no·",
    "missing·x·",
    "rounded·",
    "one·row·is·",
    "each·a·",
    "from·a·",
    "as·",
    "in·A·",
    "key·",
    "key:·a.",
    "owner·a·",
    "sum·",
    "data·quality·",
    "sheet·a·",
    "table·",
    "with·a·",
    "is·a·",
    "the·a·",
    "?·",
    "answer·by·a·",
    "severity·",
    "last·a·",
    "a·b·",
    "kept·1·",
    "x·and·",
]
LENGTH = 6_000


def _patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    for file in resources.files("dpe_cli.specs").joinpath("wording").iterdir():
        name = file.name.removesuffix(".yml")
        for key, value in phrases.content(name).items() if name != "titles" else ():
            if isinstance(value, list):
                yield f"{name}: {key}", Phrases(name, key).pattern
            elif name != "units" and all(isinstance(wordings, list) for wordings in value.values()):
                yield from ((f"{name}: {key}, {meaning}", pattern) for meaning, pattern in Meanings(name, key).patterns.items())
    for module in pkgutil.walk_packages(specs.__path__, "dpe_cli.specs."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                yield f"{module.name}.{name}", value
            elif isinstance(value, Phrases):
                yield f"{module.name}.{name}", value.pattern


PATTERNS = dict(_patterns())


@LONG
@pytest.mark.parametrize("name", PATTERNS)
def test_each_expression_takes_linear_time(name: str) -> None:
    """Of quadratic time, it would need a second. Titles are left out: longer ones than 200 characters are not looked at."""
    pattern = PATTERNS[name]
    slow = []
    for part in REPEATED:
        written = part.replace("·", " ").replace("↵", "\n")
        text = written * (LENGTH // len(written)) + "\0"
        start = time.process_time()
        for _ in pattern.finditer(text):
            pass
        if (took := time.process_time() - start) > 0.5:
            slow.append((part, round(took, 1)))

    assert [] == slow
