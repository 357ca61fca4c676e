"""Link headers (RFC 8288): which address an answer names as its next page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urljoin, urlsplit

_NEXT = "next"
# Empty elements of a list are allowed (RFC 9110, section 5.6.1).
_TARGET = re.compile(r"[\s,]*<([^>]*)>")
_END = re.compile(r"[\s,]*\Z")
_PARAMETER = re.compile(
    r"""\s*;\s*(?:(?P<name>[^\s=;,"<>]+)(?:\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s;,"]*)))?)?""", re.DOTALL
)
_AFTER = re.compile(r"\s*(?:,|\Z)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


def next_target(lines: Sequence[str], url: str) -> str | None:
    """
    Return the target of the link to the page after the one at `url`; None if there is none.

    A link with an `anchor` at another address is about that address, and does not count (RFC 8288, section 3.2).

    Raises:
        ValueError: a line is not a Link header, or there is more than one next page.
    """
    targets: dict[str, str] = {}
    for line in lines:
        for target, parameters in _links(line):
            types = parameters.get("rel", "").lower().split()
            if _NEXT in types and _is_about(url, parameters.get("anchor")):
                targets.setdefault(_joined(url, target), target)
    if len(targets) > 1:
        raise ValueError("its Link headers name more than one next page")
    return next(iter(targets.values()), None)


def _links(line: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the links of one line, each with its parameters by name in lower case; if one comes twice, the first counts."""
    position = 0
    while not _END.match(line, position):
        target = _TARGET.match(line, position)
        if target is None:
            raise ValueError("its Link header is not valid (RFC 8288)")
        position = target.end()
        parameters: dict[str, str] = {}
        while found := _PARAMETER.match(line, position):
            position = found.end()
            if name := found["name"]:
                quoted = found["quoted"]
                value = _ESCAPED.sub(r"\1", quoted) if quoted is not None else found["plain"] or ""
                parameters.setdefault(name.lower(), value)
        after = _AFTER.match(line, position)
        if after is None:
            raise ValueError("its Link header is not valid (RFC 8288)")
        position = after.end()
        yield target[1].strip(), parameters


def _joined(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError as error:
        # It quotes the address.
        raise ValueError("its link is not a valid address") from error


def _is_about(url: str, anchor: str | None) -> bool:
    """Return whether a link with this anchor is about the list of which `url` is a page."""
    if anchor is None:
        return True
    about, page = urlsplit(_joined(url, anchor)), urlsplit(url)
    return not about.fragment and (about.scheme, about.netloc.lower(), about.path) == (page.scheme, page.netloc.lower(), page.path)
