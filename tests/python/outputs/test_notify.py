"""The webhook is a real HTTP server on this machine, with the answers that each test configures."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
from support.shop import DOUBLED, Shop
from support.webhook import PATH, Webhook

from dpe_cli.errors import BuildError, ServerError, UsageError
from dpe_cli.ingest.extract import ExtractSummary
from dpe_cli.load.result import ExtractResult
from dpe_cli.outputs import junit, notification
from dpe_cli.outputs.notification import Outcome, Patience
from dpe_cli.outputs.origin import Origin, find_origin
from dpe_cli.pipeline.build import BuildResult
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.owners import owners
from dpe_cli.safe_text.redaction import redact
from dpe_cli.server.contexts import admin_context
from dpe_cli.server.server import Server

SOON = Patience(attempts=3, timeout=0.5, pause=0.05)
FAILED = Outcome(has_failed=True, faults=["rule SHOP-1-01 failed"], fields={"rows_loaded": 3})
WELL = Outcome(has_failed=False, faults=[], fields={"rows_loaded": 3})

Tell = Callable[..., notification.Event | None]


@pytest.fixture
def messages() -> list[str]:
    """Collect the messages on standard error."""
    return []


@pytest.fixture
def tell(server: Server, webhook: Webhook, messages: list[str]) -> Tell:
    """Notify the webhook of how a run ended, on a database of the test's own."""

    def notify(outcome: Outcome, pipeline: str = "everything", url: str | None = None) -> notification.Event | None:
        return notification.tell(url or webhook.url, lambda: server, pipeline, outcome, messages.append, patience=SOON)

    return notify


def _records(server: Server) -> list[tuple[Any, ...]]:
    with server.connect("admin") as connection, admin_context(connection, "test"):
        return connection.execute(
            "select pipeline, has_failed, event, is_delivered from dpe.notifications order by notification_id"
        ).fetchall()


def test_a_failure_is_sent_in_slacks_format(tell: Tell, webhook: Webhook, messages: list[str]) -> None:
    """A text for people, and fields for programs."""
    assert "failure" == tell(FAILED)

    ((path, headers, _),) = webhook.requests
    assert (PATH, "application/json; charset=utf-8") == (path, headers["Content-Type"])
    assert [
        {
            "text": "dpe run (everything) failed\n• rule SHOP-1-01 failed",
            "event": "failure",
            "verdict": "DPE FAILED",
            "pipeline": "everything",
            "project": None,
            "database": None,
            "link": None,
            "rows_loaded": 3,
        }
    ] == webhook.posted
    assert [] == messages


def test_what_is_not_json_is_a_warning(tell: Tell, webhook: Webhook, messages: list[str], server: Server) -> None:
    """The run ends as it would without a webhook, and the ledger says that the webhook does not know."""
    assert "failure" == tell(replace(FAILED, fields={"since": date(2024, 1, 1)}))

    assert [] == webhook.requests
    [message] = messages
    assert message.startswith("Warning: notify: the webhook did not get the failure: it cannot be written as JSON (TypeError); check")
    assert [("everything", True, "failure", False)] == _records(server)


RULE = "meta: {rule: SHOP-1-01, dimension: uniqueness, owner: sales, because: an order is paid once}"


