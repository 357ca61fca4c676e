"""APIs: where the records are in a page, and how one page leads to the next."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from dpe_cli.infer.readers import json_files
from dpe_cli.infer.sample import parts_of
from dpe_cli.infer.survey import Survey, SurveyRequest
from dpe_cli.sources import secrets
from dpe_cli.sources.api import Api
from dpe_cli.sources.http.client import AgainError, Client, Page
from dpe_cli.sources.json import json_path, parsing
from dpe_cli.sources.options.queries import Auth, Paginator, Rest

# Common names of members with the address of the next page.
_NEXT = (
    *("next", "next_url", "next_page_url", "nextPageUrl", "nextLink", "@odata.nextLink", "info.next"),
    *("links.next", "links.next.href", "_links.next", "_links.next.href"),
    *("paging.next", "pagination.next", "pagination.next_url", "meta.next", "meta.next_url"),
)
_TOTAL = ("total", "total_count", "totalCount", "total_results", "meta.total", "pagination.total", "count")
_CURSORS = ("next_cursor", "nextCursor", "cursor", "next_page_token", "nextPageToken", "meta.next_cursor", "pagination.next_cursor")


def survey(request: SurveyRequest, stack: ExitStack) -> Survey:
    """
    Return how to read an API, and its records.

    Raises:
        InputError: it cannot be read, or has no records.
    """
    written = _written(request)
    options = Rest(**_options(written))
    page = _first_page(options)
    document = parsing.parse(page.body or b"")
    selector = request.records or json_files.records_of(document, location=request.location)
    if selector != "$":
        written["data_selector"] = selector
    notes: list[str] = []
    if paginator := _paginator(page, document):
        written["paginator"] = paginator
    else:
        notes = _first_page_only(document, selector)
    api = Api(Rest(**_options(written)), [json_files.WHOLE], declared_at="")
    seen = json_files.survey(partial(parts_of, [api], request.sample), stack)
    return replace(seen, options={**written, **seen.options, "file_format": "rest", "disposition": "replace"}, notes=[*notes, *seen.notes])


def _written(request: SurveyRequest) -> dict[str, object]:
    """Return the options of the source: query parameters have an option of their own, and secret ones another."""
    parts = urlsplit(request.location)
    params: dict[str, str] = {}
    written: dict[str, object] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if secrets.is_reference(value) and "auth" not in written:
            written["auth"] = {"type": "api_key", "name": name, "api_key": value, "location": "query"}
        else:
            params[name] = value
    if params:
        written["params"] = params
    if request.headers:
        written["headers"] = dict(request.headers)
    if request.allow_private_addresses:
        written["allow_private_addresses"] = True
    return {"location": urlunsplit(parts._replace(query="", fragment="")), **written}


def _options(written: Mapping[str, object]) -> dict[str, Any]:
    options: dict[str, Any] = {**written, "file_format": "rest", "disposition": "replace", "extra_columns": "ignore"}
    for name, kind in (("auth", Auth), ("paginator", Paginator)):
        if name in options:
            options[name] = kind(**options[name])
    return options


def _first_page(options: Rest) -> Page:
    taken: list[Page] = []

    def read(page: Page) -> None:
        try:
            parsing.parse(page.body or b"")
        except ValueError as error:
            # Half a page, or a proxy's error page.
            raise AgainError(f"its answer is not JSON ({error})") from error
        taken[:] = [page]

    with closing(Client(options, where=options.location)) as client:
        client.page(client.base, options.params, read)
    return taken[0]


def _paginator(page: Page, document: Any) -> dict[str, str] | None:
    # A Link header that is not valid cannot be followed.
    with suppress(ValueError):
        if page.next_link is not None:
            return {"type": "header_link"}
    for path in _NEXT:
        link = _at(document, path)
        if isinstance(link, str) and link.startswith(("http://", "https://", "/", "?")):
            return {"type": "json_link", "next_url_path": json_path.written(_steps(path))}
    return None


def _first_page_only(document: Any, selector: str) -> list[str]:
    """Return notes that there seem to be more pages, and that how to request them is unknown."""
    records = json_path.value(document, json_path.parse(selector))
    count = len(records) if isinstance(records, list) else 0
    for path in _TOTAL:
        total = _at(document, path)
        if isinstance(total, int) and not isinstance(total, bool) and total > count:
            return [f"this is only the first page: {path} says {total:,} records, but there are {count:,}; add a paginator and total_path"]
    if any(_at(document, path) for path in _CURSORS):
        return ["this is only the first page: it has a cursor for the next one; add a paginator of type cursor"]
    return ["no link to a next page was found: if there are more pages, add a paginator"]


def _at(document: Any, path: str) -> Any:
    return json_path.value(document, _steps(path)) if isinstance(document, dict) else None


def _steps(path: str) -> tuple[str, ...]:
    return (path,) if path.startswith("@") else tuple(path.split("."))
