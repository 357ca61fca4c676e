"""APIs: every record is loaded once, whatever the API does meanwhile, or nothing is, with a clear message."""

from __future__ import annotations

import email.utils
import itertools
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support.api_source import COLUMNS, INCREMENTAL, PAGINATORS, Raw, answers, api_source, ids_of, says
from support.long_tests import pairs
from support.misbehaving_api import Answer, Api
from support.staged_source import Stage

from dpe_cli.errors import ContractError, InputError, ProjectError
from dpe_cli.ingest import loads
from dpe_cli.sources.http import addresses, connections

pytestmark = pytest.mark.usefixtures("pauses")


@pytest.mark.parametrize("style", PAGINATORS)
def test_every_page_is_read(stage: Stage, api: Api, style: str) -> None:
    """In each way in which one page can lead to the next."""
    source = api_source(stage, api, style)

    assert (35, 35) == (source.extract().records_read, source.count())
    assert list(range(35)) == ids_of(source)
    assert [(f"{api.url}/records/{style}", 35)] == source.ledger("select location, rows_loaded from dpe.loads where source = %s")


MENDED: dict[str, list[Callable[[Answer], Answer] | None]] = {
    "too many requests": [None, answers(status=429, headers={"Retry-After": "7"})],
    "an error": [answers(status=500), answers(status=503), None, answers(status=502)],
    "half a page": [None, answers(cut=40)],
    "a page that is cut off and says so": [None, lambda answer: replace(answer, body=answer.body[:-40])],
    "an apology": [None, answers(body=b"<html>try again</html>")],
}


@pytest.mark.parametrize(("style", "fault"), pairs(["link", "page", "offset", "cursor"], MENDED))
def test_temporary_failures_are_retried(stage: Stage, api: Api, style: str, fault: str) -> None:
    """All records are loaded, and none twice."""
    api.faults = list(MENDED[fault])
    source = api_source(stage, api, style)

    source.extract()

    assert list(range(35)) == ids_of(source)


@pytest.mark.parametrize("style", ["page", "offset", "cursor"])
def test_a_repeated_page_is_requested_again(stage: Stage, api: Api, style: str) -> None:
    """The page that should have come is loaded."""
    pages: list[Answer] = []
    api.faults = [lambda answer: pages.append(answer) or answer, lambda _answer: pages[0]]  # type: ignore[func-returns-value]
    source = api_source(stage, api, style)

    source.extract()

    assert list(range(35)) == ids_of(source)


def test_a_page_that_keeps_repeating_is_refused(stage: Stage, api: Api) -> None:
    """Otherwise the extract would never end."""
    pages: list[Answer] = []
    api.faults = [lambda answer: pages.append(answer) or answer, *[lambda _answer: pages[0]] * 5]  # type: ignore[func-returns-value]
    source = api_source(stage, api, "page")

    with pytest.raises(InputError, match=r"page 2 has the same records as page 1 \(5 attempts\); nothing was loaded"):
        source.extract()
    assert 0 == source.count()
    source.extract()

    assert list(range(35)) == ids_of(source)


def test_the_api_says_how_long_to_wait(stage: Stage, api: Api, pauses: list[float]) -> None:
    """In seconds or as a date; otherwise each pause is longer than the previous one, and no two clients' pauses are the same."""
    date = email.utils.formatdate(time.time() + 30, usegmt=True)
    api.faults = [
        answers(status=429, headers={"Retry-After": "7"}),
        answers(status=503, headers={"Retry-After": date}),
        answers(status=500),
        answers(status=500),
    ]
    api_source(stage, api, "all").extract()

    assert 7 == pauses[0]
    assert 25 < pauses[1] <= 30
    assert 1 <= pauses[2] <= 2 <= pauses[3] <= 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (answers(status=500), r"it answered 500 \(5 attempts\)"),
        (answers(status=404), "it answered 404 to /records/link"),
        (answers(cut=10), r"the connection failed .* \(5 attempts\)"),
        (answers(body=b'{"data": {"items": 5}}'), "data.items is not an array"),
        (answers(slow=0.4), r"a page took longer than 0\.3 s \(5 attempts\)"),
    ],
)
def test_an_extract_that_fails_halfway_leaves_nothing(stage: Stage, api: Api, fault: Callable[[Answer], Answer], said: str) -> None:
    """The cursor is unchanged, and the next extract loads every record once."""
    api.faults = [None, None, *[fault] * 5]
    source = api_source(stage, api, disposition="append", incremental=INCREMENTAL, timeout=0.3)

    with pytest.raises(InputError, match=said):
        source.extract()
    assert 0 == source.count()
    assert [("failed", None)] == source.ledger("select status, cursor_value from dpe.extracts where source = %s")
    api.faults = []
    source.extract()

    assert list(range(35)) == ids_of(source)


