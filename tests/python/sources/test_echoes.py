"""Secrets of a source that others echo: they appear neither in messages nor in the ledger."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support import dbt_projects
from support.databases import Crm
from support.infer_place import Workplace
from support.misbehaving_api import Answer, Request, served
from support.staged_source import Stage, StagedSource

from dpe_cli.errors import DpeError, ExtractError, InputError
from dpe_cli.ingest import extract
from dpe_cli.load import ledger
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.safe_text import redaction
from dpe_cli.safe_text.redaction import HIDDEN
from dpe_cli.server import contexts
from dpe_cli.sources.http import client

SECRET = "correct/horse battery+staple=42é"
FORMS = {
    "as it is": SECRET,
    "in a URL": quote(SECRET, safe=""),
    "in base64 with a user": base64.b64encode(f"shop:{SECRET}".encode()).decode(),
    "in JSON": json.dumps(SECRET)[1:-1],
    "in capitals": SECRET.upper(),
    "after so much that it is cut": f"{'x' * 50}{SECRET}",
}
# Fragments that would reveal it, in any form.
PIECES = ("horse", "battery", "Y29ycmVjdC9", "NvcnJlY3Qva", "jb3JyZWN0L2")


class Echo:
    """A server that answers every request with the given answer."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[Request] = []
        self.url = ""

    def answer(self, request: Request) -> Answer:
        """Return the next answer, or the last one again."""
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Echo]:
    """Run such a server, without delays."""
    monkeypatch.setenv("SHOP_KEY", SECRET)
    monkeypatch.setattr(client.Client.__init__, "__kwdefaults__", {"sleep": lambda _seconds: None})
    echo = Echo()
    with served(echo) as url:  # type: ignore[arg-type]
        echo.url = url
        yield echo


def _csv(stage: Stage, echo: Echo, columns: str = "id integer", **options: Any) -> StagedSource:
    location = f"{echo.url}/orders.csv?key=${{SHOP_KEY}}"
    return stage(columns, **({"location": location, "disposition": "replace", "allow_private_addresses": True} | options))


def _rest(stage: Stage, echo: Echo, columns: str = "id bigint", **options: Any) -> StagedSource:
    auth = {"type": "bearer", "token": "${SHOP_KEY}"}
    defaults = {"location": echo.url, "file_format": "rest", "disposition": "replace", "allow_private_addresses": True, "auth": auth}
    return stage(columns, **(defaults | options))


def _refused(source: StagedSource, error: type[DpeError] = ExtractError) -> str:
    """Extract, and return the error's text, after checking it and the ledger."""
    with pytest.raises(error) as caught:
        source.extract()
    said = str(caught.value)
    ledger = str(source.ledger("select error from dpe.extracts where source = %s"))
    found = [piece for piece in PIECES for text in (said, ledger) if piece.lower() in text.lower()]
    assert [] == found, said
    return said


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_as_the_name_of_a_column_is_hidden(stage: Stage, echo: Echo, form: str) -> None:
    """In a file that does not fit; the error says everything else, and that there was a name."""
    echo.answers = [Answer(f'id,"{FORMS[form]}"\n1,2\n'.encode(), headers={"Content-Type": "text/csv"})]

    said = _refused(_csv(stage, echo))

    assert f"{HIDDEN}', field 2, is not in the contract; correct the columns in shop.yml:5" in said
    assert {SECRET} == {request.query["key"] for request in echo.requests}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_as_a_member_of_a_record_is_hidden(stage: Stage, echo: Echo, form: str) -> None:
    """Whether it is echoed as sent in the header, or in another form."""
    echo.answers = [Answer(json.dumps([{"id": 1, FORMS[form]: 2}]).encode())]

    assert f"{HIDDEN}', which is not in the contract" in _refused(_rest(stage, echo))
    assert f"Bearer {SECRET}" == echo.requests[0].headers["authorization"].encode("latin-1").decode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"", 302, {"Location": f"/denied/{quote(SECRET)}"}), f"it answered 403 to /denied/{HIDDEN};"),
        (Answer(b"", 302, {"Location": f"/{FORMS['in base64 with a user']}"}), f"it answered 403 to {HIDDEN};"),
        (Answer(b"", 302, {"Location": f"http://[{quote(SECRET)}/"}), "its link is not a valid address"),
        (Answer(b"", 302, {"Location": f"http://host:{quote(SECRET)}/"}), "its link is not a valid address"),
        (Answer(b"", 302, {"Location": f"ftp://host/{quote(SECRET)}"}), "it links to something that is not an http:// or https:// address"),
        (Answer(f'{{"error": "{SECRET}"}}'.encode()), "a page cannot be read"),
        (Answer(f"<p>{SECRET}</p>".encode()), "a page cannot be read"),
        (Answer(SECRET.encode(), 200, {"Content-Encoding": "gzip"}), "a page cannot be decompressed (Error -3"),
        (Answer(b"[]", 200, {"Content-Encoding": f"{'x' * 20}{quote(SECRET)}"}), f"its page is encoded as '{'x' * 20}{HIDDEN}'; dpe reads"),
    ],
)
def test_a_secret_in_an_answer_is_hidden(stage: Stage, echo: Echo, answer: Answer, words: str) -> None:
    """In a redirect, or in an error as JSON or HTML; and no answer counts as a bug of dpe."""
    echo.answers = [answer, Answer(SECRET.encode(), 403)]
    source = _rest(stage, echo, data_selector="$.data.items", attempts=1)

    assert words in _refused(source)


