"""Singer taps: what they deliver is loaded once; the state to resume from is saved with the rows; a failed tap loads nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import dbt_projects
from support.long_tests import LONG
from support.misbehaving_api import Api
from support.misbehaving_tap import Tap
from support.staged_source import Stage, StagedSource
from support.tap_messages import CATALOG, Action, line, record, schema, state

from dpe_cli.errors import ContractError, InputError, ProjectError, RepeatedKeyError
from dpe_cli.ingest import rejects
from dpe_cli.project.project import Project
from dpe_cli.server.server import Server
from dpe_cli.sources.options.queries import Singer
from dpe_cli.sources.singer import catalog


def _loads(source: StagedSource) -> list[tuple[Any, ...]]:
    return source.ledger(
        "select records_read, rows_loaded, rows_rejected, records_repeated from dpe.loads where source = %s order by load_id"
    )


def _cursors(source: StagedSource) -> list[str | None]:
    return [cursor for (cursor,) in source.ledger("select cursor_value from dpe.extracts where source = %s order by extract_id")]


def test_a_stream_is_read_as_json_is(stage: Stage, tap: Tap) -> None:
    """To the last digit, from the contract's paths; records of other streams are skipped."""
    columns = "id bigint, note text, town text at $.shop.address.town, shop jsonb, price numeric, raw json at $"
    tap.says(
        schema("shops", "id"),
        record("shops", id=7),
        schema("orders", "id", "note", "shop", "price"),
        record(id=1, note='Zoë "a",\nb', shop={"address": {"town": "Rome"}}, price=1),
        line(stream="orders", record={"price": 2, "id": 2}, type="RECORD", time_extracted="2024-01-01T00:00:00Z", version=5),
        ("write", '{"type":"RECORD","stream":"orders","record":{"id":3,"price":12345678901234.123456789}}\r\n\n'),
        line(type="ACTIVATE_VERSION", stream="orders", version=5),
    )
    source = tap.source(stage, columns)

    assert (3, 0) == (source.extract().rows_loaded, len(source.rejects()))
    query = f"select id, note, town, shop::text, price::text, raw->>'price' from {source.relation} order by id"
    assert [
        (1, 'Zoë "a",\nb', "Rome", '{"address": {"town": "Rome"}}', "1", "1"),
        (2, None, None, None, "2", "2"),
        (3, None, None, None, "12345678901234.123456789", "12345678901234.123456789"),
    ] == source.query(query)
    assert [("singer:tap-shop orders",)] == source.ledger("select location from dpe.loads where source = %s")


def test_the_last_state_is_passed_to_the_next_run(stage: Stage, tap: Tap) -> None:
    """As written, to the last digit; a run without a state keeps the previous one."""
    source = tap.source(stage)
    tap.says(schema(), state({"at": 0}), record(id=1), ("write", '{"type": "STATE", "value": {"at": 1.00000000000000000001}}\n'))
    source.extract()
    tap.says(schema(), record(id=2))
    source.extract()
    tap.says(schema(), record(id=3), state({"at": 3}), record(id=4))
    source.extract()

    assert [None, '{"at": 1.00000000000000000001}', None, '{"at": 3}'] == [None, *_cursors(source)]
    source.extract()
    assert [None, {"at": 1.0}, {"at": 1.0}, {"at": 3}] == [run.get("--state") for run in tap.runs]
    assert 4 == source.count()


def test_repeated_records_count_once(stage: Stage, tap: Tap) -> None:
    """Rows and rejects alike, even within a run; another version of a record is another row."""
    source = tap.source(stage)
    bad = line(type="RECORD", stream="orders", record={"id": "x"}, time_extracted="2024-01-01T00:00:00Z")
    tap.says(schema(), record(id=1, note="a"), record(id=1, note="a"), record(id=2, note="b"), bad)
    source.extract()
    bad = line(type="RECORD", stream="orders", record={"id": "x"}, time_extracted="2024-01-02T00:00:00Z")
    tap.says(schema(), record(id=2, note="b"), record(id=1, note="changed"), bad)
    source.extract()

    assert [(1, "a"), (1, "changed"), (2, "b")] == source.rows()
    assert [(3, 2, 1, 1), (1, 1, 0, 2)] == _loads(source)


