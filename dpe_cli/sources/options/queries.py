"""Options of sources that are queried: APIs, databases and taps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, MinLen
from typing_extensions import Doc

from dpe_cli.blocks.block import MAX_RECORD_BYTES
from dpe_cli.blocks.contract import Column
from dpe_cli.sources import secrets
from dpe_cli.sources.options.base import (
    STRICT,
    TAP,
    External,
    Incremental,
    Rejects,
    faults_of_path,
    faults_of_paths,
    faults_of_url,
    nearest,
)


@dataclass(frozen=True, kw_only=True)
class Sql(External):
    """A table or a query of a database."""

    documentation: ClassVar[str] = "docs/guides/sources/databases.md"
    delivered_by: ClassVar[str] = "database"
    nested: ClassVar[dict[str, type]] = {"rejects": Rejects, "incremental": Incremental}

    file_format: Annotated[Literal["sql"], Doc("a table or a query of a database; location is its URL")]
    table: Annotated[str, MinLen(1), Doc("the table, with its schema if it needs one")] | None = None
    query: Annotated[str, MinLen(1), Doc("a query instead of a table")] | None = None
    incremental: Annotated[Incremental, Doc("read only what is new")] | None = None
    timeout: Annotated[float, Gt(0), Doc("seconds to wait for the answer to a query, or for more of its rows")] = 3600

    @property
    def is_postgres(self) -> bool:
        """Whether the database is PostgreSQL, which is read by COPY. The environment says so if the location is a variable."""
        return secrets.beginning(self.location).startswith(("postgresql://", "postgres://"))

    def faults(self) -> Iterator[str]:
        """Yield mistakes that types cannot express."""
        yield from faults_of_url(self.location)
        if "://" not in self.location and not self.location.startswith("${"):
            yield (
                "location: is not a database URL; write it like postgresql://reader:${CRM_PASSWORD}@crm.example/crm, "
                "or ${CRM_URL} if the environment has all of it"
            )
        if (self.table is None) == (self.query is None):
            yield "table: give either a table or a query"
        yield from _faults_of_disposition(self, "row")

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield mistakes in the columns of its cursor and key."""
        yield from super().faults_of_columns(columns)
        if self.incremental:
            yield from self.incremental.faults(columns)


@dataclass(frozen=True)
class RestIncremental(Incremental):
    """How an API resumes where the last extract ended, and how that is requested."""

    start_param: Annotated[str | None, Doc("the parameter for the starting value; or write {incremental.start_value} in params")] = None


