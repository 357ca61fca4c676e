"""The pages of APIs: none is missed, read twice or taken for the last one, and they end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.api_source import INCREMENTAL, answers, api_source, ids_of, leads_to, says
from support.long_tests import pairs
from support.misbehaving_api import Answer, Api
from support.staged_source import Stage

from dpe_cli.errors import InputError, RepeatedKeyError
from dpe_cli.ingest import rejects

pytestmark = pytest.mark.usefixtures("pauses")


def _grows(api: Api) -> Callable[[Answer], Answer]:
    """Return a fault after which there is a new first record, which moves all others."""

    def change(answer: Answer) -> Answer:
        api.records.insert(0, {"id": 900, "changed_at": "2024-01-01T00:00:00Z"})
        return answer

    return change


def _shrinks(api: Api) -> Callable[[Answer], Answer]:
    """Return a fault after which the first record is gone."""

    def change(answer: Answer) -> Answer:
        del api.records[0]
        return answer

    return change


@pytest.mark.parametrize("style", ["link", "header", "cursor"])
def test_a_record_that_a_page_repeats_is_loaded_once(stage: Stage, api: Api, style: str) -> None:
    """A cursor or a link may lead to the last record again."""
    api.faults = [_grows(api)]
    source = api_source(stage, api, style, disposition="append", incremental=INCREMENTAL, total_path=None)
    source.extract()

    assert list(range(35)) == ids_of(source)
    assert [(35, 1)] == source.ledger("select records_read, records_repeated from dpe.loads where source = %s")


@pytest.mark.parametrize("style", ["page", "offset"])
@pytest.mark.parametrize("options", [{"disposition": "append", "incremental": INCREMENTAL}, {"key": ["id"]}])
def test_records_that_slide_to_the_next_page_are_refused(stage: Stage, api: Api, style: str, options: dict[str, Any]) -> None:
    """A key that comes twice shows that they did, so others may have been missed; the ledger does not quote the key."""
    api.faults = [_grows(api)]
    source = api_source(stage, api, style, total_path=None, **options)

    with pytest.raises(RepeatedKeyError, match=r"1 key \(id\) came with more than one record; nothing was loaded, extract again .*\n  9$"):
        source.extract()
    assert 0 == source.count()
    [(error,)] = source.ledger("select error from dpe.extracts where source = %s")
    assert error.endswith("tell such records apart")
    source.extract()

    assert [*range(35), 900] == ids_of(source)


def test_a_total_that_is_not_reached_is_refused(stage: Stage, api: Api) -> None:
    """Records are missing, wherever they were lost."""
    api.faults = [lambda answer: replace(answer, body=answer.body.replace(b'"total": 35', b'"total": 36'))] * 4

    with pytest.raises(InputError, match="it announced 36 records, but delivered 35; nothing was loaded"):
        api_source(stage, api, "cursor").extract()


@pytest.mark.parametrize("style", ["page", "offset", "cursor", "link", "header"])
@pytest.mark.parametrize(("change", "after"), [(_shrinks, 34), (_grows, 36)])
def test_a_total_that_changes_meanwhile_is_refused(
    stage: Stage, api: Api, style: str, change: Callable[[Api], Callable[[Answer], Answer]], after: int
) -> None:
    """Even if as many records are read as the last page announces: one that was not read may be missing."""
    api.faults = [None, change(api)]
    source = api_source(stage, api, style, total_path="total")

    with pytest.raises(InputError, match=f"total_path total was 35 on page 1 and is {after} on page 3: records changed while they were"):
        source.extract()
    assert 0 == source.count()
    source.extract()

    assert after == source.count()


def test_more_records_than_the_total_are_refused_at_once(stage: Stage, api: Api) -> None:
    """Not after all pages that an API may still lead to."""
    api.faults = [says(total=15)] * 4

    with pytest.raises(InputError, match="it announced 15 records, but delivered 20; nothing was loaded"):
        api_source(stage, api, "link", total_path="total").extract()
    assert 2 == len(api.requests)


@pytest.mark.parametrize("style", ["all", "link", "page"])
@pytest.mark.parametrize("twice", [{}, {"changed_at": "2024-05-05T00:00:00Z"}])
def test_a_key_that_comes_twice_is_refused_where_rows_are_replaced(stage: Stage, api: Api, style: str, twice: dict[str, str]) -> None:
    """Its record would count twice, with other values or the same; the rows of the last extract stay."""
    source = api_source(stage, api, style, key=["id"])
    source.extract()
    api.records += [api.records[3] | twice, api.records[4] | twice]

    with pytest.raises(RepeatedKeyError, match=r"2 keys \(id\) came with more than one record; nothing was loaded, .*\n  3\n  4$"):
        source.extract()
    assert list(range(35)) == ids_of(source)


def test_a_key_stays_unique_when_rejects_are_replayed(stage: Stage, api: Api) -> None:
    """A corrected record may not have the key of a row that is in staging."""
    api.records[12]["id"] = "twelve"
    source = api_source(stage, api, key=["id"])
    source.extract()
    path = source.directory / "corrected.csv"

    def replay(number: int) -> int:
        export = rejects.export({source.source.name: source.source}, source.server, source.source.name, project_dir=source.directory)
        path.write_text("\n".join(line.replace('"twelve",', f'"{number}",') for line in export.records), encoding="utf-8")
        sources = {source.source.name: source.source}
        return rejects.replay(sources, source.server, source.source.name, path, project_dir=source.directory).rows_loaded

    with pytest.raises(RepeatedKeyError, match=r"1 key \(id\) came with more than one record"):
        replay(13)
    assert (1, list(range(35))) == (replay(12), ids_of(source))


@pytest.mark.parametrize(
    ("in_turn", "said"),
    [
        (True, "page 3 leads back to an earlier page, which would never end"),
        (False, "it sent 25 pages without records in a row, and page 26 still leads to another one; .* set max_empty_pages higher"),
    ],
)
@pytest.mark.parametrize("style", ["cursor", "link", "header"])
def test_pages_that_never_end_are_refused(stage: Stage, api: Api, style: str, *, in_turn: bool, said: str) -> None:
    """Pages that lead to each other in turn, and empty pages that lead to ever new ones; some empty pages are read."""
    numbers = itertools.cycle([7, 8]) if in_turn else itertools.count(7)
    api.faults = [leads_to(number) for number in itertools.islice(numbers, 100)]

    with pytest.raises(InputError, match=said):
        api_source(stage, api, style, total_path=None, max_empty_pages=25).extract()
    assert len(api.requests) <= 26
    # The parameter 00 is another address, and means the same to this API.
    api.faults = [lambda answer: leads_to("00")(says(data={"items": []})(answer))]
    source = api_source(stage, api, style, total_path=None, max_empty_pages=2)
    source.extract()
    assert list(range(35)) == ids_of(source)


@pytest.mark.parametrize("style", ["page", "offset"])
def test_a_number_of_pages_that_is_not_known_ends_with_an_empty_page(stage: Stage, api: Api, style: str) -> None:
    """By page number and by offset, where every address has a next one."""
    source = api_source(stage, api, style, total_path=None)

    source.extract()

    assert (list(range(35)), 5) == (ids_of(source), len(api.requests))


# A page without records, as APIs write it.
WITHOUT_RECORDS = {
    "null": answers(body=b'{"data": {"items": null}, "total": 30, "cursor": null}'),
    "nothing there": answers(body=b'{"data": {}, "prev": "?at=2"}'),
    "an empty object": answers(body=b"{}"),
    "null around it": answers(body=b'{"data": null, "next": null, "code": 0}'),
    "no content": answers(body=b"", status=204),
}


@pytest.mark.parametrize(("style", "form"), pairs(["page", "offset", "cursor", "link", "header"], WITHOUT_RECORDS))
def test_a_last_page_without_an_array_is_an_empty_page(stage: Stage, api: Api, style: str, form: str) -> None:
    """All records of the pages before it are loaded, after one request for it."""
    del api.records[30:]
    api.faults = [says(code=0), None, leads_to(3), WITHOUT_RECORDS[form]]
    source = api_source(stage, api, style, total_path=None)
    source.extract()

    assert (list(range(30)), 4) == (ids_of(source), len(api.requests))


def test_a_page_without_an_array_that_leads_on_is_followed(stage: Stage, api: Api) -> None:
    """It is an empty page, but not the last one."""
    api.faults = [None, answers(body=b'{"data": null, "next": "?at=2"}'), None]
    source = api_source(stage, api)
    source.extract()

    assert [*range(10), *range(20, 35)] == ids_of(source)


# What looks like the end, and says besides that it is an error.
DOUBTFUL = {
    "error": b'{"error": "rate limit exceeded"}',
    "errors": b'{"data": null, "errors": [{"title": "try again"}]}',
    "message": b'{"data": null, "message": "Too many requests"}',
    "code": b'{"code": 429, "data": null}',
    "success": b'{"success": false, "data": null}',
    "hint": b'{"hint": "slow down", "data": {"items": null}}',
    "fault": b'{"data": {"fault": {"detail": "quota"}}}',
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_an_error_in_place_of_a_page_is_not_the_end(stage: Stage, api: Api, name: str) -> None:
    """It is requested again, and then refused, because records may be missing."""
    api.faults = [says(code=0, success=True, message=""), *[answers(body=DOUBTFUL[name])] * 2]
    source = api_source(stage, api, attempts=2)

    with pytest.raises(
        InputError, match=rf"page 2 has no records at data.items, but '{name}', which may be an error \(2 attempts\); nothing was loaded"
    ):
        source.extract()
    assert 0 == source.count()


@pytest.mark.parametrize(
    ("total_path", "answer"),
    [
        (None, answers(body=b'{"data": {"items": null}, "next": null}')),
        (None, answers(body=b'{"data": {"items": null}, "status": "ok", "success": true}')),
        (None, answers(status=204, body=b"")),
        ("total", answers(status=204, body=b"")),
        ("total", answers(body=b'{"total": 0}')),
    ],
)
def test_a_first_page_that_is_clearly_empty_has_no_records(
    stage: Stage, api: Api, total_path: str | None, answer: Callable[[Answer], Answer]
) -> None:
    """Null in the right place, no content, or a total of 0."""
    api.faults = [answer]
    source = api_source(stage, api, total_path=total_path)

    assert (0, 1) == (source.extract().records_read, len(api.requests))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", r"it has nothing at \$.data.items; correct `data_selector` in the external block"),
        (b'{"data": {}}', r"it has nothing at \$.data.items; correct `data_selector`"),
        (b'{"total": 5}', r"it has nothing at \$.data.items"),
        (b'{"data": {"items": {}}}', r"\$.data.items is not an array of records; set `data_selector` to the array's path"),
        (b'{"data": null, "message": "quota exceeded"}', "page 1 has no records at data.items, but 'message', which may be an error"),
        (b'{"data": null, "success": false}', "page 1 has no records at data.items, but 'success', which may be an error"),
        (b'{"data": {"items": null}, "data": {"items": [{"id": 1}]}}', r"\$.data.items is not an array of records"),
    ],
)
def test_a_first_page_without_an_array_is_refused(stage: Stage, api: Api, body: bytes, said: str) -> None:
    """Its path may be wrong, and rows that are replaced would be lost."""
    source = api_source(stage, api)
    source.extract()
    api.faults = [answers(body=body)] * 5

    with pytest.raises(InputError, match=said):
        source.extract()
    assert 35 == source.count()
