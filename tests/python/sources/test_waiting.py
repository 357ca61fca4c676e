"""No server, tap or store keeps an extract waiting for longer than the source allows; nothing is loaded then."""

from __future__ import annotations

import gzip
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from support.api_source import api_source
from support.databases import Crm
from support.dbt_projects import Silence
from support.endless_servers import CHATTY_POSTGRES, ENDLESS_ANSWERS, SILENT_POSTGRES, Answering, repeating, serving, silent
from support.inventing_servers import Invented, endless_bucket, endless_sftp
from support.misbehaving_api import Answer, Api
from support.misbehaving_tap import Tap
from support.staged_source import Stage, StagedSource
from support.tap_messages import record, schema

from dpe_cli import machine
from dpe_cli.errors import InputError
from dpe_cli.ingest import extract as extracts
from dpe_cli.sources.databases.postgres import PostgresTable
from dpe_cli.sources.files import find, sftp
from dpe_cli.sources.http import decoding
from dpe_cli.sources.options.queries import Sql

pytestmark = [pytest.mark.usefixtures("pauses"), pytest.mark.timeout(60)]
TIMEOUT = 0.3
# Several attempts, and the time that a slow machine takes.
MOST_SECONDS = 15


@contextmanager
def _refused(message: str) -> Iterator[None]:
    started = time.monotonic()
    with pytest.raises(InputError, match=message):
        yield
    assert MOST_SECONDS > time.monotonic() - started


def _api(stage: Stage, port: int, **options: Any) -> StagedSource:
    defaults = {"location": f"http://127.0.0.1:{port}", "path": "r", "file_format": "rest", "disposition": "replace", "timeout": TIMEOUT}
    return stage("id bigint", **(defaults | {"attempts": 2, "allow_private_addresses": True} | options))


@pytest.mark.parametrize("answer", ENDLESS_ANSWERS)
def test_an_answer_without_end_is_a_late_page(stage: Stage, answer: str) -> None:
    """Whatever part of it has no end; also as the answer to a request for a token."""
    with serving(ENDLESS_ANSWERS[answer]) as port:
        source = _api(stage, port)
        with _refused(r"a page took longer than 0\.3 s \(2 attempts\)"):
            source.extract()


@pytest.mark.parametrize("answer", ["interim answers", "a header"])
def test_a_token_that_does_not_come_is_not_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """The server of tokens may be another one than the API's."""
    monkeypatch.setenv("CLIENT_SECRET", "s3cr3t-of-the-client")
    with serving(ENDLESS_ANSWERS[answer]) as port:
        auth = {"type": "oauth2_client_credentials", "client_id": "a", "client_secret": "${CLIENT_SECRET}"}
        source = _api(stage, port, auth=auth | {"access_token_url": f"http://127.0.0.1:{port}/token"})
        with _refused(r"a page took longer than 0\.3 s"):
            source.extract()


def test_an_abandoned_connection_is_closed(stage: Stage) -> None:
    """The server notices that dpe hung up, and dpe's thread ends."""
    gone = threading.Event()
    before = set(threading.enumerate())

    def answer(client: socket.socket, over: threading.Event) -> None:
        try:
            ENDLESS_ANSWERS["interim answers"](client, over)
        except OSError:
            gone.set()
            raise

    with serving(answer) as port:
        with _refused("a page took longer"):
            _api(stage, port, attempts=1).extract()
        assert gone.wait(MOST_SECONDS)
    for thread in set(threading.enumerate()) - before:
        if thread.name == "dpe source":
            thread.join(MOST_SECONDS)
            assert not thread.is_alive()


@pytest.mark.parametrize("answer", ["interim answers", "a header", "a body", "an extension of a chunk"])
def test_a_file_on_the_web_that_does_not_come_is_refused(stage: Stage, answer: str) -> None:
    """A byte now and then does not restart the time."""
    with serving(ENDLESS_ANSWERS[answer]) as port:
        location = f"http://127.0.0.1:{port}/a.csv"
        source = stage("id bigint", location=location, timeout=TIMEOUT, allow_private_addresses=True)
        with _refused(r"no answer came within 0\.3 s|took longer than 0\.3 s"):
            source.extract()