@dataclass(frozen=True, kw_only=True)
class Auth:
    """How to authenticate to an API. Secrets are references to the environment: ${NAME}."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT
    required: ClassVar[dict[str, tuple[str, ...]]] = {
        "bearer": ("token",),
        "http_basic": ("username", "password"),
        "api_key": ("name", "api_key"),
        "oauth2_client_credentials": ("access_token_url", "client_id", "client_secret"),
    }
    secrets: ClassVar[tuple[str, ...]] = ("token", "password", "api_key", "client_secret")

    type: Literal["bearer", "http_basic", "api_key", "oauth2_client_credentials"]
    token: str | None = None
    username: str | None = None
    password: str | None = None
    name: str | None = None
    api_key: str | None = None
    location: Literal["header", "query"] = "header"
    access_token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    access_token_request_data: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Paginator:
    """How one page of an API leads to the next."""

    __pydantic_config__: ClassVar[dict[str, object]] = STRICT
    required: ClassVar[dict[str, tuple[str, ...]]] = {"json_link": ("next_url_path",), "cursor": ("cursor_path",), "offset": ("limit",)}

    type: Literal["single_page", "header_link", "json_link", "cursor", "page_number", "offset"]
    next_url_path: str | None = None
    cursor_path: str | None = None
    cursor_param: str = "cursor"
    base_page: int = 1
    page_param: str = "page"
    maximum_page: Annotated[int, Ge(0)] | None = None
    limit: Annotated[int, Gt(0)] | None = None
    limit_param: str = "limit"
    offset_param: str = "offset"


@dataclass(frozen=True, kw_only=True)
class Rest(External):
    """An API that returns its records as JSON, page by page. The option names are those of dlt's REST source."""

    documentation: ClassVar[str] = "docs/guides/sources/apis.md"
    delivered_by: ClassVar[str] = "API"
    nested: ClassVar[dict[str, type]] = {"rejects": Rejects, "incremental": RestIncremental, "auth": Auth, "paginator": Paginator}

    file_format: Annotated[Literal["rest"], Doc("an API; location is its base URL")]
    path: Annotated[str, Doc("the endpoint, relative to the base URL")] = ""
    params: Annotated[dict[str, str | int | float | bool], Doc("query parameters")] = field(default_factory=dict)
    headers: Annotated[dict[str, str], Doc("headers of each request")] = field(default_factory=dict)
    auth: Annotated[Auth, Doc("how to authenticate")] | None = None
    paginator: Annotated[Paginator, Doc("how one page leads to the next")] = field(default_factory=lambda: Paginator(type="single_page"))
    data_selector: Annotated[str, Doc("the path of the array of records in a page; $ if the page itself is the array")] = "$"
    total_path: (
        Annotated[str, Doc("the path of the total number of records; if it changes, or another number is delivered, nothing is loaded")]
        | None
    ) = None
    key: (
        Annotated[list[str], MinLen(1), Doc("the columns that identify a record; with replace, one that comes twice is refused")] | None
    ) = None
    incremental: Annotated[RestIncremental, Doc("read only what is new")] | None = None
    timeout: Annotated[float, Gt(0), Doc("seconds to wait for a page")] = 60
    attempts: Annotated[int, Ge(1), Doc("how often a page is requested before the extract gives up")] = 5
    requests_per_second: Annotated[float, Gt(0), Doc("limit of requests per second")] | None = None
    max_page_bytes: Annotated[int, Gt(0), Doc("a longer page is refused")] = 64 * 1024 * 1024
    max_empty_pages: Annotated[
        int, Ge(1), Doc("an API that still leads to another page after so many without records in a row is refused")
    ] = 100
    allow_private_addresses: Annotated[bool, Doc("allow URLs that resolve to private networks or this machine")] = False

    @property
    def counts_places(self) -> bool:
        """Whether pages are requested by their place in the whole, so that records slide when others come or go."""
        return self.paginator.type in {"page_number", "offset"}

    @property
    def is_unique(self) -> bool:
        """Whether an extract that delivers a key twice is refused."""
        return self.key is not None or self.counts_places

    def faults(self) -> Iterator[str]:
        """Yield mistakes that types cannot express."""
        yield from faults_of_url(self.location)
        if not self.location.startswith(("http://", "https://", "${")):
            yield "location: is not an http:// or https:// address of an API"
        for option, path in (("data_selector", self.data_selector), ("total_path", self.total_path)):
            yield from faults_of_path(option, path)
        yield from faults_of_path("paginator", self.paginator.next_url_path)
        yield from faults_of_path("paginator", self.paginator.cursor_path)
        if self.key is not None and self.disposition == "append":
            yield "key: with disposition: append it belongs to incremental; write incremental.key"
        yield from self._faults_of_parts()
        yield from _faults_of_disposition(self, "record")

    def _faults_of_parts(self) -> Iterator[str]:
        """Yield what auth, paginator and headers lack, and secrets written into them."""
        for name, part in (("auth", self.auth), ("paginator", self.paginator)):
            missing = [option for option in part.required.get(part.type, ()) if getattr(part, option) is None] if part else []
            if part and missing:
                yield f"{name}: type {part.type} needs {' and '.join(missing)}"
        for option in Auth.secrets if self.auth else ():
            if (value := getattr(self.auth, option)) is not None and not secrets.is_reference(value):
                yield f"auth: {option} would end up in dbt's manifest; write ${{NAME}} and set NAME in the environment"
        for name, value in self.headers.items():
            if name.lower() in _SECRET_HEADERS and not secrets.names([value]):
                yield f"headers: {name} would end up in dbt's manifest; write ${{NAME}} and set NAME in the environment"

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield mistakes in paths, and in the columns of its cursor and key."""
        yield from faults_of_paths(columns)
        yield from _faults_of_key(self.key, columns)
        if self.incremental:
            yield from self.incremental.faults(columns)


@dataclass(frozen=True, kw_only=True)
class Singer(External):
    """A stream of a Singer tap, which dpe runs. The option names are Singer's."""

    documentation: ClassVar[str] = "docs/guides/sources/singer.md"
    delivered_by: ClassVar[str] = "tap"

    file_format: Annotated[Literal["singer"], Doc("a Singer tap, which is run; location is singer:tap-name")]
    stream: Annotated[str, MinLen(1), Doc("the stream's name in the tap's messages; by default the table's name")] | None = None
    tap_stream_id: Annotated[str, MinLen(1), Doc("the stream's name in the tap's catalog, if different")] | None = None
    config: Annotated[dict[str, Any], Doc("the tap's configuration; write secrets as ${NAME}")] = field(default_factory=dict)
    config_file: Annotated[str, MinLen(1), Doc("a JSON file with the tap's configuration, instead of config")] | None = None
    environment: Annotated[list[str], Doc("environment variables for the tap besides those in config, such as AWS_PROFILE")] | None = None
    executable: Annotated[str, MinLen(1), Doc("the tap's program, if it is neither in .dpe/taps nor on PATH")] | None = None
    catalog_file: Annotated[str, MinLen(1), Doc("a catalog of the tap's streams, instead of the one it discovers")] | None = None
    catalog_option: Annotated[Literal["--catalog", "--properties"], Doc("the option for the catalog; old taps need --properties")] = (
        "--catalog"
    )
    replication_method: (
        Annotated[Literal["FULL_TABLE", "INCREMENTAL", "LOG_BASED"], Doc("how the tap resumes; by default as in its catalog")] | None
    ) = None
    replication_key: Annotated[str, MinLen(1), Doc("the property from which the tap resumes; by default as in its catalog")] | None = None
    key: (
        Annotated[
            list[str],
            MinLen(1),
            Doc(
                "the columns that identify a record, so that one delivered again is not loaded twice; "
                "with replace, one that comes twice with different values is refused"
            ),
        ]
        | None
    ) = None
    max_record_bytes: Annotated[int, Gt(0), Doc("a longer message is refused")] = MAX_RECORD_BYTES
    timeout: Annotated[float, Gt(0), Doc("seconds without output after which the tap is ended; its log does not count")] = 7200

    @property
    def tap(self) -> str:
        """The name of the tap."""
        return self.location.removeprefix(TAP)

    def faults(self) -> Iterator[str]:
        """Yield mistakes that types cannot express."""
        if not self.location.startswith(TAP) or not _TAP_NAME.fullmatch(self.tap):
            name = re.split(r"[:/\\]", self.location)[-1]
            hint = f" (did you mean {TAP}{name}?)" if _TAP_NAME.fullmatch(name) else ""
            yield f"location: {self.location} is not a tap{hint}; write it like singer:tap-github"
        if self.config and self.config_file:
            yield "config_file: give either config or config_file"
        for path, _ in secrets.bare(self.config, ("config",)):
            yield f"{path}: would end up in dbt's manifest; write ${{NAME}} and set NAME in the environment"
        for name in self.environment or ():
            if not _VARIABLE.fullmatch(name):
                yield f"environment: {name} is not a variable name; write only the name, as in AWS_PROFILE"
        if self.replication_key and self.replication_method == "FULL_TABLE":
            yield "replication_key: FULL_TABLE does not use it; leave it out, or write replication_method: INCREMENTAL"
        if self.disposition == "append" and self.key is None:
            yield "key: append needs it, because taps deliver records again; name the columns that identify a record, or write replace"

    def faults_of_columns(self, columns: Sequence[Column]) -> Iterator[str]:
        """Yield mistakes in paths, and key columns that do not exist."""
        yield from faults_of_paths(columns)
        yield from _faults_of_key(self.key, columns)


_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_TAP_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

_SECRET_HEADERS = {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-auth-token"}


def _faults_of_key(key: Sequence[str] | None, columns: Sequence[Column]) -> Iterator[str]:
    """Yield the names in a key that are not columns."""
    names = [column.name for column in columns]
    for name in key or ():
        if name not in names:
            yield f"key: {name} is not a column{nearest(name, names)}"


def _faults_of_disposition(options: Sql | Rest, what: str) -> Iterator[str]:
    """Yield mistakes where replaced data would be read only in part, or data would be added again and again."""
    if options.incremental and options.disposition == "replace":
        yield "incremental: a replaced source is read as a whole; leave it out, or write disposition: append"
    if not options.incremental and options.disposition == "append":
        yield f"disposition: append needs incremental, because otherwise every extract would add every {what}; or write replace"
