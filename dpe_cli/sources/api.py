"""APIs as sources: read page by page; each page is read completely or requested again, and never twice."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dpe_cli.blocks.block import Block
from dpe_cli.blocks.contract import Column
from dpe_cli.blocks.csv_grammar import Dialect
from dpe_cli.blocks.inputs import Opened
from dpe_cli.errors import InputError
from dpe_cli.sources.http.client import AgainError, Client, Page, is_text
from dpe_cli.sources.json import json_path
from dpe_cli.sources.json.documents import Document
from dpe_cli.sources.json.records import RECORD_SEPARATOR, JsonRecords
from dpe_cli.sources.options.queries import Paginator, Rest
from dpe_cli.sources.query_inputs import BaseQueryInput
from dpe_cli.sources.read.rows import DIALECT

_START_VALUE = "{incremental.start_value}"
_COUNT = re.compile(r"\d{1,18}", re.ASCII)
# An API that filters may send some before a page with records, but not forever.
_MOST_EMPTY_PAGES = 1000


class Api(BaseQueryInput):
    """The records of an endpoint, or only the new ones."""

    may_repeat = True

    def __init__(self, options: Rest, columns: Sequence[Column], *, declared_at: str) -> None:
        path = options.path.lstrip("/")
        super().__init__(f"{options.location.rstrip('/')}/{path}" if path else options.location)
        self.options = options
        self._columns = columns
        self._declared_at = declared_at

    @contextmanager
    def open(self) -> Iterator[Opened]:
        """
        Prepare the requests.

        Raises:
            InputError: the API cannot be read.
            ContractError: a record has a member that the contract does not name.
        """
        records = JsonRecords(self._columns, ignores_extra=self.options.extra_columns == "ignore", declared_at=self._declared_at)
        client = Client(self.options, where=self.location)
        try:
            yield _OpenedApi(self, client, records)
        finally:
            client.close()

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the first request."""
        incremental = self.options.incremental
        start = incremental.start(self.after) if incremental else None
        params = {
            name: value.replace(_START_VALUE, "" if start is None else str(start)) if isinstance(value, str) else value
            for name, value in self.options.params.items()
        }
        if incremental and incremental.start_param and start is not None:
            params[incremental.start_param] = start
        return params


@dataclass
class _Read:
    """A page that was read: its records, each followed by a separator, and the rest of its document."""

    parts: list[bytes] = field(default_factory=list)
    envelope: Any = None
    next_link: str | None = None
    url: str = ""
    bytes_read: int = 0

    @property
    def count(self) -> int:
        """How many records it has."""
        return sum(part.count(RECORD_SEPARATOR) for part in self.parts)