def test_a_header_that_cannot_be_sent_does_not_show_its_secret(stage: Stage, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example, with the line break at the end of a secret's file: httpx quotes the value."""
    monkeypatch.setenv("SHOP_KEY", "horse\n")

    assert f"Illegal header value b'Bearer {HIDDEN}'" in _refused(_rest(stage, echo)).replace("\\n", "")


def test_a_token_that_was_fetched_is_hidden(stage: Stage, echo: Echo) -> None:
    """dpe itself requested it, so no variable holds it."""
    token = "battery-of-the-token"
    auth = {
        "type": "oauth2_client_credentials",
        "access_token_url": f"{echo.url}/token",
        "client_id": "dpe",
        "client_secret": "${SHOP_KEY}",
    }
    basic = base64.b64encode(f"Bearer {token}".encode()).decode()
    echo.answers = [Answer(json.dumps({"access_token": token}).encode()), Answer(json.dumps([{"id": 1, token: 1, basic: 2}]).encode())]

    assert f"the record has '{HIDDEN}', '{HIDDEN}', which" in _refused(_rest(stage, echo, auth=auth))


def test_a_token_hides_no_word_of_other_sources(stage: Stage, echo: Echo) -> None:
    """A server chooses it; its own source's messages hide it."""
    auth = {
        "type": "oauth2_client_credentials",
        "access_token_url": f"{echo.url}/token",
        "client_id": "dpe",
        "client_secret": "${SHOP_KEY}",
    }
    echo.answers = [Answer(b'{"access_token": "missing"}'), Answer(b'[{"id": 1, "missing": 1}]')]
    own = _rest(stage, echo, auth=auth)
    other = stage("id integer, note text").deliver("id\n1\n")

    summary = extract.extract(other.directory, other.server, [own.source, other.source], dbt_projects.Silence())

    own_error, other_error = (str(result.error) for result in summary.refused)
    assert (True, False) == (HIDDEN in own_error, "missing" in own_error)
    assert (False, True) == (HIDDEN in other_error, "column note is missing" in other_error)


def test_a_reject_keeps_its_record_and_its_reason_shows_no_secret(stage: Stage, echo: Echo) -> None:
    """The delivered record is data, and stays unchanged; PostgreSQL's error is a message."""
    long = f"{'y' * 480}{SECRET}"
    echo.answers = [Answer(f'id,note\n"{SECRET}",a\n"{long}",b\n3,c\n'.encode(), headers={"ETag": '"1"'})]
    source = _csv(stage, echo, "id integer, note text", rejects={"max_rows": 5})
    source.extract()

    assert [f'"{SECRET}",a', f'"{long}",b'] == [raw for *_, raw in source.rejects()]
    reasons = [reason for *_, reason, _ in source.rejects()]
    assert f'invalid input syntax for type integer: "{HIDDEN}"' == reasons[0]
    assert not any(piece in reason for piece in ("corr", "horse") for reason in reasons)

    source.declare(rejects={"max_rows": 1})
    echo.answers = [Answer(f'id,note\n"{SECRET}",a\n"{SECRET}",b\n'.encode(), headers={"ETag": '"2"'})]
    assert f'invalid input syntax for type integer: "{HIDDEN}"' in _refused(source)


def test_a_column_that_is_missing_from_a_record_is_hidden(stage: Stage, echo: Echo) -> None:
    """The server chose its name, and columns that the contract does not name are ignored."""
    echo.answers = [Answer(f'id,"{SECRET}"\n1\n'.encode())]
    source = _csv(stage, echo, extra_columns="ignore", rejects={"max_rows": 5})
    source.extract()

    assert [(HIDDEN, f'missing data for column "{HIDDEN}"')] == source.rejects("column_name, reason")


def test_a_version_that_echoes_a_secret_is_ignored(stage: Stage, echo: Echo) -> None:
    """Otherwise it would be in the ledger; the content tells versions apart as well, but has to be fetched for that."""
    echo.answers = [Answer(b"id\n1\n", headers={"ETag": f'"{quote(SECRET)}"'})]
    source = _csv(stage, echo)
    source.extract()

    assert [(None,)] == source.ledger("select version from dpe.loads where source = %s")
    assert (1, None) == (source.extract().skipped, source.extract().extract_id)


@pytest.mark.parametrize("form", ["as it is", "in base64 with a user", "in capitals"])
def test_a_member_of_a_zip_file_that_is_named_like_a_secret_is_refused(stage: Stage, echo: Echo, form: str) -> None:
    """Its name would be in the ledger, and identify it there."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr(f"orders {FORMS[form]}.csv", "id\n1\n")
    echo.answers = [Answer(archive.getvalue())]
    source = _csv(stage, echo, location=f"{echo.url}/orders.zip?key=${{SHOP_KEY}}")

    with pytest.raises(InputError, match=r"orders.zip\?key=\$\{SHOP_KEY\}!orders \*\*\*.*: the name contains a secret of the source"):
        source.extract()
    assert [] == source.ledger("select location from dpe.loads where source = %s")


@pytest.mark.parametrize("value", ["{url}/feed/horse-battery/orders.csv", "{url}/orders.csv?sig=horse-battery-staple"])
def test_a_part_of_an_address_that_is_secret_is_hidden(stage: Stage, echo: Echo, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The whole address is in a variable, as for a signed URL."""
    monkeypatch.setenv("SHOP_URL", value.format(url=echo.url))
    echo.answers = [Answer(b"id,horse-battery-staple\n", 200), Answer(b"", 403)]

    _refused(
        stage(
            "id integer",
            location="${SHOP_URL}",
            file_format="rest",
            disposition="replace",
            allow_private_addresses=True,
        )
    )


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
@pytest.mark.parametrize("form", ["as it is", "in a URL", "in base64 with a user"])
def test_a_database_that_echoes_its_password_does_not_show_it(stage: Stage, crm: Crm, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """In an error of a COPY, reported by psql, and in one of a query, reported by psycopg."""
    monkeypatch.setenv("CRM_PASSWORD", SECRET)
    crm.write("drop table if exists echoes cascade")
    crm.write("create table echoes (id bigint, customer text)")
    crm.write("insert into echoes values (1, :said)", {"said": FORMS[form]})
    location = crm.url.replace("postgresql://postgres@", "postgresql://postgres:${CRM_PASSWORD}@")
    assert "${CRM_PASSWORD}" in location
    options = {"location": location, "file_format": "sql", "disposition": "replace"}
    reading = stage("id bigint", **options, query="select customer::bigint as id from echoes")
    asking = stage("id bigint", **options, query="select id from echoes where (select customer::date from echoes) is null")

    assert f'invalid input syntax for type bigint: "{HIDDEN}"' in _refused(reading)
    assert f'invalid input syntax for type date: "{HIDDEN}"' in _refused(asking)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="a process's environment is read from /proc")
@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_psql_has_no_secret_of_other_sources(stage: Stage, crm: Crm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment has its connection settings, and what any program needs."""
    monkeypatch.setenv("OTHER_TOKEN", SECRET)
    monkeypatch.setenv("PGAPPNAME", "dpe-test")
    crm.write("insert into orders select n, repeat('x', 100), 1, now() from generate_series(1, 200000) as n")
    source = stage(
        "id bigint, customer text, amount numeric",
        location=crm.url,
        file_format="sql",
        table="orders",
        disposition="replace",
        extra_columns="ignore",
    )
    [query] = extract.inputs_of(source.source, project_dir=source.directory)
    with query.open() as opened:
        blocks = opened.blocks()
        next(blocks)
        names = [_names_of(path) for path in Path("/proc").glob("[0-9]*") if _is_psql_of_ours(path)]

    assert [(True, True, False)] == [("PATH" in name, "PGAPPNAME" in name, "OTHER_TOKEN" in name) for name in names]


def _is_psql_of_ours(process: Path) -> bool:
    try:
        name, _, rest = (process / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return False
    return name == "psql" and int(rest.split()[1]) == os.getpid()


def _names_of(process: Path) -> set[str]:
    return {one.partition("=")[0] for one in (process / "environ").read_text().split("\0")}


def test_the_ledger_hides_secrets_by_itself(stage: Stage) -> None:
    """Whichever code writes an error or a version into it."""
    source = stage("id integer")
    redaction.remember(SECRET)
    with source.server.connect("loader") as connection, contexts.system_context(connection, actor="test"):
        extract_id = ledger.start_extract(
            connection, source=source.table.source, relation=source.table.relation, spec=None, disposition="append", tenant_id=None
        )
        ledger.fail_extract(connection, extract_id, f"no column {quote(SECRET)}")
        [load_id] = ledger.next_load_ids(connection, 1)
        load = ledger.Load(load_id, "orders.csv", None, 0, 0, 0, 0, version=quote(SECRET))
        ledger.finish_extract(connection, extract_id, [load], bytes_read=0)

    assert [(f"no column {HIDDEN}", None)] == source.ledger(
        "select error, version from dpe.extracts join dpe.loads using (extract_id) where extracts.source = %s"
    )


def test_dbts_messages_show_no_secret(stage: Stage, tmp_path: Path) -> None:
    """PostgreSQL quotes values, and one may be a secret that a source delivered."""
    redaction.remember(SECRET)
    models = {"models/raw/stg_orders.sql": f"select '{SECRET}'::integer as id"}
    project = Project(dbt_projects.make(tmp_path, models))
    [result] = run_dbt(project, stage("id integer").server, ["run", "--select", "stg_orders"])

    assert f'invalid input syntax for type integer: "{HIDDEN}"' in result.message


SOURCES = """
    sources:
      - name: shop
        schema: raw
        tables:
          - name: orders
            external:
              location: {url}
              file_format: rest
              disposition: replace
              allow_private_addresses: true
              headers: {{X-Key: "${{SHOP_KEY}}"}}
            columns:
              - {{name: id, data_type: bigint}}
"""


def test_no_command_prints_a_secret(stage: Stage, echo: Echo, tmp_path: Path) -> None:
    """Neither in its result, nor in its progress, nor in a traceback or the list of loads."""
    echo.answers = [Answer(json.dumps([{"id": 1, **dict.fromkeys(FORMS.values(), 1)}]).encode())]
    dbt_projects.make(tmp_path, {"models/_shop__sources.yml": SOURCES.format(url=echo.url)})
    server = stage("id integer").server
    connection = {"PGHOST": server.host, "PGDATABASE": server.database, "PGUSER": "postgres", "PGPORT": str(server.port)}
    variables = os.environ | connection | {"PYTHONPATH": str(dbt_projects.REPOSITORY)}

    def dpe(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dpe_cli", *arguments], capture_output=True, text=True, cwd=tmp_path, env=variables, check=False
        )

    extracted = dpe("--debug", "--output", "json", "extract")
    listed = dpe("--output", "json", "loads", "list")

    error = json.loads(extracted.stdout)["extracts"][0]["error"]
    assert f"the record has '{HIDDEN}'," in error
    assert error == json.loads(listed.stdout)[0]["error"]
    said = extracted.stdout + extracted.stderr + listed.stdout
    assert [] == [piece for piece in PIECES if piece.lower() in said.lower()]


def test_infer_writes_no_secret_that_a_server_echoes(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column with the secret as its name is left out, and not shown in notes about the others."""
    echo = Echo()
    echo.answers = [Answer(json.dumps([{"id": 1, SECRET: 2, "note": None, "number": number} for number in ("1", SECRET)]).encode())]
    monkeypatch.setenv("SHOP_KEY", SECRET)
    with served(echo) as url:  # type: ignore[arg-type]
        done = place.infer(f"{url}/v1/orders", "--header-line", "X-Key: ${SHOP_KEY}", "--allow-private-addresses")

    assert (0, SECRET) == (done.status, echo.requests[0].headers["x-key"].encode("latin-1").decode())
    assert f"left out, because PostgreSQL, dpe or dbt does not allow such column names: '{HIDDEN}'" in done.out
    assert "- {name: number, data_type: text," in done.out
    assert [] == [piece for piece in ("horse", "battery") if piece in done.out + done.err]


def test_infer_shows_no_secret_in_notes_about_values(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the start of a long value is shown, which may be the start of a secret."""
    echo = Echo()
    echo.answers = [Answer("".join(["id\n", *("1\n" * 30), f"{'x' * 15}{SECRET}\n"]).encode())]
    monkeypatch.setenv("SHOP_KEY", SECRET)
    with served(echo) as url:  # type: ignore[arg-type]
        done = place.infer(f"{url}/orders.csv?key=${{SHOP_KEY}}", "--allow-private-addresses")

    assert f"1 of 31 values are not a whole number, as '{'x' * 15}{HIDDEN}' in" in done.out, done
    assert "corr" not in done.out


def test_infer_shows_no_secret_in_a_traceback(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It also contains the library's original message."""
    monkeypatch.setenv("ORDERS_PASSWORD", SECRET)
    done = place.dpe(
        "--debug",
        "source",
        "infer",
        f"postgresql://reader:{quote(SECRET, safe='')}@127.0.0.1:1/{quote(SECRET, safe='')}",
        "--table",
        "orders",
    )

    assert (1, True) == (done.status, "Traceback" in done.err)
    assert [] == [piece for piece in ("horse", "battery") if piece in done.out + done.err]
