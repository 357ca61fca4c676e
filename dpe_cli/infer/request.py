"""A request for a source's YAML, as given on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dpe_cli.errors import UsageError
from dpe_cli.infer import inference, naming
from dpe_cli.infer.inference import Examined, InferredTable
from dpe_cli.infer.readers.files import project_location
from dpe_cli.infer.survey import SurveyRequest
from dpe_cli.sources import secrets
from dpe_cli.sources.options.base import TAP, faults_of_path

# Default number of records to sample. Getting to know an API should not take hundreds of pages.
_ENOUGH = 1_000_000
_OF_AN_API = 10_000


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options of the command. `name` is source.table; `headers` are lines of NAME:VALUE."""

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


def inferred(request: Request, project_dir: Path) -> InferredTable:
    """
    Return the description of a source. A secret in its location is used, but never returned or raised.

    Raises:
        InputError: it has no records, or cannot be read.
        UsageError: the request is wrong.
    """
    with examined(request, project_dir) as found:
        return found.table


@contextmanager
def examined(request: Request, project_dir: Path) -> Iterator[Examined]:
    """
    Inspect a source as `inferred` does, and keep its records for further questions.

    Raises:
        InputError: it has no records, or cannot be read.
        UsageError: the request is wrong.
    """
    if faults := list(_faults(request)):
        raise UsageError(f"{faults[0]}; see dpe source infer --help")
    location = project_location(request.location, project_dir)
    is_api = request.file_format == "rest" or (request.file_format is None and naming.is_api(location))
    source, table = naming.names_of(location, request.table, request.name)
    with naming.without_secrets(location, source) as hidden:
        survey_request = SurveyRequest(
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
        with inference.examine(survey_request) as found:
            yield found


def _faults(request: Request) -> Iterator[str]:
    """Yield mistakes in a request, without the location, which may contain a secret."""
    if request.location.startswith(TAP):
        yield "LOCATION: is a tap, which describes its own streams; run it by hand with --discover"
    location = secrets.beginning(request.location)
    is_address = "://" in location
    try:
        parts = urlsplit(location if is_address else "")
    except ValueError:
        yield "LOCATION: is not a valid URL"
        return
    if request.file_format == "rest" and not (parts.scheme in {"http", "https"} and parts.hostname):
        yield "--format rest: needs the address of an API, as in https://api.shop.example/v1/orders"
    if request.file_format == "sql" and not is_address:
        yield "--format sql: needs the URL of a database, as in postgresql://reader@crm.example/crm"
    if parts.scheme in {"http", "https"} and not parts.hostname:
        yield "LOCATION: is a URL without a host"
    if request.records is not None:
        yield from faults_of_path("--records", request.records)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise UsageError("--header-line: is not NAME:VALUE; write it like 'Authorization: Bearer ${SHOP_TOKEN}'")
    return name.strip(), value.strip()