def test_only_new_records_are_requested(stage: Stage, api: Api) -> None:
    """From the greatest value in staging on; records that are delivered again are not loaded twice."""
    source = api_source(stage, api, disposition="append", incremental=INCREMENTAL | {"initial_value": "2024-01-01T00:30:00Z"})
    source.extract()
    assert list(range(30, 35)) == ids_of(source)

    # One with the same time, which came late, and a new one.
    api.records += [{"id": 100, "changed_at": "2024-01-01T00:34:00Z"}, {"id": 101, "changed_at": "2024-01-01T00:36:00Z"}]
    source.extract()
    source.extract()

    assert [*range(30, 35), 100, 101] == ids_of(source)
    assert ["2024-01-01T00:30:00Z", "2024-01-01T00:34:00+00:00", "2024-01-01T00:36:00+00:00"] == [
        request.query["since"] for request in api.requests
    ]
    assert [(5, 0), (2, 1), (0, 1)] == source.ledger(
        "select records_read, records_repeated from dpe.loads where source = %s order by load_id"
    )


def test_late_records_within_the_overlap_are_loaded(stage: Stage, api: Api) -> None:
    """The next request starts that much earlier."""
    incremental = {key: value for key, value in INCREMENTAL.items() if key != "start_param"} | {"overlap": "10 minutes"}
    source = api_source(stage, api, "page", disposition="append", incremental=incremental, params={"since": "{incremental.start_value}"})
    source.extract()
    api.records.append({"id": 200, "changed_at": "2024-01-01T00:25:00Z"})
    source.extract()

    assert [*range(35), 200] == ids_of(source)
    assert "2024-01-01T00:24:00+00:00" == api.requests[-1].query["since"]


def test_an_extract_with_nothing_new_leaves_no_slice(stage: Stage, api: Api) -> None:
    """All pages are delivered again: readers are not waited for, the ledger counts them, and what comes later is loaded and undone."""
    incremental = {key: value for key, value in INCREMENTAL.items() if key != "start_param"}
    source = api_source(stage, api, disposition="append", incremental=incremental)
    source.extract()
    slices = source.slices(attached=True)

    with source.server.connect("loader") as reading, reading.transaction():
        reading.execute(f"select from {source.relation}".encode())
        again = [source.extract().loads for _ in range(2)]

    assert [[(0, 0, 35)]] * 2 == [[(load.records_read, load.rows_loaded, load.records_repeated) for load in loads] for loads in again]
    assert (slices, []) == (source.slices(attached=True), source.slices(attached=False))

    api.records.append({"id": 200, "changed_at": "2024-01-02T00:00:00Z"})
    newest = source.extract()
    assert ([*range(35), 200], 1) == (ids_of(source), len(source.slices(attached=True)) - len(slices))
    loads.undo(source.server, {source.table.source: source.source}, newest.extract_id or 0)
    assert ([*range(35)], slices) == (ids_of(source), source.slices(attached=True))


DEEP = b"[" * 100_000 + b"]" * 100_000


# What an API may say of its pages, and what dpe says of that.
NOT_UNDERSTOOD: dict[str, tuple[str, Callable[[Answer], Answer], str]] = {
    "total: not ASCII digits": ("offset", says(total="²"), "total_path .* does not lead to a number of records"),
    "total: text": ("offset", says(total="1" * 5000), "total_path .* does not lead to a number of records"),
    "total: number": ("offset", says(total=Raw("1" * 5000)), "total_path .* does not lead to a number of records"),
    "total: negative": ("offset", says(total=-1), "total_path .* does not lead to a number of records"),
    "cursor: half a pair": ("cursor", says(cursor="\ud800"), "cursor_path .* does not lead to a text or a number that can be sent"),
    "cursor: object": ("cursor", says(cursor={"a": 1}), "cursor_path .* does not lead to a text or a number that can be sent"),
    "link: list": ("link", says(next=[1]), "next_url_path next does not lead to an address"),
    "link: half a pair": ("link", says(next="/\ud800"), "its link is not a valid address"),
    "nested": ("link", says(rest=Raw(DEEP.decode())), r"it is nested too deeply\).* \(2 attempts\)"),
}


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_a_page_that_dpe_does_not_understand_is_refused(stage: Stage, api: Api, name: str) -> None:
    """With what is wrong in it; nothing that an API sends is taken for a bug of dpe."""
    style, fault, said = NOT_UNDERSTOOD[name]
    api.faults = [fault] * 2

    with pytest.raises(InputError, match=said):
        api_source(stage, api, style, attempts=2).extract()


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "//127.0.0.1:-1/",
        "http://127.0.0.1:²/",
        "http://[::1/",
        "http://xn--a/",
        f"http://{'a' * 70}.example/",
        "http://a..example/",
    ],
)
def test_a_redirect_to_what_is_not_an_address_is_refused(stage: Stage, api: Api, location: str) -> None:
    """At once: another attempt would not help."""
    api.faults = [answers(status=302, headers={"Location": location})]

    with pytest.raises(InputError, match=": its link is not a valid address; nothing was loaded"):
        api_source(stage, api).extract()
    assert 1 == len(api.requests)


