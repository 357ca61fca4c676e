"""What a source was asked with, and is echoed by others: it is in no message, and not in the ledger."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from support import dbt_projects
from support.misbehaving_api import Answer, Request, served

from dpe_cli.errors import DpeError, ExtractError
from dpe_cli.ingest import extract
from dpe_cli.load import ledger
from dpe_cli.project.dbt_runner import run_dbt
from dpe_cli.project.project import Project
from dpe_cli.safe_text import redaction
from dpe_cli.safe_text.redaction import HIDDEN
from dpe_cli.server import contexts
from dpe_cli.sources.http import client

if TYPE_CHECKING:
    from support.databases import Crm
    from support.infer_place import Workplace
    from support.staged_source import Stage, StagedSource

pytest_plugins = ["support.staged_source", "support.databases", "support.infer_place"]

SECRET = "correct/horse battery+staple=42é"
FORMS = {
    "as it is": SECRET,
    "in a URL": quote(SECRET, safe=""),
    "in base64 with a user": base64.b64encode(f"shop:{SECRET}".encode()).decode(),
    "in JSON": json.dumps(SECRET)[1:-1],
    "in capitals": SECRET.upper(),
    "behind so much that it is cut": f"{'x' * 50}{SECRET}",
}
# Pieces by which one would know it, in any form.
PIECES = ("horse", "battery", "Y29ycmVjdC9", "NvcnJlY3Qva", "jb3JyZWN0L2")


class Echo:
    """A server that answers every request with the answer it is given."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[Request] = []
        self.url = ""

    def answer(self, request: Request) -> Answer:
        """Return the next answer, and the last one again and again."""
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Echo]:
    """Run such a server, that does not have to be waited for."""
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
    """Extract, and return what the error says, after a look at it and at the ledger."""
    with pytest.raises(error) as caught:
        source.extract()
    said = str(caught.value)
    ledger = str(source.ledger("select error from dpe.extracts where source = %s"))
    found = [piece for piece in PIECES for text in (said, ledger) if piece.lower() in text.lower()]
    assert [] == found, said
    return said


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_as_the_name_of_a_column_is_hidden(stage: Stage, echo: Echo, form: str) -> None:
    """Of a file that does not fit; the error says all else, and that a name was there."""
    echo.answers = [Answer(f'id,"{FORMS[form]}"\n1,2\n'.encode(), headers={"Content-Type": "text/csv"})]

    said = _refused(_csv(stage, echo))

    assert f"{HIDDEN}', field 2, is not in the contract; correct the columns in shop.yml:5" in said
    assert {SECRET} == {request.query["key"] for request in echo.requests}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_as_a_member_of_a_record_is_hidden(stage: Stage, echo: Echo, form: str) -> None:
    """Whether it is echoed as it came in the header, or written otherwise."""
    echo.answers = [Answer(json.dumps([{"id": 1, FORMS[form]: 2}]).encode())]

    assert f"{HIDDEN}', which the contract does not name" in _refused(_rest(stage, echo))
    assert f"Bearer {SECRET}" == echo.requests[0].headers["authorization"].encode("latin-1").decode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(b"", 302, {"Location": f"/denied/{quote(SECRET)}"}), f"it answered 403 to /denied/{HIDDEN};"),
        (Answer(b"", 302, {"Location": f"/{FORMS['in base64 with a user']}"}), f"it answered 403 to {HIDDEN};"),
        (Answer(b"", 302, {"Location": f"http://[{quote(SECRET)}/"}), "its link is not a valid address"),
        (Answer(b"", 302, {"Location": f"http://host:{quote(SECRET)}/"}), "its link is not a valid address"),
        (Answer(b"", 302, {"Location": f"ftp://host/{quote(SECRET)}"}), "it links to what is no http:// or https:// address"),
        (Answer(f'{{"error": "{SECRET}"}}'.encode()), "a page cannot be read"),
        (Answer(f"<p>{SECRET}</p>".encode()), "a page cannot be read"),
        (Answer(SECRET.encode(), 200, {"Content-Encoding": "gzip"}), "the connection failed (DecodingError"),
    ],
)
def test_a_secret_in_an_answer_is_hidden(stage: Stage, echo: Echo, answer: Answer, words: str) -> None:
    """In a redirect, in an error as JSON or a page of HTML; and no answer is a bug of ours."""
    echo.answers = [answer, Answer(SECRET.encode(), 403)]
    source = _rest(stage, echo, data_selector="$.data.items", attempts=1)

    assert words in _refused(source)


