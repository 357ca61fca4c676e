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
from dpe_cli.safe_text.redaction import excerpt
from dpe_cli.sources.http.client import AgainError, Client, Page, is_text
from dpe_cli.sources.json import absence, json_path, parsing
from dpe_cli.sources.json.documents import Document, NoArrayError
from dpe_cli.sources.json.records import RECORD_SEPARATOR, JsonRecords
from dpe_cli.sources.options.queries import Paginator, Rest
from dpe_cli.sources.query_inputs import BaseQueryInput
from dpe_cli.sources.read.rows import DIALECT
from dpe_cli.words import plural

_START_VALUE = "{incremental.start_value}"
_COUNT = re.compile(r"\d{1,18}", re.ASCII)


class Api(BaseQueryInput):
    """The records of an endpoint, or only the new ones."""

    def __init__(self, options: Rest, columns: Sequence[Column], *, declared_at: str) -> None:
        path = options.path.lstrip("/")
        super().__init__(f"{options.location.rstrip('/')}/{path}" if path else options.location)
        self.options = options
        # Pages may start with the last record of the page before, unless each record has one place.
        self.may_repeat = not options.is_unique
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

    page: Page
    parts: list[bytes] = field(default_factory=list)
    envelope: Any = None

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
        self._number = 0
        self._seen: dict[bytes, int] = {}
        self._asked: set[bytes] = set()
        # The document of the first page, without its records; None until that is read.
        self._usual: Any = None
        self._total: int | None = None
        self._steps = json_path.parse(self._options.data_selector)
        paginator = self._options.paginator
        paths = (self._options.total_path, paginator.next_url_path, paginator.cursor_path)
        self._expected = [json_path.parse(path) for path in paths if path]

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
        for found in self._pages():
            for data in found.parts:
                block = self._records.block(data, RECORD_SEPARATOR, location=self._api.location, first_line=number, by_number=True)
                number += block.records
                yield block
            read += len(found.page.body or b"")
        self._api.size = read

    def _pages(self) -> Iterator[_Read]:
        url = self._client.base
        params = self._api.params | _first(self._options.paginator)
        delivered = empty = 0
        while True:
            self._check_progress(url, params, empty)
            self._number += 1
            found = self._read(url, params)
            delivered += found.count
            empty = 0 if found.count else empty + 1
            self._check_total(found)
            yield found
            following = self._following(found, url, params, delivered)
            if following is None or (self._total is not None and delivered > self._total):
                break
            url, params = following
        if self._total is not None and self._total != delivered:
            raise self._client.refused(f"it announced {self._total:,} records, but delivered {delivered:,}")

    def _check_progress(self, url: str, params: dict[str, Any], empty: int) -> None:
        """Refuse an API whose pages would never end."""
        request = hashlib.blake2b(json.dumps([url, params], sort_keys=True, default=str).encode(), digest_size=16).digest()
        if request in self._asked:
            raise self._client.refused(f"page {self._number} leads back to an earlier page, which would never end")
        self._asked.add(request)
        if empty >= self._options.max_empty_pages:
            raise self._client.refused(
                f"it sent {plural(empty, 'page')} without records in a row, and page {self._number} still leads to another one; "
                "if it may send more, set max_empty_pages higher"
            )

    def _read(self, url: str, params: dict[str, Any]) -> _Read:
        """Return a page that is different from all earlier ones."""
        found: list[_Read] = []

        def read(page: Page) -> None:
            document = self._document(page)
            digest = hashlib.sha256(b"".join(document.parts)).digest()
            if document.count and digest in self._seen:
                raise AgainError(f"page {self._number} has the same records as page {self._seen[digest]}")
            self._seen[digest] = self._number
            found[:] = [document]

        self._client.page(url, params, read)
        if self._usual is None:
            self._usual = found[0].envelope
        return found[0]

    def _document(self, page: Page) -> _Read:
        if page.body is None:
            return _Read(page)
        document = Document(
            iter([page.body]),
            self._steps,
            location=self._api.location,
            max_record_bytes=self._options.max_page_bytes,
            option="data_selector",
        )
        try:
            parts = [data if data.endswith(RECORD_SEPARATOR) else data + RECORD_SEPARATOR for data, _ in document.parts()]
        except NoArrayError as error:
            return _Read(page, envelope=self._without_array(page.body, error))
        except InputError as error:
            raise _unreadable(error) from error
        return _Read(page, parts, document.envelope)

    def _without_array(self, body: bytes, error: NoArrayError) -> Any:
        """Return the document of a page that has no records; refuse one that has no array for another reason."""
        try:
            document = parsing.parse(body)
        except ValueError:
            raise _unreadable(error) from error
        how = absence.absence(document, self._steps)
        is_first = self._number == 1
        if how is None or (is_first and how == "missing" and self._total_of(document) != 0):
            raise _unreadable(error) from error
        if doubtful := absence.contradiction(document, self._usual, self._steps, self._expected):
            raise AgainError(
                f"page {self._number} has no records at {self._options.data_selector}, but {excerpt(doubtful)!r}, which may be an error"
            ) from error
        return document

    def _check_total(self, found: _Read) -> None:
        """Compare the number of records that a page announces with what the first one announced."""
        path = self._options.total_path
        if path is None:
            return
        total = 0 if found.page.body is None and self._number == 1 else self._total_of(found.envelope)
        if total is None:
            if self._total is None:
                raise self._client.refused(f"total_path {path} does not lead to a number of records")
            return
        if self._total is not None and total != self._total:
            # A record that goes moves those after it to an earlier page, which was read already.
            raise self._client.refused(
                f"total_path {path} was {self._total:,} on page 1 and is {total:,} on page {self._number}: "
                "records changed while they were read, and some may be missing"
            )
        self._total = total

    def _total_of(self, document: Any) -> int | None:
        """Return the number of records that a document announces; None if it announces none."""
        if self._options.total_path is None:
            return None
        total = json_path.value(document, json_path.parse(self._options.total_path))
        is_number = isinstance(total, (int, str)) and not isinstance(total, bool) and _COUNT.fullmatch(str(total))
        return int(total) if is_number else None

    def _following(self, found: _Read, url: str, params: dict[str, Any], delivered: int) -> tuple[str, dict[str, Any]] | None:
        """Return the address and the parameters of the next page; None after the last one."""
        link = self._link(found)
        if link is not None:
            return self._client.joined(found.page.url, link), {}
        changed = self._changed(found, params, delivered)
        return (url, params | changed) if changed else None

    def _link(self, found: _Read) -> str | None:
        paginator = self._options.paginator
        if paginator.type == "header_link":
            try:
                return found.page.next_link
            except ValueError as error:
                raise self._client.refused(f"page {self._number}: {error}") from error
        if paginator.type == "json_link":
            link = json_path.value(found.envelope, json_path.parse(paginator.next_url_path or ""))
            if link and not isinstance(link, str):
                raise self._client.refused(f"next_url_path {paginator.next_url_path} does not lead to an address")
            return link or None
        return None

    def _changed(self, found: _Read, params: dict[str, Any], delivered: int) -> dict[str, Any]:
        """Return the parameters that change for the next page; empty after the last page."""
        paginator = self._options.paginator
        is_over = found.count == 0 or (self._total is not None and delivered >= self._total)
        if paginator.type == "cursor":
            cursor = json_path.value(found.envelope, json_path.parse(paginator.cursor_path or ""))
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


def _unreadable(error: InputError) -> AgainError:
    """Return why a page cannot be read: it may be half a page, or a proxy's error page."""
    return AgainError(f"a page cannot be read ({str(error).partition(': ')[2]})")


def _first(paginator: Paginator) -> dict[str, Any]:
    """Return the parameters that request the first page."""
    match paginator.type:
        case "page_number":
            return {paginator.page_param: paginator.base_page}
        case "offset":
            return {paginator.offset_param: 0, paginator.limit_param: paginator.limit}
        case _:
            return {}
