"""Which secrets a tap gets, and where they must not appear."""

from __future__ import annotations

import base64
import json
import logging
from urllib.parse import quote

import pytest
from support.long_tests import LONG
from support.misbehaving_tap import Tap
from support.staged_source import Stage, StagedSource
from support.tap_messages import record, schema, state

from dpe_cli.errors import InputError
from dpe_cli.safe_text import redaction
from dpe_cli.sources.singer import tap_log

SECRET = "correct/horse battery+staple=42"
PIECES = ("horse", "battery", "Y29ycmVjdC9", "NvcnJlY3Qva", "jb3JyZWN0L2")
BASIC = base64.b64encode(f"shop:{SECRET}".encode()).decode()
LOGGED = {
    "in base64 with a user": f"GET /things Authorization: Basic {BASIC}",
    "in base64 of URLs": f"X-Key: {base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip('=')}",
    "in capitals": f"KEY {SECRET.upper()}",
    "in a URL": f"GET /?key={quote(SECRET, safe='').lower()}",
    "in JSON": json.dumps({"config": {"key": f'"{SECRET}"'}}),
    "in hexadecimal digits": SECRET.encode().hex(),
    "over two lines": f"2024-01-01 INFO a wrapped line ends with {SECRET[:14]}\n                {SECRET[14:]}",
    "in base64 over two lines": f"INFO Basic {BASIC[:20]}\n           {BASIC[20:]}",
}
# The variables, among those that the tests set, that any program gets.
COMMON = {"PATH", "HOME", "TZ", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch, tap: Tap) -> None:
    monkeypatch.setenv("SHOP_KEY", SECRET)
    tap.config["key"] = "${SHOP_KEY}"