def test_dates_in_the_yaml_of_a_rule_are_text(shop: Shop, webhook: Webhook, messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As YAML reads them, they could not be sent, nor sorted among the ids of other rules."""
    # With it, dbt raises an error instead of leaving an event empty.
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    models = shop.directory / "models/finance/_finance__models.yml"
    text = models.read_text(encoding="utf-8")
    assert RULE in text
    dated = "meta: {rule: 2024-01-01, dimension: 2024-01-02, owner: 2024-01-03, because: 2024-01-04}"
    models.write_text(text.replace(RULE, dated), encoding="utf-8")
    shop.write(DOUBLED)

    with notification.on_outcome(webhook.url, lambda: shop.server, [], messages.append, patience=SOON) as ended:
        summary = ended(shop.run())

    assert [] == messages
    [posted] = webhook.posted
    assert [("2024-01-01", "2024-01-02")] == [(failed["rule"], failed["dimension"]) for failed in posted["failed"]]
    # dbt cannot render a test with such a date.
    assert "rule 2024-01-01 cannot be tested: orders_are_unique" in posted["text"]
    [result] = [result for result in summary.build.results if result.rule == "2024-01-01"]
    assert "2024-01-04" == result.because
    assert summary.validation is not None
    assert b"2024-01-01: orders_are_unique" in junit.document(summary.validation, datetime.now(UTC))


def test_a_successful_run_is_not_sent(tell: Tell, webhook: Webhook) -> None:
    """Nor the next one."""
    assert [None, None] == [tell(WELL), tell(WELL)]
    assert [] == webhook.requests


def test_a_recovery_is_sent_once(tell: Tell, webhook: Webhook) -> None:
    """By the first successful run."""
    assert ["failure", "failure", "recovery", None] == [tell(FAILED), tell(FAILED), tell(WELL), tell(WELL)]
    assert "dpe run (everything) works again" == webhook.posted[-1]["text"]


def test_a_recovery_needs_the_same_selection(tell: Tell) -> None:
    """A run of another part of the project proves nothing."""
    tell(FAILED, "fct_orders")

    assert [None, "recovery"] == [tell(WELL, "dim_shops"), tell(WELL, "fct_orders")]


def test_an_undelivered_recovery_is_sent_again(tell: Tell, webhook: Webhook) -> None:
    """Otherwise people would keep looking for a fault."""
    tell(FAILED)
    webhook.answers = [404]

    assert ["recovery", "recovery", None] == [tell(WELL), tell(WELL), tell(WELL)]


def test_the_ledger_records_what_was_sent(tell: Tell, webhook: Webhook, server: Server) -> None:
    """Without the address."""
    webhook.answers = [404]
    tell(FAILED)
    tell(WELL)
    tell(WELL)

    assert [
        ("everything", True, "failure", False),
        ("everything", False, "recovery", True),
        ("everything", False, None, None),
    ] == _records(server)


@pytest.mark.parametrize("role", ["dpe_reader", "dpe_tenant", "dpe_transformer"])
def test_other_roles_cannot_read_notifications(tell: Tell, server: Server, role: str) -> None:
    """They show which parts fail."""
    tell(FAILED)

    with server.connect("admin") as connection:
        connection.execute(f"set role {role}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from dpe.notifications")


def test_a_webhook_that_fails_temporarily_is_tried_again(tell: Tell, webhook: Webhook, messages: list[str]) -> None:
    """With the same document."""
    webhook.answers = [500, 429, 200]
    tell(FAILED)

    assert 3 == len(webhook.requests)
    assert 1 == len({body for _, _, body in webhook.requests})
    assert [] == messages


def test_pauses_grow(tell: Tell, webhook: Webhook) -> None:
    """An overloaded webhook gets time to recover."""
    webhook.answers = [500, 500]
    started = time.monotonic()
    tell(FAILED)

    assert time.monotonic() - started > SOON.pause + 2 * SOON.pause


def test_a_webhook_that_keeps_failing_is_a_warning(tell: Tell, webhook: Webhook, messages: list[str]) -> None:
    """And nothing more."""
    webhook.answers = [500, 500, 500]
    tell(FAILED)

    assert ["Warning: notify: the webhook did not get the failure: it answered 500 (3 attempts)"] == [
        message.split(";")[0] for message in messages
    ]


def test_a_webhook_that_refuses_is_not_tried_again(tell: Tell, webhook: Webhook, messages: list[str]) -> None:
    """Its answer would be the same."""
    webhook.answers = [403]
    tell(FAILED)

    assert 1 == len(webhook.requests)
    assert "it answered 403 (1 attempt)" in messages[0]


def test_a_webhook_that_hangs_is_abandoned(tell: Tell, webhook: Webhook, messages: list[str]) -> None:
    """After its time, three times."""
    webhook.answers = [None, None, None]
    started = time.monotonic()
    tell(FAILED)

    assert "no answer within 0.5 s (3 attempts)" in messages[0]
    assert time.monotonic() - started < 5


def test_a_webhook_that_answers_byte_by_byte_is_abandoned(tell: Tell, messages: list[str]) -> None:
    """Each byte is in time, but the answer is not."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection:
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100:
                    try:
                        connection.send(bytes([byte]))
                    except OSError:
                        return
                    time.sleep(0.1)

        for _ in range(3):
            Thread(target=drip, daemon=True).start()
        started = time.monotonic()
        tell(FAILED, url=f"http://127.0.0.1:{listening.getsockname()[1]}/")

    assert "no answer within 0.5 s" in messages[0]
    assert time.monotonic() - started < 5


def test_a_webhook_that_does_not_exist_is_a_warning(tell: Tell, messages: list[str]) -> None:
    """Without its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    tell(FAILED, url=f"http://127.0.0.1:{port}{PATH}")

    assert "the connection was refused (3 attempts)" in messages[0]
    assert PATH not in messages[0]
    assert str(port) not in messages[0]


def test_a_redirect_is_not_followed(tell: Tell, webhook: Webhook, messages: list[str]) -> None:
    """The document is only for the given address."""
    webhook.answers = [302]
    tell(FAILED)

    assert 1 == len(webhook.requests)
    assert "it answered 302" in messages[0]


def test_credentials_in_the_address_become_a_header(tell: Tell, webhook: Webhook) -> None:
    """As with curl."""
    tell(FAILED, url=webhook.url.replace("http://", "http://dpe:pass%40word@"))

    ((path, headers, _),) = webhook.requests
    assert (PATH, "Basic ZHBlOnBhc3NAd29yZA==") == (path, headers["Authorization"])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://secret.example/x", "secret.example/x", "https://", "http://[secret", ""])
def test_only_the_web_is_posted_to(url: str) -> None:
    """Reported before the run, without the address."""
    with pytest.raises(UsageError, match="is not an http:// or https:// address") as refused:
        notification.check_url(url)

    assert "secret" not in str(refused.value)


def test_secrets_of_the_environment_are_never_posted(tell: Tell, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any text, also in the form that a URL uses."""
    monkeypatch.setenv("DPE_LOADER_PASSWORD", "hush/now")
    monkeypatch.setenv("my_api_Token", "t0k")
    faults = ["source x: cannot log in with hush/now", "https://x/?key=hush%2Fnow", "header t0k"]
    tell(replace(FAILED, faults=faults, fields={"refused": [{"error": "hush/now t0k"}]}))

    ((_, _, body),) = webhook.requests
    assert (b"hush" in body, b"t0k" in body) == (False, False)
    assert "*** ***" == webhook.posted[0]["refused"][0]["error"]


def test_the_address_itself_is_never_posted(tell: Tell, webhook: Webhook) -> None:
    """An error may quote the command line."""
    tell(replace(FAILED, faults=[f"dpe run --notify {webhook.url}"]))

    assert "dpe run (everything) failed\n• dpe run --notify ***" == webhook.posted[0]["text"]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("postgresql://dpe:hush@db/dpe failed", "postgresql://***@db/dpe failed"),
        ("host=db password=hush user=dpe", "host=db password=*** user=dpe"),
        ("host=db password = 'hu sh\\' x' user=dpe", "host=db password = *** user=dpe"),
        ("https://x/?token=hush&a=b", "https://x/?token=***&a=b"),
        ("no password supplied", "no password supplied"),
    ],
)
def test_connection_strings_lose_their_secrets(text: str, redacted: str) -> None:
    """And nothing else."""
    assert redacted == redact(text)