def test_a_store_that_says_nothing_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its package waits for."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-lake")
    with serving(silent) as port:
        store = {"endpoint_url": f"http://127.0.0.1:{port}"}
        source = stage("id bigint", location="s3://lake/*.csv", storage_options=store, timeout=TIMEOUT)
        with _refused(r"s3://lake/\*\.csv: no answer within 0\.3 seconds; extract again, or set a longer `timeout`"):
            source.extract()


def _assert_that_it_stops(invented: Invented) -> None:
    """Assert that no more pages of names are fetched from a store that lists names without end."""
    time.sleep(0.3)
    before = invented.pages
    time.sleep(1)
    assert before == invented.pages
    assert before > 0


def test_names_without_end_of_a_file_server_are_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout, its session is closed: the abandoned thread would collect names until memory runs out."""
    monkeypatch.setenv("SFTP_PASSWORD", "any-password-will-do")
    settings = {"look_for_keys": False, "allow_agent": False}
    with endless_sftp() as invented:
        location = f"sftp://me:${{SFTP_PASSWORD}}@127.0.0.1:{invented.port}/in/*.csv"
        source = stage("id bigint", location=location, storage_options=settings, timeout=3)
        with _refused("no answer within 3 seconds"):
            source.extract()
        _assert_that_it_stops(invented)

        monkeypatch.setattr(sftp, "_MOST_NAMES", 1000)
        with _refused("its directories hold more than 1,000 names; set a location that searches fewer directories"):
            source.extract()
        _assert_that_it_stops(invented)


def test_names_without_end_of_a_store_are_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package stops to ask for more pages."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t-of-the-lake")
    with endless_bucket() as invented:
        store = {"endpoint_url": f"http://127.0.0.1:{invented.port}"}
        source = stage("id bigint", location="s3://lake/in/*.csv", storage_options=store, timeout=3)
        with _refused("no answer within 3 seconds"):
            source.extract()
        _assert_that_it_stops(invented)


def test_memory_is_limited_while_files_are_searched(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names without end can take it before the timeout is over."""
    monkeypatch.setattr(machine, "reader_memory", lambda: 256 * 1024**2)
    source = stage("id bigint", location="s3://lake/in/*.csv")
    monkeypatch.setattr(find, "find", lambda *_arguments, **_options: [bytearray(1024**2) for _ in range(1024)])

    done = extracts.extract(source.directory, source.server, [source.source], Silence())

    assert f"{source.source.name}: reading it takes more than 268.4 MB of memory, the limit" in str(done.refused[0].error)


@pytest.mark.parametrize(
    ("scheme", "answer"),
    [
        ("postgresql", SILENT_POSTGRES),
        ("postgresql", CHATTY_POSTGRES),
        ("mysql+pymysql", silent),
        ("mysql+pymysql", repeating(b"\xff\xff\xff\x00", b"a")),
    ],
    ids=["postgresql", "postgresql that says something", "mysql", "mysql that says something"],
)
def test_a_database_that_does_not_answer_is_refused(stage: Stage, scheme: str, answer: Answering) -> None:
    """Before its greeting, or after the login."""
    options = "?sslmode=disable" if scheme == "postgresql" else ""
    with serving(answer) as port:
        location = f"{scheme}://u@127.0.0.1:{port}/x{options}"
        source = stage("id bigint", location=location, file_format="sql", table="t", disposition="replace", timeout=TIMEOUT)
        with _refused(r"sent nothing for 0\.3 seconds; extract again, or set a longer `timeout`"):
            source.extract()


