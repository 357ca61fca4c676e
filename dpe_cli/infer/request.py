"""A request for a source's YAML, as a command line makes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dpe_cli.errors import UsageError
from dpe_cli.infer import inference, naming
from dpe_cli.infer.inference import Found
from dpe_cli.infer.readers.files import project_location
from dpe_cli.infer.survey import Asked
from dpe_cli.sources.options.base import TAP, faults_of_path

# Records to look at, where nobody says how many. An API is not asked for hundreds of pages to be got to know.
_ENOUGH = 1_000_000
_OF_AN_API = 10_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """What was asked for. `name` is source.table; `headers` are lines of NAME:VALUE."""

    location: str
    sample: int | None = None
    file_format: str | None = None
    name: str | None = None
    table: str | None = None
    records: str | None = None
    sheet: str | None = None
    header: bool | None = None
    headers: tuple[str, ...] = ()
    allow_private_addresses: bool = False


def inferred(request: Request, project_dir: Path) -> Found:
    """
    Return what a source is. A secret in its location is used, and is in nothing that is returned or raised.

    Raises:
        InputError: there are no records, or they cannot be read.
        UsageError: the request is wrong.
    """
    if faults := list(_faults(request)):
        raise UsageError(f"{faults[0]}; see dpe source infer --help")
    location = project_location(request.location, project_dir)
    is_api = request.file_format == "rest" or (request.file_format is None and naming.is_api(location))
    source, table = naming.names_of(location, request.table, request.name)
    with naming.without_secrets(location, source) as hidden:
        asked = Asked(
            location=hidden,
            source=source,
            table=table,
            sample=request.sample or (_OF_AN_API if is_api else _ENOUGH),
            project_dir=project_dir,
            file_format=request.file_format,
            relation=request.table,
            records=request.records,
            header=request.header,
            sheet=request.sheet,
            headers=dict(map(_header, request.headers)),
            allow_private_addresses=request.allow_private_addresses,
        )
        return inference.infer(asked)


def _faults(request: Request) -> Iterator[str]:
    """Yield what is wrong with a request; the location, which may hold a secret, is in none of it."""
    if request.location.startswith(TAP):
        yield "LOCATION: is a tap, which describes its streams itself; run it by hand with --discover"
    is_address = "://" in request.location
    try:
        parts = urlsplit(request.location if is_address else "")
    except ValueError:
        yield "LOCATION: cannot be read as an address"
        return
    if request.file_format == "rest" and not (parts.scheme in {"http", "https"} and parts.hostname):
        yield "--format rest: needs the address of an API, as in https://api.shop.example/v1/orders"
    if request.file_format == "sql" and not is_address:
        yield "--format sql: needs the URL of a database, as in postgresql://reader@crm.example/crm"
    if parts.scheme in {"http", "https"} and not parts.hostname:
        yield "LOCATION: is an address without a host"
    if request.records is not None:
        yield from faults_of_path("--records", request.records)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise UsageError("--header-line: is no NAME:VALUE; write it like 'Authorization: Bearer ${SHOP_TOKEN}'")
    return name.strip(), value.strip()