def test_two_versions_of_a_record_are_refused_where_rows_are_replaced(stage: Stage, tap: Tap) -> None:
    """A record that is repeated as it was still counts once."""
    source = tap.source(stage, disposition="replace")
    tap.says(schema(), record(id=1, note="a"), record(id=1, note="a"), record(id=2, note="b"))
    source.extract()
    tap.says(schema(), record(id=1, note="a"), record(id=2, note="b"), record(id=2, note="c"))

    with pytest.raises(RepeatedKeyError, match=r"1 key \(id\) came with more than one record; nothing was loaded, .*\n  2$"):
        source.extract()
    assert [(1, "a"), (2, "b")] == source.rows()


@pytest.mark.parametrize("fresh", ["replace", "full refresh"])
def test_what_is_replaced_is_read_from_the_start(stage: Stage, tap: Tap, fresh: str) -> None:
    """Without a state, and it replaces all earlier rows."""
    source = tap.source(stage, disposition="replace" if fresh == "replace" else "append")
    tap.says(schema(), record(id=1), state({"at": 1}))
    source.extract()
    tap.says(schema(), record(id=2), state({"at": 2}))
    source.extract(full_refresh=fresh == "full refresh")

    assert [(2, None)] == source.rows()
    assert [None, None] == [run.get("--state") for run in tap.runs]


def test_the_stream_is_selected(stage: Stage, tap: Tap) -> None:
    """And no other stream; of its properties, only those that the contract needs, if others may be left out."""
    source = tap.source(stage, "id bigint, note text", extra_columns="ignore", replication_key="changed_at")
    source.extract()
    source.declare(extra_columns="refuse")
    source.extract()

    [some, every] = [run["--catalog"]["streams"] for run in tap.runs]
    said = {".".join(part["breadcrumb"]): part["metadata"] for part in some[0]["metadata"]}
    assert {"selected": True, "replication-method": "INCREMENTAL", "replication-key": "changed_at"} == said[""]
    assert {"inclusion": "automatic"} == said["properties.id"]
    assert (True, False) == (said["properties.note"]["selected"], said["properties.shop"]["selected"])
    assert [{"breadcrumb": [], "metadata": {"selected": False}}] == some[1]["metadata"]
    assert {"selected": True} == {".".join(part["breadcrumb"]): part["metadata"] for part in every[0]["metadata"]}["properties.shop"]


@pytest.mark.timeout(60)
def test_a_catalog_of_many_properties_is_searched_once() -> None:
    """Not once per property."""
    names = [f"n{number}" for number in range(100_000)]
    metadata = [{"breadcrumb": ["properties", name, *within], "metadata": {}} for name in names for within in ([], ["items"])]
    entry = {"tap_stream_id": "orders", "schema": {"properties": {name: {} for name in [*names, "id"]}}, "metadata": metadata}
    options = Singer(location="singer:tap-shop", file_format="singer", disposition="replace")

    chosen = catalog.select({"streams": [entry]}, options, "orders", {"n1", "id"}, where="tap-shop")

    selected = [part["breadcrumb"] for part in chosen["metadata"] if part["metadata"]["selected"]]
    assert [["properties", "n1"], ["properties", "n1", "items"], [], ["properties", "id"]] == selected


def test_an_old_tap_has_its_own_option(stage: Stage, tap: Tap) -> None:
    """It looks for the selection in the schema; a catalog may come from a file."""
    tap.discovers(("exit", 2))
    (tap.world / "catalog.json").write_text(str(CATALOG).replace("'", '"'), encoding="utf-8")
    source = tap.source(stage, catalog_option="--properties", catalog_file="world/catalog.json")
    source.extract()

    [run] = tap.all_runs
    assert [True, False] == [entry["schema"]["selected"] for entry in run["--properties"]["streams"]]


@pytest.mark.parametrize(
    ("stream", "fault"),
    [("ordrs", "the tap has no stream ordrs (did you mean orders?); correct `stream`"), ("twice", "the tap has 2 streams twice (a, b)")],
)
def test_a_stream_that_is_not_there_is_refused(stage: Stage, tap: Tap, stream: str, fault: str) -> None:
    """With the nearest existing one."""
    twins = [{"tap_stream_id": name, "stream": "twice", "schema": {}} for name in ("a", "b")]
    tap.discovers(("write", json.dumps({"streams": [*CATALOG["streams"], *twins]})))

    with pytest.raises(InputError) as caught:
        tap.source(stage, stream=stream).extract()
    assert fault in str(caught.value)