def test_a_header_that_cannot_be_sent_does_not_show_its_secret(stage: Stage, echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the line break that a file of a secret ends with: httpx says which value it is."""
    monkeypatch.setenv("SHOP_KEY", "horse\n")

    assert f"Illegal header value b'Bearer {HIDDEN}'" in _refused(_rest(stage, echo)).replace("\\n", "")


def test_a_token_that_was_fetched_is_hidden(stage: Stage, echo: Echo) -> None:
    """dpe itself asked for it; nobody else had it before."""
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


def test_a_reject_keeps_its_record_and_its_reason_shows_no_secret(stage: Stage, echo: Echo) -> None:
    """What was delivered is data, and stays as it is; what PostgreSQL says of it is a message."""
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
    """Its name is the server's, where columns that the contract does not name are ignored."""
    echo.answers = [Answer(f'id,"{SECRET}"\n1\n'.encode())]
    source = _csv(stage, echo, extra_columns="ignore", rejects={"max_rows": 5})
    source.extract()

    assert [(HIDDEN, f'missing data for column "{HIDDEN}"')] == source.rejects("column_name, reason")


def test_a_version_that_echoes_a_secret_is_none(stage: Stage, echo: Echo) -> None:
    """The ledger would have it; the content tells as well, though it has to be fetched for that."""
    echo.answers = [Answer(b"id\n1\n", headers={"ETag": f'"{quote(SECRET)}"'})]
    source = _csv(stage, echo)
    source.extract()

    assert [(None,)] == source.ledger("select version from dpe.loads where source = %s")
    assert (1, None) == (source.extract().skipped, source.extract().extract_id)


@pytest.mark.parametrize("value", ["{url}/feed/horse-battery/orders.csv", "{url}/orders.csv?sig=horse-battery-staple"])
def test_a_part_of_an_address_that_is_secret_is_hidden(stage: Stage, echo: Echo, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Where all of it is in a variable, as with an address that is signed."""
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
    """In an error of a COPY, which psql says, and in one of a query, which psycopg says."""
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
    """It gets what it connects with, and what any program needs."""
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
    [window] = extract.inputs_of(source.source, project_dir=source.directory)
    with window.open() as opened:
        blocks = opened.blocks()
        next(blocks)
        names = [_names_of(path) for path in Path("/proc").glob("[0-9]*") if _is_psql_of_ours(path)]

    assert [(True, True, False)] == [("PATH" in one, "PGAPPNAME" in one, "OTHER_TOKEN" in one) for one in names]


def _is_psql_of_ours(process: Path) -> bool:
    try:
        name, _, rest = (process / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return False
    return name == "psql" and int(rest.split()[1]) == os.getpid()


def _names_of(process: Path) -> set[str]:
    return {one.partition("=")[0] for one in (process / "environ").read_text().split("\0")}


def test_the_ledger_hides_secrets_by_itself(stage: Stage) -> None:
    """Whoever writes an error into it."""
    source = stage("id integer")
    redaction.remember(SECRET)
    with source.server.connect("loader") as connection, contexts.system_context(connection, actor="test"):
        extract_id = ledger.start_extract(connection, source=source.table.source, spec=None, disposition="append", tenant_id=None)
        ledger.fail_extract(connection, extract_id, f"no column {quote(SECRET)}")

    assert [(f"no column {HIDDEN}",)] == source.ledger("select error from dpe.extracts where source = %s")


def test_what_dbt_says_of_a_model_shows_no_secret(stage: Stage, tmp_path: Path) -> None:
    """PostgreSQL quotes values, and one may be a secret that a source delivered."""
    redaction.remember(SECRET)
    models = {"models/staging/stg_orders.sql": f"select '{SECRET}'::integer as id"}
    project = Project(dbt_projects.make(tmp_path, models))
    [result] = run_dbt(project, stage("id integer").server, ["run", "--select", "stg_orders"])

    assert f'invalid input syntax for type integer: "{HIDDEN}"' in result.message


SOURCES = """
    sources:
      - name: shop
        schema: staging
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


def test_a_secret_is_in_nothing_that_a_command_says(stage: Stage, echo: Echo, tmp_path: Path) -> None:
    """Neither in its result, nor in what it says meanwhile, nor in a traceback or the list of loads."""
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
    """A column that is called like it is left out; nor is it in what is said of the others."""
    echo = Echo()
    echo.answers = [Answer(json.dumps([{"id": 1, SECRET: 2, "note": None, "number": number} for number in ("1", SECRET)]).encode())]
    monkeypatch.setenv("SHOP_KEY", SECRET)
    with served(echo) as url:  # type: ignore[arg-type]
        done = place.infer(f"{url}/v1/orders", "--header-line", "X-Key: ${SHOP_KEY}", "--allow-private-addresses")

    assert (0, SECRET) == (done.status, echo.requests[0].headers["x-key"].encode("latin-1").decode())
    assert f"left out, for PostgreSQL, dpe or dbt cannot have a column of that name: '{HIDDEN}'" in done.out
    assert "- {name: number, data_type: text," in done.out
    assert [] == [piece for piece in ("horse", "battery") if piece in done.out + done.err]


def test_infer_shows_no_secret_in_what_it_says_of_values(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long value only the start is shown, which may be that of a secret."""
    echo = Echo()
    echo.answers = [Answer("".join(["id\n", *("1\n" * 30), f"{'x' * 15}{SECRET}\n"]).encode())]
    monkeypatch.setenv("SHOP_KEY", SECRET)
    with served(echo) as url:  # type: ignore[arg-type]
        done = place.infer(f"{url}/orders.csv?key=${{SHOP_KEY}}", "--allow-private-addresses")

    assert f"1 of 31 values are no whole number, as '{'x' * 15}{HIDDEN}' in" in done.out, done
    assert "corr" not in done.out


def test_infer_shows_no_secret_in_a_traceback(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library said first is in it as well."""
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