@pytest.mark.parametrize("said", ["\xb2", "9" * 400, "Mon, 01 Jan 0100 00:00:00 -0000", "Mon, 01 Jan 2100 00:00:00 +9999", "later"])
def test_a_pause_that_makes_no_sense_is_bounded(stage: Stage, api: Api, pauses: list[float], said: str) -> None:
    """Whatever Retry-After says, dpe tries again, after ten minutes at most."""
    api.faults = [answers(status=503, headers={"Retry-After": said})]

    api_source(stage, api, "all").extract()

    assert 0 <= pauses[0] <= 600


def test_records_that_do_not_fit_are_rejects(stage: Stage, api: Api) -> None:
    """They have their number among all records, and are kept as delivered."""
    api.records[12]["id"] = "twelve"
    source = api_source(stage, api)

    assert 1 == source.extract().rows_rejected
    assert [(13, "id", "22P02", '{"id": "twelve", "changed_at": "2024-01-01T00:12:00Z"}')] == source.rejects(
        "position, column_name, sqlstate, raw"
    )


def test_a_member_without_a_column_is_refused(stage: Stage, api: Api) -> None:
    """As for a file."""
    api.records[12]["more"] = 1

    with pytest.raises(ContractError, match=r"/records/link, record 13: the record has 'more', which is not in the contract"):
        api_source(stage, api).extract()


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "bearer", "token": "${SHOP_TOKEN}"}, "authorization", "Bearer s3cr3t"),
        ({"type": "http_basic", "username": "dpe", "password": "${SHOP_TOKEN}"}, "authorization", "Basic ZHBlOnMzY3IzdA=="),
        ({"type": "api_key", "name": "X-Key", "api_key": "${SHOP_TOKEN}"}, "x-key", "s3cr3t"),
    ],
)
def test_credentials_are_sent_to_the_api_only(
    stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch, auth: dict[str, str], header: str, value: str
) -> None:
    """They are not sent along a redirect or link to another origin; nor are the source's own headers."""
    monkeypatch.setenv("SHOP_TOKEN", "s3cr3t")
    options = {"auth": auth, "headers": {"X-Own": "mine"}, "data_selector": "$"}
    source = api_source(stage, api, "moved", **options)

    source.extract()

    first, redirected = api.requests
    assert (value, "mine") == (first.headers[header], first.headers["x-own"])
    assert header not in redirected.headers
    assert "x-own" not in redirected.headers
    assert 35 == source.count()

    api.requests.clear()
    own, api.url = api.url, api.elsewhere
    source = api_source(stage, api, "link", **(options | {"data_selector": "data.items", "location": own}))
    source.extract()
    assert [value, None, None, None] == [request.headers.get(header) for request in api.requests]