SLOW_QUERIES = {
    "postgresql": "select id, pg_sleep(id)::text as customer from orders order by id",
    "mariadb": "select id, sleep(id) as customer from orders order by id",
    "sqlite": "select id, (with recursive c(n) as (select 1 union all select n + 1 from c) select count(*) from c) as customer from orders",
}


def test_a_server_that_is_gone_is_noticed() -> None:
    """By the system, long before the timeout; what the URL says counts more."""
    with serving(SILENT_POSTGRES) as port:
        url = f"postgresql://u@127.0.0.1:{port}/x?sslmode=disable&keepalives_idle=7"
        options = Sql(location=url, file_format="sql", disposition="replace", table="t", timeout=TIMEOUT)
        with PostgresTable(options, ()).connected() as connection, socket.socket(fileno=os.dup(connection.fileno())) as used:
            set_ = [used.getsockopt(socket.IPPROTO_TCP, option) for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)]
    assert [7, 10] == set_


def test_a_query_whose_rows_do_not_come_is_refused(stage: Stage, crm: Crm) -> None:
    """After its columns are known."""
    crm.add((0, "a", "1", "2024-01-01"), (30, "b", "1", "2024-01-02"))
    source = stage(
        "id bigint, customer text",
        location=crm.url,
        file_format="sql",
        query=SLOW_QUERIES[crm.kind],
        disposition="replace",
        timeout=1,
    )
    with _refused(r"sent nothing for 1 seconds; extract again, or set a longer `timeout`"):
        source.extract()
    assert 0 == source.count()


@pytest.mark.parametrize("silent_at", ["discovery", "sync"])
def test_a_tap_that_writes_nothing_is_ended(stage: Stage, tap: Tap, silent_at: str) -> None:
    """Even if it logs; the error shows the end of its log."""
    waits = [("log", "waiting for the shop"), ("sleep", 60)]
    if silent_at == "discovery":
        tap.discovers(*waits)
    else:
        tap.says(schema(), record(id=1), *waits)
    source = tap.source(stage, timeout=1.5)

    with _refused(r"the tap wrote nothing for 1\.5 seconds .its `timeout`., and nothing was loaded; last lines of its log:\n    waiting"):
        source.extract()
    assert 0 == source.count()


ENCODED: dict[str, tuple[Callable[[bytes], bytes], str, str | None]] = {
    "once": (gzip.compress, "gzip", None),
    "in members": (lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:]), "gzip", None),
    "twice": (lambda body: gzip.compress(gzip.compress(body)), "gzip, gzip", "its page is encoded as 'gzip, gzip'; dpe reads"),
    "in another way": (lambda body: body, "br", "its page is encoded as 'br'; dpe reads"),
    "cut off": (lambda body: gzip.compress(body)[:-9], "gzip", "a page cannot be decompressed .the compressed data ends early."),
    "to a bomb": (lambda _: gzip.compress(bytes(10**8)), "gzip", "a page is longer than 1,000,000 bytes"),
}


@pytest.mark.parametrize("how", ENCODED)
def test_a_page_is_decompressed_once_and_no_further_than_allowed(stage: Stage, api: Api, how: str) -> None:
    """Kilobytes that are compressed twice can become gigabytes."""
    compressed, encoding, refusal = ENCODED[how]

    def encode(answer: Answer) -> Answer:
        return replace(answer, body=compressed(answer.body), headers={"Content-Encoding": encoding})

    api.faults = [encode] * 5
    source = api_source(stage, api, "all", max_page_bytes=1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if refusal is None:
        source.extract()
        assert 35 == source.count()
    else:
        with _refused(refusal):
            source.extract()
    assert 64 * 1024 > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def test_a_page_in_very_many_members_is_read_once() -> None:
    """Empty ones, which no limit of a page's size counts: what follows a member is not copied for each of them."""
    body = gzip.compress(b"") * 600_000 + gzip.compress(b"[]")

    assert b"[]" == decoding.decoded(body, "gzip", most=100)