def test_a_stream_with_another_name_in_messages_is_reported(stage: Stage, tap: Tap) -> None:
    """It is not mistaken for an empty stream, which would replace the existing rows."""
    source = tap.source(stage, disposition="replace")
    tap.says(schema(), record(id=1))
    source.extract()
    tap.says(schema("public-orders"), record("public-orders", id=2))

    with pytest.raises(InputError, match=r"wrote no SCHEMA of the stream orders, only of public-orders; set `stream` to its name"):
        source.extract()
    assert [(1, None)] == source.rows()
    source.declare(stream="public-orders", tap_stream_id="orders")
    source.extract()
    assert [(2, None)] == source.rows()


FAILURES: dict[str, tuple[list[Action], str]] = {
    "exits with an error": (
        [("log", "no more"), ("exit", 3)],
        r"the tap failed with exit status 3, and nothing was loaded.*\n    no more$",
    ),
    "is killed": ([("kill", None)], r"the tap was killed by SIGKILL, and nothing was loaded; it logged nothing"),
    "is killed by a signal without a name": ([("kill", signal.SIGRTMIN + 1)], r"the tap was killed by signal \d+, and nothing was loaded"),
    "logs invalid text": ([("log", "no \0 more \ud800"), ("exit", 1)], r"the tap failed with exit status 1.*\n    no . more"),
    "is killed within a line": ([("write", '{"type": "REC'), ("kill", None)], r"the tap was killed by SIGKILL"),
    "writes no JSON": ([("write", "Fetching page 2\n")], r"line 4 of the tap's output: is not JSON \(Fetching page 2\)"),
    "ends within a line": ([("write", '{"type": "REC')], r"line 4 of the tap's output: is not JSON"),
    "writes no text": ([("write", "\udcff\n")], r"line 4 of the tap's output: is not UTF-8"),
    "writes other JSON": ([("write", "[1]\n")], r"line 4 of the tap's output: is not a Singer message \(\[1\]\)"),
    "writes an unknown message": ([line(type="LOG")], r"line 4 of the tap's output: is not a Singer message"),
    "writes a record of no stream": ([line(type="RECORD", record={"id": 2})], r"line 4 of the tap's output: is not a Singer message"),
    "writes a state that is none": ([line(type="STATE", value=5)], r"line 4 of the tap's output: is not a Singer message"),
    "writes a batch": (
        [line(type="BATCH", stream="orders", manifest=[])],
        r"line 4 of the tap's output: is a BATCH, whose records are in files",
    ),
    "writes a line that is too long": ([("write", "x" * 3000)], r"line 4: the line is longer than 2,000 bytes"),
}


# They fail like others above, in detail differently.
SIMILAR = ("is killed within a line", "writes other JSON", "writes a record of no stream", "writes a state that is none")


@pytest.mark.parametrize("failure", [pytest.param(name, marks=LONG) if name in SIMILAR else name for name in FAILURES])
def test_nothing_is_loaded_of_a_tap_that_fails(stage: Stage, tap: Tap, failure: str) -> None:
    """Its state is unchanged; it leaves no file, and the next run loads every record once."""
    actions, fault = FAILURES[failure]
    source = tap.source(stage, max_record_bytes=2000)
    tap.says(schema(), record(id=1), state({"at": 1}))
    source.extract()
    tap.says(schema(), record(id=2), state({"at": 2}), *actions)

    with pytest.raises(InputError, match=fault) as caught:
        source.extract()
    assert str(caught.value).startswith("singer:tap-shop orders")
    assert ([(1, None)], "failed") == (source.rows(), source.statuses()[-1])
    assert [] == source.slices(attached=False)
    assert not any(Path(run["directory"]).exists() for run in tap.all_runs)
    tap.says(schema(), record(id=2), state({"at": 2}))
    source.extract()

    assert [(1, None), (2, None)] == source.rows()
    assert [None, {"at": 1}, {"at": 1}] == [run.get("--state") for run in tap.runs]


def test_a_tap_that_fails_to_discover_is_reported(stage: Stage, tap: Tap) -> None:
    """With the last lines of its log, or with its output if that is not a catalog."""
    tap.discovers(("log", "which shop?"), ("exit", 1))
    with pytest.raises(InputError, match=r"the tap failed with exit status 1.*\n    which shop\?$"):
        tap.source(stage).extract()

    tap.discovers(("write", "[]"))
    with pytest.raises(InputError, match=r"the tap's catalog has no list of streams"):
        tap.source(stage).extract()

    tap.discovers(("write", "usage: tap-shop"))
    with pytest.raises(InputError, match=r"the tap's --discover output is not a valid catalog .*set `catalog_file`"):
        tap.source(stage).extract()