def test_a_tap_gets_the_variables_that_its_source_names(stage: Stage, tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what any program needs; no other variables, and none of dpe's own, even during discovery."""
    monkeypatch.setenv("OTHER_TOKEN", "another source's")
    monkeypatch.setenv("PGPASSWORD", "dpe's own")
    monkeypatch.setenv("DPE_LOADER_PASSWORD", "dpe's own")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("AWS_PROFILE", "shop")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    for name in COMMON - {"PATH", "HOME"}:
        monkeypatch.setenv(name, "C")
    tap.source(stage, environment=["AWS_PROFILE", "HTTPS_PROXY"]).extract()
    tap.source(stage, catalog_file=None).extract()

    named, without = [set(run["environment"]) for run in tap.runs]
    assert 4 == len(tap.all_runs)
    assert {"SHOP_KEY"} | COMMON <= without
    assert set() == without - {"SHOP_KEY", "USER", "LOGNAME", "LANG", "LANGUAGE", "TMPDIR", "LC_CTYPE", "LD_LIBRARY_PATH"} - COMMON
    assert {"AWS_PROFILE", "HTTPS_PROXY"} == named - without
    assert [named, named, without, without] == [set(run["environment"]) for run in tap.all_runs]


def test_a_variable_that_is_named_and_not_set_is_refused(stage: Stage, tap: Tap) -> None:
    """The error says where it is named, before the tap runs."""
    with pytest.raises(
        InputError,
        match=r"tap-shop orders \(shop.yml:5\): environment names NO_PROFILE, but the environment has no variable NO_PROFILE; set it",
    ):
        tap.source(stage, environment=["NO_PROFILE"]).extract()

    assert [] == tap.all_runs


def _said(source: StagedSource) -> str:
    """Extract, and return the failure as the error and the ledger describe it."""
    with pytest.raises(InputError) as caught:
        source.extract()
    [(error,)] = source.ledger("select error from dpe.extracts where source = %s order by extract_id desc limit 1")
    return f"{caught.value}\n{error}"


def _shown(text: str) -> list[str]:
    """Return the fragments of the secret in a text, joined over its lines."""
    joined = "".join(text.split()).lower()
    return [piece for piece in PIECES if piece.lower() in joined] + [
        piece for piece in ("horse", "attery") if piece.encode().hex() in joined
    ]


@pytest.mark.parametrize("place", ["config", "config_file"])
@pytest.mark.parametrize("form", LOGGED)
def test_what_a_tap_logs_shows_no_secret(stage: Stage, tap: Tap, caplog: pytest.LogCaptureFixture, form: str, place: str) -> None:
    """Neither in the error and the ledger, nor in the debug log; the rest of the log is there."""
    caplog.set_level(logging.DEBUG, "dpe_cli")
    source = tap.source(stage)
    if place == "config_file":
        (tap.world / "config.json").write_text(json.dumps(tap.config | {"key": SECRET}), encoding="utf-8")
        source = tap.source(stage, config={}, config_file="world/config.json")
    tap.says(schema(), ("log", LOGGED[form]), ("log", "CRITICAL 401 Unauthorized"), ("exit", 1))

    said = _said(source)

    for text in (said, caplog.text):
        assert (True, True, []) == ("***" in text, "CRITICAL 401 Unauthorized" in text, _shown(text)), text


@pytest.mark.parametrize("length", [64 * 1024, pytest.param(96 * 1024, marks=LONG), 128 * 1024, pytest.param(1024 * 1024, marks=LONG)])
@pytest.mark.parametrize("end", ["", " the end"])
def test_a_secret_across_what_is_read_at_once_is_hidden(
    stage: Stage, tap: Tap, caplog: pytest.LogCaptureFixture, length: int, end: str
) -> None:
    """A line may be longer than what is read, or kept, at once: it is never cut within a secret."""
    caplog.set_level(logging.DEBUG, "dpe_cli")
    source = tap.source(stage)
    for cut in (3, 16, 28):
        caplog.clear()
        tap.says(schema(), ("log", f"{'X' * (length - cut)}{SECRET}{'Y' * (length - len(SECRET) + cut)}{end}"), ("exit", 1))
        said = _said(source)
        assert ([], []) == (_shown(said), _shown(caplog.text))
        assert ("***" in caplog.text, end in caplog.text, 2 * length - len(SECRET)) == (
            True,
            True,
            caplog.text.count("X") + caplog.text.count("Y"),
        )


def test_a_line_that_is_not_written_at_once_is_waited_for(stage: Stage, tap: Tap, caplog: pytest.LogCaptureFixture) -> None:
    """A tap may pause within a secret."""
    caplog.set_level(logging.DEBUG, "dpe_cli")
    tap.says(schema(), ("mutter", f"denied: {SECRET[:16]}"), ("sleep", 0.5), ("log", SECRET[16:]), ("exit", 1))

    said = _said(tap.source(stage))

    assert (2, []) == (said.count("denied: ***"), _shown(said))
    assert (1, []) == (caplog.text.count("denied: ***"), _shown(caplog.text))


def test_a_run_of_base64_without_an_end_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    """Memory does not grow with it, and the lines after it are shown."""
    caplog.set_level(logging.DEBUG, "dpe_cli")
    redaction.remember(SECRET)
    shown = tap_log._Shown("singer:tap-shop")
    most = 0
    for chunk in [BASIC.rstrip("=").encode(), *([b"A" * 64 * 1024] * 24), f"{BASIC}\nCRITICAL 401 Unauthorized\n".encode()]:
        shown.take(chunk, is_pause=False)
        most = max(most, len(shown._waiting))
    shown.end()

    assert most < 640 * 1024
    assert ["singer:tap-shop: ***", "singer:tap-shop: CRITICAL 401 Unauthorized"] == [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("level", ["WARNING", pytest.param("DEBUG", marks=LONG)])
def test_the_kept_end_of_a_long_log_does_not_start_within_a_secret(
    stage: Stage, tap: Tap, caplog: pytest.LogCaptureFixture, level: str
) -> None:
    """More is kept than is shown, so that a cut secret is recognized; its end is waited for, even if everything is shown."""
    caplog.set_level(level, "dpe_cli")
    tap.says(schema(), ("log", SECRET * 50_000), ("log", "CRITICAL out of memory"), ("exit", 1))

    said = _said(tap.source(stage))

    assert (True, []) == ("CRITICAL out of memory" in said, _shown(said))


@pytest.mark.parametrize("before", [0, 50, 70])
@pytest.mark.parametrize("form", ["as it is", "in base64"])
def test_a_line_that_is_not_a_message_shows_no_secret(stage: Stage, tap: Tap, before: int, form: str) -> None:
    """Only the start of a long one is shown, which may be the start of a secret."""
    tap.says(schema(), ("write", f"{'x' * before} {SECRET if form == 'as it is' else BASIC}\n"))

    said = _said(tap.source(stage))

    assert (True, []) == ("is not JSON (" in said, _shown(said))
    assert "corr" not in said


KEY = "-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7horse\nbatteryKCAQEA7MIIEpAIBAA\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("value", "logged"),
    [
        (KEY, "the second line is MIIEpAIBAAKCAQEA7horse"),
        (json.dumps({"type": "service_account", "private_key": KEY}), f"key={KEY!r}, or BATTERYkcaqea7MIIEpAIBAA"),
        ("postgresql://shop:horse-battery@db.example/crm?sslmode=require", "cannot log in with horse-battery"),
        ("host=db.example user=shop password='horse battery'", "cannot log in with horse%20battery"),
        ("https://shop.example/feed/horse-battery", "GET /feed/horse-battery 403"),
        ("https://shop.example/a?sig=horse-battery-of-1", "403: horse-battery-of-1"),
    ],
    ids=["a key", "credentials in JSON", "a URL", "a connection string", "an address with a path", "an address that is signed"],
)
def test_a_part_of_a_secret_is_hidden_by_itself(stage: Stage, tap: Tap, monkeypatch: pytest.MonkeyPatch, value: str, logged: str) -> None:
    """Other programs may show it after taking the whole apart."""
    monkeypatch.setenv("SHOP_KEY", value)
    tap.says(schema(), ("log", logged), ("log", "a require of mine"), ("exit", 1))

    said = _said(tap.source(stage))

    assert (True, True, []) == ("***" in said, "a require of mine" in said, _shown(said))


@pytest.mark.parametrize("secret", ["a", "1", "x-1"])
def test_a_short_secret_is_hidden_where_it_is_a_word(stage: Stage, tap: Tap, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    """The message stays readable."""
    monkeypatch.setenv("SHOP_KEY", secret)
    basic = base64.b64encode(f"shop:{secret}".encode()).decode()
    tap.says(schema(), ("log", f"denied: {secret}"), ("log", f"Basic {basic}"), ("log", "after 12 attempts"), ("exit", 3))

    said = _said(tap.source(stage))

    assert said.count("\n    denied: ***\n    Basic ***\n    after 12 attempts") == 2, said
    assert "the tap failed with exit status 3" in said


@pytest.mark.parametrize("written", [BASIC, quote(SECRET, safe=""), SECRET.upper()])
def test_a_state_that_holds_a_secret_in_another_form_is_not_kept(stage: Stage, tap: Tap, written: str) -> None:
    """It would be in the ledger."""
    tap.says(schema(), record(id=1), state({"since": written}))

    assert "the tap's state contains a secret of its configuration" in _said(tap.source(stage))


def test_a_state_that_holds_a_variable_of_the_environment_is_not_kept(stage: Stage, tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source gives it to the tap by its name, without a configuration that refers to it."""
    monkeypatch.setenv("TAP_SHOP_PASSWORD", SECRET)
    for name in {*tap.config} - {"world"}:
        del tap.config[name]
    tap.says(schema(), record(id=1), state({"since": BASIC}))

    assert "the tap's state contains a secret of its configuration or environment" in _said(
        tap.source(stage, environment=["TAP_SHOP_PASSWORD"])
    )
