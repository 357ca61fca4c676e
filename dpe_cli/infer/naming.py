"""Names for a source and its table, derived from the location; and references instead of the secrets in a location."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, unquote, urlsplit

from dpe_cli.errors import UsageError
from dpe_cli.infer.readers.detect import by_ending, without_ending
from dpe_cli.sources import secrets
from dpe_cli.sources.options.files import PLACES

# Directory names that say nothing about their content.
_GENERIC = {"", ".", "..", "/", "data", "files", "input", "inputs", "raw", "landing", "in", "tmp", "download", "downloads"}
_SECRET = re.compile(r"(?i)password|passwd|pwd|token|secret|signature|^sig$|api_?key|^key$|access_?key")
_NAME = re.compile(r"([a-z_]\w*)\.([a-z_]\w*)")
_LONGEST = 40
# Takes a secret and its kind, and returns the reference that replaces it.
Reference = Callable[[str, str], str]


def is_database(location: str) -> bool:
    """Return whether a location is a database URL. The environment says so if it begins with a variable."""
    scheme, separator, _ = secrets.beginning(location).partition("://")
    return bool(separator) and scheme not in PLACES


def is_api(location: str) -> bool:
    """Return whether an address is read page by page: its path does not end like a file name."""
    address = secrets.beginning(location)
    return address.startswith(("http://", "https://")) and by_ending(address) is None


def names_of(location: str, table: str | None, given: str | None) -> tuple[str, str]:
    """
    Return the source's name and its table's, as given, or else derived from the location.

    Raises:
        UsageError: the given name is not valid.
    """
    if given is not None:
        found = _NAME.fullmatch(given)
        if found is None:
            raise UsageError(f"--name: {given} is not a name of a source table; write it like shop.orders, in lower case")
        return found[1], found[2]
    if location.startswith("${"):
        # The rest may be a secret.
        return "source", _name((table or "records").rpartition(".")[2]) or "records"
    if is_database(location):
        parts = urlsplit(location)
        name = _name(PurePosixPath(unquote(parts.path)).stem) or _name(parts.hostname or "") or "database"
        return name, _name((table or "records").rpartition(".")[2]) or "records"
    if location.startswith(("http://", "https://")):
        parts = urlsplit(location)
        steps = [step for step in parts.path.split("/") if step]
        return _host(parts.hostname or ""), _name(without_ending(steps[-1])) if steps else "records"
    return _of_path(location.partition("://")[2] if "://" in location else location)


def name_of_file(location: str) -> str | None:
    """Return the name for the only source of a project, after its file or its files' directory; None for a database, an API or a URL."""
    if location.startswith(("${", "http://", "https://")) or is_database(location):
        return None
    _, table = names_of(location, None, None)
    return f"{table}.{table}"


def _of_path(location: str) -> tuple[str, str]:
    path = PurePosixPath(location)
    names = [
        _name(_without_pattern(without_ending(path.name.rstrip("*?")))),
        *[_name(_without_pattern(parent.name)) for parent in path.parents],
    ]
    telling = [name for name in names if name and name not in _GENERIC] or ["records"]
    return (telling[1] if len(telling) > 1 else "files"), telling[0]


def _without_pattern(name: str) -> str:
    """Return a name without wildcards, and without the date or number of a delivery."""
    plain = re.sub(r"[*?]+|\[[^\]]*\]", " ", name)
    return re.sub(r"(^|[\s_.-]+)\d[\d\s_.-]*$|\d{6,}$|[\s_.-]+$", "", plain).strip()


def _host(host: str) -> str:
    """Return a host's short name: `shop` for api.shop.example."""
    labels = [label for label in host.split(".") if label not in {"www", "api", "data", "rest"}]
    if re.fullmatch(r"[\d.:]+", host) or not labels:
        return "api"
    return _name(labels[-2] if len(labels) > 1 else labels[0]) or "api"


def _name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()).strip("_")[:_LONGEST].rstrip("_")
    return f"t{name}" if name[:1].isdigit() else name


@contextmanager
def without_secrets(location: str, source: str) -> Iterator[str]:
    """
    Yield the location with references instead of its secrets; within the block, the environment has their values.

    A password on a command line is in the shell's history; what dpe writes and prints does not contain it.
    """
    held: dict[str, str] = {}

    def reference(value: str, kind: str) -> str:
        name = f"{source.upper()}_{kind}"
        while held.get(name, value) != value:
            name += "_2"
        held[name] = value
        return f"${{{name}}}"

    if "://" in location:
        location = _with_references(location, reference)
    before = {name: os.environ.get(name) for name in held}
    os.environ.update(held)
    try:
        yield location
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _with_references(location: str, reference: Reference) -> str:
    scheme, _, rest = location.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, host = authority.rpartition("@")
    name, colon, password = user.partition(":")
    if at and colon and password and not secrets.is_reference(password):
        rest = f"{name}:{reference(unquote(password), 'PASSWORD')}@{host}{rest[len(authority) :]}"
    before, mark, query = rest.partition("?")
    if not mark:
        return f"{scheme}://{rest}"
    parts = []
    for part in query.split("&"):
        option, _, value = part.partition("=")
        if _SECRET.search(option) and value and not secrets.is_reference(unquote(value)):
            kind = re.sub(r"\W+", "_", option).upper()
            parts.append(f"{option}={reference(dict(parse_qsl(part)).get(option, unquote(value)), kind)}")
        else:
            parts.append(part)
    return f"{scheme}://{before}?{'&'.join(parts)}"