def test_a_column_that_the_schema_lacks_is_refused(stage: Stage, tap: Tap) -> None:
    """A misspelt one would be null in every row; if the schema is open, it may exist."""
    source = tap.source(stage, "id bigint, notes text")
    tap.says(schema(), record(id=1, note="a"))

    with pytest.raises(ContractError, match=r"line 1 of the tap's output: the stream's schema has no notes \(did you mean note\?\)"):
        source.extract()
    properties = {"properties": {"id": {}}, "additionalProperties": True}
    tap.says(line(type="SCHEMA", stream="orders", schema=properties), record(id=1, notes="a"))
    source.extract()

    assert [(1, "a")] == source.rows()


def test_a_property_without_a_column_is_refused(stage: Stage, tap: Tap) -> None:
    """Like an extra member in other JSON, with the record that has it; or left out, if the source ignores extra columns."""
    source = tap.source(stage)
    tap.says(schema(), record(id=1), record("shops", id=3), record(id=2, nota="a"))

    with pytest.raises(
        ContractError, match=r"orders, record 2: the record has 'nota', which is not in the contract \(did you mean note\?\)"
    ):
        source.extract()
    source.declare(extra_columns="ignore")
    source.extract()

    assert [(1, None), (2, None)] == source.rows()


def test_a_record_that_does_not_fit_is_a_reject(stage: Stage, tap: Tap) -> None:
    """As delivered, without the message around it, and with its number in the stream."""
    source = tap.source(stage)
    tap.says(
        schema(),
        record(id=1),
        record("shops", id=9),
        ("write", '{"record": {"id":  "two"}, "type": "RECORD", "stream": "orders"}\n'),
        line(type="RECORD", stream="orders", record=[3]),
        line(type="RECORD", stream="orders"),
        ("write", '{"type": "RECORD", "stream": "orders", "record": {"id": NaN}}\n'),
        ("write", '{"type": "RECORD", "stream": "orders", "record": {"id": 6, "note": "\\ud800"}}\n'),
        record(id=7),
    )
    result = source.extract()

    assert (7, 2, 5) == (result.records_read, result.rows_loaded, result.rows_rejected)
    assert [
        (2, "id", '{"id":  "two"}'),
        (3, "the record is not a JSON object", "[3]"),
        (4, "the record is not a JSON object", '{"type": "RECORD", "stream": "orders"}'),
        (5, "the record is not valid JSON: NaN and Infinity are not JSON", '{"id": NaN}'),
        (6, "the record is not valid JSON: it contains half of a surrogate pair", '{"id": 6, "note": "\\ud800"}'),
    ] == [(position, column or reason, raw) for position, column, _, reason, raw in source.rejects()]
    project: Any = type("Project", (), {"sources": {source.table.source: source.source}, "directory": source.directory})
    exported = rejects.export(project.sources, source.server, source.table.source, project_dir=project.directory)
    assert (["_reject_id", "_reject_reason", "_reject_record", "id", "note"], 1) == ([*exported.columns], exported.unsplit)
    assert exported.records[1].endswith(',,"two",')


def test_a_reject_beyond_pythons_limits_is_kept(stage: Stage, tap: Tap) -> None:
    """With its message, if Python cannot find the record in it; and it is exported whole, if Python cannot split it."""
    digits, levels, exponent = "1" * 5000, "[" * 50_000 + "]" * 50_000, "1e99999999999999999999"
    records = [f'{{"id": "x", "note": {note}}}' for note in (digits, levels, exponent)]
    source = tap.source(stage)
    tap.says(schema(), *[("write", f'{{"type": "RECORD", "stream": "orders", "record": {one}}}\n') for one in records], record(id=7))

    assert (1, 3) == ((result := source.extract()).rows_loaded, result.rows_rejected)
    raws = [raw for (raw,) in source.rejects("raw")]
    assert [records[0], f'{{"type": "RECORD", "stream": "orders", "record": {records[1]}}}', records[2]] == raws
    project: Any = type("Project", (), {"sources": {source.table.source: source.source}, "directory": source.directory})
    exported = rejects.export(project.sources, source.server, source.table.source, project_dir=project.directory)
    assert (3, 2) == (exported.count, exported.unsplit)
    assert exported.records[1].endswith(f',,"x","{digits}"')