def test_a_failure_is_sent_when_the_database_is_gone(webhook: Webhook, messages: list[str]) -> None:
    """It may be the cause."""

    def gone() -> Server:
        raise ServerError("server db:5432: is not reachable; start it")

    assert "failure" == notification.tell(webhook.url, gone, "everything", FAILED, messages.append, patience=SOON)
    assert 1 == len(webhook.requests)
    assert "the ledger cannot be read or written (server db:5432: is not reachable; start it)" in messages[0]


def _run(shop: Shop, webhook: Webhook, messages: list[str]) -> RunSummary:
    origin = Origin("shop", "orders", "https://ci.example/jobs/7")
    with notification.on_outcome(
        webhook.url,
        lambda: shop.server,
        [],
        messages.append,
        origin=lambda: origin,
        owners=lambda: owners(shop.project.manifest),
        patience=SOON,
    ) as ended:
        return ended(shop.run())


def test_a_run_that_fails_and_recovers_is_sent_twice(shop: Shop, webhook: Webhook, messages: list[str]) -> None:
    """With the failed rule and its owner, but without its rows; and with the project, its database and a link."""
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n1,HA,4711\n"})
    _run(shop, webhook, messages)
    (shop.directory / "data/orders/wednesday.csv").unlink()
    with shop.server.connect("admin") as connection:
        connection.execute("delete from raw.orders where amount = 4711")
        connection.execute("update dpe.loads set rows_loaded = 0, records_read = 0 where location like '%wednesday.csv'")
    _run(shop, webhook, messages)

    failure, recovery = webhook.posted
    assert ["failure", "recovery"] == [failure["event"], recovery["event"]]
    assert "rule SHOP-1-01 failed: orders_are_unique (1 failing) (owner: sales)" in failure["text"]
    where = {"project": "shop", "database": "orders", "link": "https://ci.example/jobs/7"}
    for posted, words in ((failure, "failed"), (recovery, "works again")):
        assert where.items() <= posted.items()
        assert f"dpe run (everything) {words}: project shop, database orders" == posted["text"].splitlines()[0]
        assert "https://ci.example/jobs/7" == posted["text"].splitlines()[-1]
    rule = {"rule": "SHOP-1-01", "name": "orders_are_unique", "dimension": "uniqueness", "count": 1, "severity": "error", "owner": "sales"}
    assert [rule] == failure["failed"]
    assert "4711" not in json.dumps(failure)
    assert [] == messages