def test_a_key_in_the_query_stays_with_the_api(stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is neither in errors nor in the ledger."""
    monkeypatch.setenv("SHOP_KEY", "s3cr3t")
    auth = {"type": "api_key", "name": "key", "api_key": "${SHOP_KEY}", "location": "query"}
    api.faults = [None, answers(status=403)]
    source = api_source(stage, api, "moved", auth=auth, data_selector="$")

    with pytest.raises(InputError) as caught:
        source.extract()

    assert ["s3cr3t", None] == [request.query.get("key") for request in api.requests]
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in str(source.ledger("select error from dpe.extracts where source = %s"))


def test_an_expired_token_is_renewed(stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in the middle of an extract."""
    monkeypatch.setenv("SHOP_SECRET", "s3cr3t")
    auth = {
        "type": "oauth2_client_credentials",
        "access_token_url": f"{api.url}/token",
        "client_id": "dpe",
        "client_secret": "${SHOP_SECRET}",
        "access_token_request_data": {"scope": "read"},
    }
    api.faults = [None, lambda answer: api.tokens.append("revoked") or answer]  # type: ignore[func-returns-value]
    source = api_source(stage, api, "page", auth=auth, location=f"{api.url}/secured")

    source.extract()

    assert list(range(35)) == ids_of(source)
    asked = [request.body for request in api.requests if request.path == "/token"]
    assert ["grant_type=client_credentials&scope=read&client_id=dpe&client_secret=s3cr3t"] * 2 == asked


@pytest.mark.parametrize(
    ("options", "body", "said"),
    [
        ({}, b'{"access_token": "\\ud800"}', "its token endpoint answered 200 without an access_token"),
        ({}, DEEP, "its token endpoint answered 200 without an access_token"),
        ({}, b'{"access_token": "%b"}' % (b"A1" * 8193), "an access_token of 16,386 characters, more than 16,384"),
        ({"access_token_url": "http://127.0.0.1:99999/"}, b"", "access_token_url is not an http:// or https:// address"),
    ],
)
def test_a_token_that_cannot_be_sent_is_refused(
    stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], body: bytes, said: str
) -> None:
    """As if there were none; nor is one requested from what is not an address."""
    monkeypatch.setenv("SHOP_SECRET", "s3cr3t")
    monkeypatch.setattr(api, "token_body", body)
    auth = {
        "type": "oauth2_client_credentials",
        "access_token_url": f"{api.url}/token",
        "client_id": "dpe",
        "client_secret": "${SHOP_SECRET}",
    }

    with pytest.raises(InputError, match=said):
        api_source(stage, api, "page", auth=auth | options, attempts=1).extract()


def test_internal_addresses_are_refused(stage: Stage, api: Api) -> None:
    """Unless explicitly allowed: otherwise a redirect could make dpe read what only this machine can reach."""
    source = api_source(stage, api, allow_private_addresses=False)

    with pytest.raises(InputError, match=r"127.0.0.1 is in a private network, or is this machine; set allow_private_addresses: true"):
        source.extract()
    assert [] == api.requests


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 nothing is bound to it
        *("10.0.0.1", "100.64.0.1", "169.254.169.254", "192.0.0.9", "224.0.0.1", "239.255.255.250", "255.255.255.255"),
        *("[::]", "[::1]", "[fe80::1]", "[fd00::1]", "[fec0::1]", "[ff02::1]", "[ff0e::1]", "[4000::1]"),
        # An IPv4 address within: as it is, mapped, compatible, translated, by 6to4, by Teredo and by NAT64.
        *("[::ffff:127.0.0.1]", "[::ffff:100.64.0.1]", "[::127.0.0.1]", "[::ffff:0:10.0.0.1]", "[2002:7f00:1::]", "[2001:0:1:2::5]"),
        *("[64:ff9b::10.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::10.0.0.1]", "[64:ff9b:1:fffe::a9fe:a9fe]"),
        # The longer forms of NAT64, in which 10.0.0.8 comes earlier (RFC 6052, section 2.2).
        *("[64:ff9b:1:a00:0:800::]", "[64:ff9b:1:ff0a:0:8::]", "[64:ff9b:1:fffe:a:0:800:0]"),
    ],
)
def test_an_address_leads_inside_in_whatever_form(address: str) -> None:
    """Also as an IPv6 address that a gateway or the system turns into an IPv4 address."""
    assert addresses.leads_inside(f"http://{address}/")


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "[2606:4700::1111]", "[::ffff:8.8.8.8]", "[2002:808:808::1]", "[64:ff9b::8.8.8.8]", "[64:ff9b:1:fffe::8.8.8.8]"]
)
def test_a_public_address_leads_elsewhere(address: str) -> None:
    """A network that has only IPv6 reaches an API that has only IPv4 through NAT64."""
    assert not addresses.leads_inside(f"http://{address}/")


