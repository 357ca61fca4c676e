"""An API as a source for the tests, and the faults of its pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from dpe_cli.sources.http import client
from support.misbehaving_api import Answer, Api
from support.staged_source import Stage, StagedSource

COLUMNS = "id bigint, changed_at timestamptz"


PAGINATORS: dict[str, dict[str, Any]] = {
    "all": {"data_selector": "$"},
    "header": {"paginator": {"type": "header_link"}},
    "link": {"paginator": {"type": "json_link", "next_url_path": "next"}},
    "cursor": {"paginator": {"type": "cursor", "cursor_path": "$.cursor", "cursor_param": "at"}, "total_path": "total"},
    "page": {"paginator": {"type": "page_number"}},
    "offset": {"paginator": {"type": "offset", "limit": 10}, "total_path": "$.total"},
}


INCREMENTAL = {"cursor_path": "changed_at", "key": ["id"], "start_param": "since"}


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses between attempts, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(client.Client.__init__, "__kwdefaults__", {"sleep": waited.append})
    return waited


def api_source(stage: Stage, api: Api, style: str = "link", **options: Any) -> StagedSource:
    """Stage a source that is paged through in one of the styles; other arguments are options of its external block."""
    defaults = {
        "location": api.url,
        "path": f"records/{style}",
        "file_format": "rest",
        "disposition": "replace",
        "data_selector": "data.items",
        "allow_private_addresses": True,
    }
    return stage(COLUMNS, **(defaults | PAGINATORS.get(style, {}) | options))


def ids_of(source: StagedSource) -> list[int]:
    """Return the ids in staging, in order."""
    return [number for (number,) in source.query(f"select id from {source.relation} order by id")]


class Raw(str):
    """JSON that is answered as it is."""

    __slots__ = ()


def says(**members: Any) -> Callable[[Answer], Answer]:
    """Change members of a page."""

    def change(answer: Answer) -> Answer:
        body = json.dumps(json.loads(answer.body) | members)
        for value in members.values():
            body = body.replace(json.dumps(value), value) if isinstance(value, Raw) else body
        return replace(answer, body=body.encode())

    return change


def leads_to(place: int | str) -> Callable[[Answer], Answer]:
    """Name another next page in each of the ways in which an API can."""

    def change(answer: Answer) -> Answer:
        link = f"?at={place}"
        return replace(says(next=link, cursor=place)(answer), headers={"Link": f'<{link}>; rel="next"'})

    return change


def answers(**changed: Any) -> Callable[[Answer], Answer]:
    """Change parts of an answer."""
    return lambda answer: replace(answer, **changed)