def test_the_owner_is_that_of_the_node_or_of_its_group_or_of_the_tested_model() -> None:
    """And of a source, by its name."""
    manifest = {
        "groups": {"group.a": {"name": "finance", "owner": {"email": "finance@example.com", "name": None}}},
        "nodes": {
            "model.a": {"resource_type": "model", "config": {"meta": {"owner": "sales"}, "group": "finance"}},
            "model.b": {"resource_type": "model", "config": {"meta": {}, "group": "finance"}},
            "model.c": {"resource_type": "model", "config": {}},
            "test.a": {"resource_type": "test", "config": {}, "attached_node": "model.a"},
            "test.c": {"resource_type": "test", "config": {"meta": {"owner": "desk"}}, "attached_node": "model.c"},
        },
        "sources": {"source.a": {"resource_type": "source", "source_name": "shop", "name": "orders", "meta": {"owner": "till"}}},
        "unit_tests": {"unit_test.b": {"resource_type": "unit_test", "config": {}, "tested_node_unique_id": "model.b"}},
    }

    assert {
        "model.a": "sales",
        "model.b": "finance@example.com",
        "test.a": "sales",
        "test.c": "desk",
        "shop.orders": "till",
        "unit_test.b": "finance@example.com",
    } == owners(manifest)
    refused = RunSummary(ExtractSummary([ExtractResult("shop.orders", error="shop.orders: is late")], 1.0))
    assert ["source shop.orders: is late (owner: till)"] == notification.of_summary(refused, owners(manifest)).faults