class _OpenedApi:
    """An API whose pages are being read."""

    dialect: Dialect = DIALECT

    def __init__(self, api: Api, client: Client, records: JsonRecords) -> None:
        self.columns = records.columns
        self._api = api
        self._options = api.options
        self._client = client
        self._records = records
        self._seen: dict[bytes, int] = {}
        self._asked: set[bytes] = set()
        self._steps = json_path.parse(self._options.data_selector)

    def missing(self) -> tuple[str, ...]:
        """Return the columns that no record had."""
        return self._records.missing()

    def blocks(self) -> Iterator[Block]:
        """
        Yield the records of all pages.

        Raises:
            InputError: a page cannot be read, comes twice, or the number of records is not what the API says.
        """
        number = 1
        read = 0
        for page in self._pages():
            for data in page.parts:
                block = self._records.block(data, RECORD_SEPARATOR, location=self._api.location, first_line=number, by_number=True)
                number += block.records
                yield block
            read += page.bytes_read
        self._api.size = read

    def _pages(self) -> Iterator[_Read]:
        url = self._client.base
        params = self._api.params | _first(self._options.paginator)
        delivered = empty = 0
        total = None
        while True:
            self._check_progress(url, params, empty)
            page = self._page(url, params)
            delivered += page.count
            empty = 0 if page.count else empty + 1
            total = self._total(page, total)
            yield page
            following = self._following(page, url, params, delivered, total)
            if following is None:
                break
            url, params = following
        if total is not None and total != delivered:
            raise self._client.refused(f"it announced {total:,} records, but delivered {delivered:,}")

    def _check_progress(self, url: str, params: dict[str, Any], empty: int) -> None:
        """Refuse an API whose pages would never end."""
        request = hashlib.blake2b(json.dumps([url, params], sort_keys=True, default=str).encode(), digest_size=16).digest()
        if request in self._asked:
            raise self._client.refused(f"page {len(self._asked)} leads back to an earlier page, which would never end")
        self._asked.add(request)
        if empty >= _MOST_EMPTY_PAGES:
            raise self._client.refused(f"it sent {empty:,} pages without records in a row, and still leads to another one")

    def _page(self, url: str, params: dict[str, Any]) -> _Read:
        """Return a page that is different from all earlier ones."""
        found = _Read()

        def read(page: Page) -> None:
            nonlocal found
            found = self._document(page)
            digest = hashlib.sha256(b"".join(found.parts)).digest()
            if found.count and digest in self._seen:
                raise AgainError(f"page {len(self._seen) + 1} has the same records as page {self._seen[digest]}")
            self._seen[digest] = len(self._seen) + 1

        self._client.page(url, params, read)
        return found

    def _document(self, page: Page) -> _Read:
        limit = self._options.max_page_bytes
        document = Document(iter([page.body]), self._steps, location=self._api.location, max_record_bytes=limit)
        try:
            parts = [data if data.endswith(RECORD_SEPARATOR) else data + RECORD_SEPARATOR for data, _ in document.parts()]
        except InputError as error:
            # Half a page, or a proxy's error page.
            raise AgainError(f"a page cannot be read ({str(error).partition(': ')[2]})") from error
        return _Read(parts, document.envelope, page.next_link, page.url, len(page.body))

    def _total(self, page: _Read, before: int | None) -> int | None:
        if self._options.total_path is None:
            return None
        total = json_path.value(page.envelope, json_path.parse(self._options.total_path))
        if isinstance(total, bool) or not isinstance(total, (int, str)) or not _COUNT.fullmatch(str(total)):
            if before is not None:
                return before
            raise self._client.refused(f"total_path {self._options.total_path} does not lead to a number of records")
        # The newest page counts: records that arrived in the meantime are on the pages still to come.
        return int(total)

    def _following(
        self, page: _Read, url: str, params: dict[str, Any], delivered: int, total: int | None
    ) -> tuple[str, dict[str, Any]] | None:
        """Return the address and the parameters of the next page; None after the last one."""
        if link := self._link(page):
            return self._client.joined(page.url, link), {}
        changed = self._changed(page, params, delivered, total)
        return (url, params | changed) if changed else None

    def _link(self, page: _Read) -> str | None:
        paginator = self._options.paginator
        if paginator.type == "header_link":
            return page.next_link
        if paginator.type == "json_link":
            link = json_path.value(page.envelope, json_path.parse(paginator.next_url_path or ""))
            if link and not isinstance(link, str):
                raise self._client.refused(f"next_url_path {paginator.next_url_path} does not lead to an address")
            return link or None
        return None

    def _changed(self, page: _Read, params: dict[str, Any], delivered: int, total: int | None) -> dict[str, Any]:
        """Return the parameters that change for the next page; empty after the last page."""
        paginator = self._options.paginator
        is_over = page.count == 0 or (total is not None and delivered >= total)
        if paginator.type == "cursor":
            cursor = json_path.value(page.envelope, json_path.parse(paginator.cursor_path or ""))
            if cursor in (None, "", False):
                return {}
            if not isinstance(cursor, (str, int, float)) or not is_text(str(cursor)):
                raise self._client.refused(f"cursor_path {paginator.cursor_path} does not lead to a text or a number that can be sent")
            return {paginator.cursor_param: cursor}
        if paginator.type == "page_number":
            number = int(params[paginator.page_param]) + 1
            is_over = is_over or (paginator.maximum_page is not None and number > paginator.maximum_page)
            return {} if is_over else {paginator.page_param: number}
        return {paginator.offset_param: delivered} if paginator.type == "offset" and not is_over else {}


def _first(paginator: Paginator) -> dict[str, Any]:
    """Return the parameters that request the first page."""
    match paginator.type:
        case "page_number":
            return {paginator.page_param: paginator.base_page}
        case "offset":
            return {paginator.offset_param: 0, paginator.limit_param: paginator.limit}
        case _:
            return {}