def test_an_address_of_this_machine_in_no_private_network_is_refused(stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is connected, it looks like any other; then both ends have it. As here, where no address counts as private."""
    monkeypatch.setattr(addresses, "is_inside", lambda _address: False)
    monkeypatch.setattr(connections, "is_inside", lambda _address: False)

    with pytest.raises(InputError, match=r"127.0.0.1 is in a private network, or is this machine; set allow_private_addresses: true"):
        api_source(stage, api, allow_private_addresses=False).extract()
    assert [] == api.requests


@pytest.mark.parametrize("file_format", ["rest", "json"])
def test_a_name_that_changes_its_address_leads_nowhere(stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch, file_format: str) -> None:
    """A public address for the check and an internal one for the connection (DNS rebinding): not a byte of a request is sent."""
    resolve = socket.getaddrinfo
    lookups = itertools.count()

    def rebinding(host: Any, *arguments: Any, **options: Any) -> Any:
        turns = itertools.cycle(["8.8.8.8", "127.0.0.1"])
        address = next(itertools.islice(turns, next(lookups), None)) if host in {"api.example", b"api.example"} else host
        return resolve(address, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    location = f"http://api.example:{api.url.rpartition(':')[2]}"
    source = (
        api_source(stage, api, "all", location=location, allow_private_addresses=False)
        if file_format == "rest"
        else stage("id integer", location=f"{location}/records/all", file_format="json")
    )

    with pytest.raises(InputError, match=r"api\.example is in a private network, or is this machine; set allow_private_addresses: true"):
        source.extract()

    assert [] == api.requests
    assert next(lookups) >= 2


def test_the_rate_limit_is_kept(stage: Stage, api: Api, pauses: list[float]) -> None:
    """There is a pause before each request except the first."""
    api_source(stage, api, requests_per_second=0.1).extract()

    assert 3 == len(pauses)
    assert all(8 < pause <= 10 for pause in pauses)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"auth": {"type": "bearer", "token": "abc"}}, "auth: token would end up in dbt's manifest; write \\${NAME}"),
        ({"auth": {"type": "bearer"}}, "auth: type bearer needs token"),
        ({"auth": {"type": "bearer", "tokn": "x"}}, r"auth.tokn is not an option \(did you mean token"),
        ({"headers": {"Authorization": "Bearer abc"}}, "headers: Authorization would end up in dbt's manifest"),
        ({"paginator": {"type": "cursor"}}, "paginator: type cursor needs cursor_path"),
        ({"paginator": {"type": "pages"}}, "paginator.type: Input should be 'single_page', 'header_link'"),
        ({"location": "ftp://x"}, "location: is not an http:// or https:// address"),
        ({"location": "https://me:secret@x"}, "location: contains a password"),
        ({"data_selector": "$.a[*]"}, r"data_selector: \$.a\[\*\]: is not valid from character 4 on"),
        ({"disposition": "append"}, "disposition: append needs incremental"),
        ({"key": ["ids"]}, r"key: ids is not a column \(did you mean id\?\)"),
        ({"disposition": "append", "incremental": INCREMENTAL, "key": ["id"]}, "key: .* write incremental.key"),
        ({"max_empty_pages": 0}, "max_empty_pages: Input should be greater than or equal to 1"),
    ],
)
def test_wrong_options_are_named(stage: Stage, options: dict[str, Any], fault: str) -> None:
    """When the project is read."""
    with pytest.raises(ProjectError, match=fault):
        stage(COLUMNS, **({"location": "https://api.example", "file_format": "rest", "disposition": "replace"} | options))


def test_the_address_may_be_a_variable(stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used unchanged, and the ledger records the variable's name."""
    monkeypatch.setenv("SHOP_URL", api.url)
    source = api_source(stage, api, location="${SHOP_URL}")
    source.extract()

    assert list(range(35)) == ids_of(source)
    assert [("${SHOP_URL}/records/link", 35)] == source.ledger("select location, rows_loaded from dpe.loads where source = %s")


@pytest.mark.parametrize("value", ["shop.example", "http://shop.example:x/", "ftp://shop.example"])
def test_a_variable_that_is_not_an_address_is_refused(stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The error names the variable, because its value may be a secret."""
    monkeypatch.setenv("SHOP_URL", value)
    source = api_source(stage, api, location="${SHOP_URL}")

    with pytest.raises(
        InputError, match=r"^\$\{SHOP_URL\}/records/link: with the environment's values it is not an http:// or https:// address"
    ):
        source.extract()


def test_the_proxy_may_be_in_a_private_network(stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the operator's; only the host of the API has to be elsewhere."""
    monkeypatch.setenv("HTTP_PROXY", api.url)

    assert 35 == api_source(stage, api, "all", location="http://8.8.8.8", allow_private_addresses=False).extract().rows_loaded


def test_no_proxy_is_used_for_this_machine(stage: Stage, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would look for the API on its own machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    source = api_source(stage, api)

    assert 35 == source.extract().rows_loaded