def test_a_notification_says_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the project is broken and the server is gone; the link is the given one, or that of the CI job."""
    for name in ("CI_JOB_URL", "BUILD_URL", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "dbt_project.yml").write_text("models: [\nname: 'shop'\n", encoding="utf-8")

    def gone() -> Any:
        raise ServerError("PGPORT: 'x' is not a port; give a number")

    assert Origin("shop", None, "https://docs.example") == find_origin(lambda: tmp_path, gone, "https://docs.example")
    assert Origin() == find_origin(gone, gone, None)
    for name, value in {"SERVER_URL": "https://github.com", "REPOSITORY": "shop/orders", "RUN_ID": "7"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    assert "https://github.com/shop/orders/actions/runs/7" == find_origin(gone, gone, None).link
    monkeypatch.setenv("CI_JOB_URL", "https://gitlab.com/jobs/7")
    assert "https://gitlab.com/jobs/7" == find_origin(gone, gone, None).link


def test_the_content_of_a_rejected_record_is_not_sent() -> None:
    """Only the first line of a message is posted, which names the source and counts."""
    refused = ExtractResult(
        "shop.orders", error="shop.orders: at least 1 records were rejected\n  a.csv, line 2: invalid input: 'Jane Doe'"
    )

    outcome = notification.of_summary(RunSummary(ExtractSummary([refused], 1.0)))
    assert "Jane" not in json.dumps(notification.payload("everything", "failure", outcome))
    assert ["source shop.orders: at least 1 records were rejected"] == list(outcome.faults)


def test_a_run_that_ends_in_an_error_is_sent(server: Server, webhook: Webhook, messages: list[str]) -> None:
    """And the error is raised again."""
    with pytest.raises(BuildError), notification.on_outcome(webhook.url, lambda: server, ["fct_orders"], messages.append, patience=SOON):
        raise BuildError("dbt build: gave up\nwith rows")

    assert "dpe run (fct_orders) failed\n• dbt build: gave up" == webhook.posted[0]["text"]


def test_the_message_of_a_bug_is_not_sent(server: Server, webhook: Webhook, messages: list[str]) -> None:
    """It may quote a row."""
    with pytest.raises(KeyError), notification.on_outcome(webhook.url, lambda: server, [], messages.append, patience=SOON):
        raise KeyError("Jane Doe")

    assert "dpe run (everything) failed\n• KeyError; run it again with --debug" == webhook.posted[0]["text"]


def test_without_an_address_nothing_is_sent(webhook: Webhook, messages: list[str]) -> None:
    """And no server is contacted."""

    def none() -> Server:
        raise AssertionError

    with notification.on_outcome(None, none, [], messages.append) as ended:
        ended(RunSummary(ExtractSummary([], 0.0)))

    assert ([], []) == (webhook.requests, messages)


def test_a_quoted_text_mentions_no_one() -> None:
    """Slack would notify everybody in the channel."""
    text = notification.payload("everything", "failure", replace(FAILED, faults=["<!channel> a.csv & b.csv"]))["text"]

    assert text.endswith("• &lt;!channel&gt; a.csv &amp; b.csv")


def test_foreign_text_is_escaped() -> None:
    """In the message for people, where it cannot begin a line; the fields for programs contain it unchanged."""
    outcome = replace(FAILED, faults=["a\x1b]0;owned\x07\u202e.csv: is late\nDPE SUCCESS"], fields={"error": "\u202e"})

    document = notification.payload("\x9b", "failure", outcome)

    assert "dpe run (\\x9b) failed\n• a\\x1b]0;owned\\x07\\u202e.csv: is late⏎DPE SUCCESS" == document["text"]
    assert "\u202e" == document["error"]


def test_a_build_that_could_not_be_published_is_sent() -> None:
    """Even if no rule failed."""
    summary = RunSummary(ExtractSummary([], 1.0), BuildResult(refused=["finance: readers hold its tables too long; run again"]))

    outcome = notification.of_summary(summary)
    assert (True, ["nothing was published: finance: readers hold its tables too long; run again"]) == (
        outcome.has_failed,
        list(outcome.faults),
    )


def test_a_long_list_is_truncated() -> None:
    """Webhooks accept only a limited size."""
    text = notification.payload("everything", "failure", replace(FAILED, faults=["x" * 1000] * 30))["text"]

    assert text.endswith("• and 10 more")
    assert len(text) < 12_000


def test_a_run_that_is_terminated_ends_in_order(shop: Shop, webhook: Webhook) -> None:
    """Schedulers end dpe with SIGTERM: the server's query is cancelled, the verdict is printed, and the webhook is notified."""
    shop.write(
        {
            "models/finance/fct_orders.sql": "select order_id, shop, amount from {{ ref('stg_shop__orders') }} cross join pg_sleep(600) as waiting"
        }
    )
    environment = {"PGHOST": shop.server.host, "PGDATABASE": shop.server.database, "PGUSER": "postgres"}
    command = [sys.executable, "-m", "dpe_cli", "run", "--notify", webhook.url, "--notify-link", "https://docs.example"]
    with (
        subprocess.Popen(
            command, cwd=shop.directory, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        shop.server.connect("admin", autocommit=True) as connection,
    ):
        sleeping = "select from pg_stat_activity where datname = current_database() and query ~ 'pg_sleep.600' and pid <> pg_backend_pid()"
        while not connection.execute(sleeping).rowcount:
            assert process.poll() is None
            time.sleep(0.1)
        process.terminate()
        out, err = process.communicate(timeout=60)

        assert 128 + signal.SIGTERM == process.returncode
        assert "Ended by SIGTERM. What was loaded and published before stays; run again." in err
        assert "DPE FAILED" == out.splitlines()[-1]
        [posted] = webhook.posted
        assert "ended by SIGTERM; what was published stays visible" == posted["error"]
        assert ("shops", shop.server.database, "https://docs.example") == (posted["project"], posted["database"], posted["link"])
        assert 0 == connection.execute(sleeping).rowcount
    assert [1, 2, 3] == shop.orders()