def test_only_the_tap_gets_the_secrets(stage: Stage, tap: Tap, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file that only dpe's user can read; without the variables for dpe's own server."""
    monkeypatch.setenv("SHOP_KEY", "s3cr3t/&")
    monkeypatch.setenv("PGPASSWORD", "dpe's own")
    tap.config["auth"] = {"api_key": "${SHOP_KEY}", "kinds": ["Bearer ${SHOP_KEY}", 5]}
    tap.source(stage).extract()

    for run in tap.all_runs:
        assert {"api_key": "s3cr3t/&", "kinds": ["Bearer s3cr3t/&", 5]} == run["config"]["auth"]
        assert "0o600" == run["mode"]
        assert "SHOP_KEY" in run["environment"]
        assert "PGPASSWORD" not in run["environment"]
        assert not Path(run["directory"]).exists()


@pytest.mark.parametrize("place", ["config", "config_file"])
def test_a_secret_is_in_no_message(stage: Stage, tap: Tap, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Nor in the ledger: neither from the tap's log, nor from a line that is not a message."""
    secret = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7\n-----END KEY-----"
    monkeypatch.setenv("SHOP_KEY", secret)
    if place == "config":
        tap.config["private_key"] = "${SHOP_KEY}"
        source = tap.source(stage)
    else:
        (tap.world / "config.json").write_text(json.dumps(tap.config | {"private_key": secret}), encoding="utf-8")
        source = tap.source(stage, config={}, config_file="world/config.json")
    said = ["one line is MIIEpAIBAAKCAQEA7", repr(secret), secret]
    failures: list[list[Action]] = [[*(("log", text) for text in said), ("exit", 1)], [("write", f"{said[0]}\n")]]
    for actions in failures:
        tap.says(schema(), *actions)
        with pytest.raises(InputError) as caught:
            source.extract()
        [(error,)] = source.ledger("select error from dpe.extracts where source = %s order by extract_id desc limit 1")
        assert "***" in error
        assert "MIIE" not in error + str(caught.value)


@pytest.mark.parametrize("written", ["s3cr3t/s3cr3t", r"s3cr3t\/s3cr3t", r"\u00733cr3t/s3cr3t"])
def test_a_state_with_a_secret_is_not_kept(stage: Stage, tap: Tap, monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """It would be in the ledger; if everything is replaced, no state is needed."""
    monkeypatch.setenv("SHOP_TOKEN", "s3cr3t/s3cr3t")
    tap.config["token"] = "${SHOP_TOKEN}"
    source = tap.source(stage)
    tap.says(schema(), record(id=1), ("write", f'{{"type": "STATE", "value": {{"token": "{written}"}}}}\n'))

    with pytest.raises(
        InputError,
        match=r"the tap's state contains a secret of its configuration or environment, which would end up in the ledger; nothing",
    ):
        source.extract()
    source.declare(disposition="replace")
    source.extract()

    assert ([(1, None)], [None, None]) == (source.rows(), _cursors(source))


def test_a_variable_that_is_missing_is_named(stage: Stage, tap: Tap) -> None:
    """Before the tap runs."""
    tap.config["token"] = "${NO_TOKEN}"

    with pytest.raises(
        InputError, match=r"orders \(shop.yml:5\): refers to \$\{NO_TOKEN\}, but the environment has no variable NO_TOKEN; set it"
    ):
        tap.source(stage).extract()
    assert [] == tap.all_runs


def test_the_cursor_of_another_kind_of_source_is_not_a_state(stage: Stage, tap: Tap, api: Api) -> None:
    """A cursor is not passed to a tap, which could not use it."""
    columns = "id bigint, changed_at timestamptz"
    rest = {"location": api.url, "path": "all", "file_format": "rest", "allow_private_addresses": True}
    source = stage(columns, **rest, disposition="append", incremental={"cursor_path": "changed_at", "key": ["id"]})
    source.extract()
    source.external = tap.source(stage, columns).external

    with pytest.raises(InputError, match=r"the saved cursor \(2024-01-01T00:34:00\+00:00\) is not a Singer state; start over with"):
        source.extract()
    tap.says(schema("orders", "id", "changed_at"), record(id=1), state({}))
    source.extract(full_refresh=True)
    assert [(1, None)] == source.rows()


SOURCES = """
    sources:
      - name: shop
        schema: raw
        tables:
          - name: orders
            external:
              location: singer:tap-shop
              file_format: singer
              config:
                world: {world}
                auth: {{token: "${{SHOP_TOKEN}}", pass: "${{SHOP_TOKEN}}"}}
              disposition: append
              key: [id]
            columns:
              - {{name: id, data_type: bigint}}
"""


def test_a_tap_is_read_from_the_command_line(module_server: Server, tap: Tap, tmp_path: Path) -> None:
    """With the stream named like the table; --debug shows the tap's log."""
    sources = SOURCES.format(world=tap.world)
    dbt_projects.make(tmp_path, {"models/_shop__sources.yml": sources, ".env": "OTHER_TOKEN=another source's\n"})
    tap.says(("log", "the token is s3cr3t!"), schema(), record(id=1))
    server = {"PGHOST": module_server.host, "PGDATABASE": module_server.database, "PGUSER": "postgres", "PGPORT": str(module_server.port)}
    program = [sys.executable, "-m", "dpe_cli", "--debug", "--output", "json", "extract"]
    variables = os.environ | server | {"SHOP_TOKEN": "s3cr3t!", "PYTHONPATH": str(dbt_projects.REPOSITORY)}
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, env=variables, check=False)

    assert (0, 1) == (done.returncode, json.loads(done.stdout)["extracts"][0]["rows_loaded"]), done.stderr
    assert "singer:tap-shop orders: the token is ***\n" in done.stderr
    assert {"token": "s3cr3t!", "pass": "s3cr3t!"} == tap.runs[0]["config"]["auth"]
    assert "OTHER_TOKEN" not in tap.runs[0]["environment"]

    dbt_projects.write(tmp_path, {"models/_shop__sources.yml": sources.replace('pass: "${SHOP_TOKEN}"', "\n" + " " * 24 + "pass: abc")})
    with pytest.raises(ProjectError, match=r"external: line 12: config\.auth\.pass: would end up in dbt's manifest; write \$\{NAME\}"):
        _ = Project(tmp_path).sources


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"location": "tap-shop"}, "location: tap-shop is not a tap (did you mean singer:tap-shop?)"),
        ({"location": "singr:tap-shop"}, "location: singr:tap-shop is not a tap (did you mean singer:tap-shop?)"),
        ({"location": "singer:../tap shop"}, "location: singer:../tap shop is not a tap; write it like singer:tap-github"),
        (
            {"file_format": "json", "stream": None, "config": None, "key": None},
            "file_format: singer:tap-shop is a tap, which cannot be read as json",
        ),
        ({"config": {"api_key": "abc"}}, "config.api_key: would end up in dbt's manifest; write ${NAME}"),
        (
            {"config": {"streams": [{"headers": {"Authorization": "Bearer abc"}}]}},
            "config.streams.headers.Authorization: would end up in dbt's",
        ),
        ({"config": {"dsn": "mysql://a:b@host/crm"}}, "config.dsn: would end up in dbt's manifest"),
        ({"config": {"credentials_json": "{}"}}, "config.credentials_json: would end up in dbt's manifest"),
        ({"config": {"clientSecret": "abc"}}, "config.clientSecret: would end up in dbt's manifest"),
        ({"config": {"api_keys": ["abc"]}}, "config.api_keys: would end up in dbt's manifest"),
        ({"config": {"password": 1234}}, "config.password: would end up in dbt's manifest"),
        ({"config": {"a": 1}, "config_file": "a.json"}, "config_file: give either config or config_file"),
        ({"key": None}, "key: append needs it, because taps deliver records again"),
        ({"key": ["ids"]}, "key: ids is not a column (did you mean id?)"),
        ({"replication_method": "FULL_TABLE", "replication_key": "a"}, "replication_key: FULL_TABLE does not use it"),
        (
            {"environment": ["${SHOP_KEY}"]},
            "environment: ${SHOP_KEY} is not a variable name; write only the name, as in AWS_PROFILE",
        ),
        ({"strem": "a"}, "strem is not an option (did you mean stream?)"),
    ],
)
def test_a_wrong_option_is_named(stage: Stage, tap: Tap, options: dict[str, Any], fault: str) -> None:
    """With what to write instead."""
    with pytest.raises(ProjectError) as caught:
        tap.source(stage, **options)

    assert fault in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"primary_key": "id", "primary_keys": ["id"]},
        {"token_url": "https://a"},
        {"next_page_token_path": "$.a"},
        {"key": "${A}"},
        {"use_token": True},
    ],
)
def test_names_that_only_sound_like_secrets_are_allowed(stage: Stage, tap: Tap, config: dict[str, Any]) -> None:
    """Names of columns, addresses and paths may be written in the project."""
    assert config == tap.source(stage, config=config).external.config
