"""`dpe run`, `extract`, `validate`, `docs` and their relatives, as a person or a script runs them on a small project."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import Cluster
from support.result_schemas import ERRORS as ERRORS_SCHEMA
from support.result_schemas import check, command_of
from support.shop import Shop, copied

from dpe_cli import problems
from dpe_cli.cli import main
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project import package
from dpe_cli.server.contexts import system_context
from dpe_cli.sources.files import json_files


@dataclass(frozen=True)
class Done:
    """The output of a command, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its JSON output."""
        return json.loads(self.out)

    def rows(self, title: str) -> list[list[str]]:
        """Return the rows of a table, as words."""
        lines = iter(self.out.splitlines())
        for line in lines:
            if line == title:
                break
        # Column names and a rule.
        next(lines), next(lines)
        return [line.split() for line in iter(lambda: next(lines, ""), "")]

    @property
    def reasons(self) -> list[str]:
        """The lines under the verdict that it failed."""
        return self.out.partition("\nDPE FAILED\n")[2].splitlines()


COUNTED = """
    {{ config(meta={'rls': {'private': true}}, contract={'enforced': false}) }}
    select count(*) as n from {{ ref('dim_shops') }}
    """
ROOT = Path(__file__).parents[3]
Dpe = Callable[..., Done]


@pytest.fixture
def dpe(shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Dpe:
    """Run dpe in the project, on its server."""
    return _dpe_in(shop, monkeypatch, capfd)


def _dpe_in(shop: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Dpe:
    monkeypatch.chdir(shop.directory)
    for name, value in {"PGHOST": shop.server.host, "PGDATABASE": shop.server.database, "PGUSER": "postgres"}.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Done:
        capfd.readouterr()
        status = main.run(arguments)
        captured = capfd.readouterr()
        if "json" in arguments:
            check(command_of(arguments), json.loads(captured.out))
        return Done(status, captured.out, captured.err)

    return run


def test_a_run_ends_with_a_summary(shop: Shop, dpe: Dpe) -> None:
    """It shows what was loaded, built, checked and seen, where the docs are, and the verdict."""
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n"})

    done = dpe("run")

    assert 0 == done.status
    assert done.out.startswith("1 row loaded, 5 nodes built and tested in ")
    assert [["shop.orders", "loaded", "1", "2", "1", "0"], ["shop.shops", "nothing", "new", "0", "1", "0"]] == [
        row[:6] for row in done.rows("Loaded")
    ]
    assert [["model", "3", "3", "0", "0", "0"], ["test", "2", "1", "1", "0", "0"]] == [row[:6] for row in done.rows("Built")]
    assert [["SHOP-1-02", "warn", "1", "validity", "orders", "are", "not", "cheap"]] == done.rows("Rules that did not hold")
    assert ["holds"] * 7 == [next(word for word in row if word in {"holds", "FAILED"}) for row in done.rows("Checked")]
    assert [["HA", "2"], ["UA", "2"], ["a", "stranger", "0"]] == [row[1:] for row in done.rows("Rows seen per role")][:3]
    assert f"{shop.directory}/target/static_index.html" in done.out
    assert "DPE SUCCESS" == done.out.splitlines()[-1]


def test_a_declaration_without_effect_is_refused_before_the_work(shop: Shop, dpe: Dpe) -> None:
    """By each command that reads the project, each time: its model would be published without it."""
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n"})
    shop.change_columns("- name: fct_orders", "- name: fct_ordres")

    for command in ("run", "extract", "validate", "rules --check", "rls check"):
        done = dpe(*command.split())

        assert 1 == done.status, command
        assert "models/finance/_finance__models.yml, line 2: no model is called fct_ordres, so what it declares has no effect" in done.err
        assert "did you mean fct_orders?" in done.err
    with shop.server.connect("admin") as connection:
        assert [(2,)] == connection.execute("select count(*) from dpe.extracts").fetchall()


def test_a_reader_that_uses_an_earlier_version_is_named(shop: Shop, dpe: Dpe, reader: Callable[..., str]) -> None:
    """The run succeeds and names a temporary view of the old version; --end-sessions ends its session."""
    login = reader(shop.server, "UA")
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n4,UA,40\n"})
    with shop.server.connect(login, autocommit=True, application_name="desk") as connection:
        connection.execute("create temp view before as select order_id from finance.fct_orders")
        pid = connection.info.backend_pid

        done = dpe("run", "--no-docs")

        assert (0, "DPE SUCCESS") == (done.status, done.out.splitlines()[-1])
        [row] = done.rows("Warning: earlier versions are still in use, and will not be updated")
        assert ["finance.fct_orders", "finance__previous.fct_orders", "view"] == row[:3]
        assert [login, str(pid), "end", "that", "session,"] == row[4:9]
        assert [(1,), (2,)] == connection.execute("select order_id from before order by 1").fetchall()
        connection.execute("create temp view after as select order_id from finance.fct_orders")

        undone = dpe("publish", "--undo", "--end-sessions", "--output", "json").data

    assert ([], [{"pid": pid, "role": login, "application": "desk"}]) == (
        undone["in_use"],
        undone["ended_sessions"],
    )


GRANT = "No login can read what was published; let one see the rows of a tenant: dpe access grant LOGIN TENANT"


def test_a_run_that_no_login_can_read_says_how_to_grant_it(shop: Shop, dpe: Dpe, reader: Callable[..., str]) -> None:
    """In its last line before the verdict, until there is a reader; it succeeds."""
    assert [GRANT, "", "DPE SUCCESS"] == dpe("run", "--no-docs").out.splitlines()[-3:]

    reader(shop.server, "UA")

    assert "No login" not in dpe("run", "--no-docs").out


def test_a_target_without_readers_says_so(shop: Shop, dpe: Dpe, reader: Callable[..., str]) -> None:
    """A reader sees nothing of it; with only shared models, a reader needs no tenant."""
    login = reader(shop.server, "UA")
    settings = shop.directory / "dbt_project.yml"
    before = settings.read_text()
    settings.write_text(before.replace("readers: {dev:", "readers: {prod:"))

    done = dpe("run", "--no-docs")

    remedy = "in dbt_project.yml, write +meta: {readers: {dev: [dpe_reader, dpe_masked_reader]}}, and run again"
    line = f"No reader sees what was published, because meta.readers does not name the target dev; {remedy}"
    assert [line, "", "DPE SUCCESS"] == done.out.splitlines()[-3:]
    settings.write_text(before)
    with shop.server.connect("admin", autocommit=True) as connection:
        connection.execute(f"revoke dpe_reader from {login}".encode())
    models = shop.directory / "models/finance/_finance__models.yml"
    models.write_text(models.read_text().replace("rls: {tenant_column: shop}", "rls: {private: true}"))

    data = dpe("run", "--no-docs", "--output", "json").data

    assert data["without_readers"] == ("No login can read what was published; let one see it: dpe db psql -c 'grant dpe_reader to LOGIN'")
    assert "DPE SUCCESS" == data["verdict"]


def test_no_table_is_shown_if_dpe_loads_no_source(shop: Shop, dpe: Dpe) -> None:
    """Another tool may load them all."""
    sources = shop.directory / "models/raw/_shop__sources.yml"
    sources.write_text(re.sub(r"external: \{[^}]*\}", "description: loaded by another tool", sources.read_text()))

    done = dpe("extract")

    assert (0, "0 rows loaded from 0 sources in ") == (done.status, done.out[:32])
    assert [] == done.out.splitlines()[1:]


def test_progress_goes_to_standard_error(shop: Shop, dpe: Dpe) -> None:
    """Without a terminal, lines with times when a task begins and ends."""
    done = dpe("extract")

    assert ["shop.orders: started", "shop.orders: done", "shop.shops: started", "shop.shops: done"] == [
        line[len("2026-11-30 08:00:00 ") :].partition(" in ")[0] for line in done.err.splitlines()
    ]
    assert "0 rows loaded from 2 sources in" in done.out
    del shop


def test_a_refused_delivery_ends_in_failure(shop: Shop, dpe: Dpe) -> None:
    """With the reason on standard error, and nothing built."""
    shop.write({"data/orders/wednesday.csv": "order_id,shop,price\n4,HA,40\n"})

    done = dpe("run")

    assert 1 == done.status
    assert ["- shop.orders, data/orders/wednesday.csv, line 1: column amount is missing"] == [
        line.partition(";")[0] for line in done.reasons
    ]
    assert "Error: shop.orders, data/orders/wednesday.csv, line 1: column amount is missing; column 'price'" in done.err
    assert ["shop.orders", "refused"] == done.rows("Loaded")[0][:2]
    assert "Built" not in done.out


def test_a_bug_in_one_source_does_not_stop_the_others(shop: Shop, dpe: Dpe, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called a bug, with exit status 2, and the ledger says that the extract failed; --debug shows the traceback."""
    columns = "columns: [{name: id, data_type: integer}]"
    external = "external: {location: data/bad.jsonl, file_format: jsonl, disposition: append}"
    shop.write(
        {
            "models/raw/_a__sources.yml": "sources:\n  - name: a\n    schema: raw\n    tables:\n"
            f"      - name: bad\n        {external}\n        {columns}\n",
            "data/bad.jsonl": '{"id": 1}\n',
            "data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n",
        }
    )
    monkeypatch.setattr(json_files, "whole_lines", lambda *_, **__: dict[str, str]()["missing"])

    done = dpe("extract")

    assert 2 == done.status
    assert "Error: a.bad: KeyError: 'missing'; this is a bug; run again with --debug\n" in done.err
    assert "Traceback" not in done.err
    assert [["a.bad", "failed"], ["shop.orders", "loaded"]] == [row[:2] for row in done.rows("Loaded")[:2]]
    with shop.server.connect("loader") as connection, system_context(connection, actor="test"):
        ended = connection.execute("select source, status, error from dpe.extracts order by extract_id desc limit 2").fetchall()
    assert [("shop.orders", "succeeded", None), ("a.bad", "failed", "KeyError")] == ended

    again = dpe("run", "--debug", "--output", "json")
    assert (2, "failed") == (
        again.status,
        next(extract["status"] for extract in again.data["extracted"]["extracts"] if extract["source"] == "a.bad"),
    )
    assert "Traceback (most recent call last)" in again.err


def test_a_rule_that_fails_ends_in_failure(shop: Shop, dpe: Dpe) -> None:
    """Failures come before warnings."""
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n3,HA,31\n"})

    done = dpe("run", "--no-docs")

    assert 1 == done.status
    assert ["- rule SHOP-1-01 failed: orders_are_unique (1 failing); `dpe rules show SHOP-1-01` shows the rows"] == done.reasons
    assert [["SHOP-1-01", "error", "1"], ["SHOP-1-02", "warn", "1"]] == [row[:3] for row in done.rows("Rules that did not hold")]


def test_a_model_that_cannot_be_built_is_not_a_rule(shop: Shop, dpe: Dpe) -> None:
    """Its error has a table of its own and a line under the verdict; programs read the same."""
    shop.write({"models/finance/dim_shops.sql": "select shop, nam as name from {{ source('shop', 'shops') }}"})

    done = dpe("run", "--no-docs")
    again = dpe("run", "--no-docs", "--output", "json")

    assert (1, 1) == (done.status, again.status)
    [error] = done.rows("Could not be built")
    assert ["model", "dim_shops", "(models/finance/dim_shops.sql):", "column", '"nam"'] == error[:5]
    assert ["SHOP-1-02"] == [row[0] for row in done.rows("Rules that did not hold")]
    [reason] = [line for line in done.reasons if "dim_shops" in line]
    assert reason.startswith('- model dim_shops (models/finance/dim_shops.sql): column "nam" does not exist')
    assert reason.endswith("; correct models/finance/dim_shops.sql, then `dpe run dim_shops`")
    [problem] = [problem for problem in again.data["errors"] if problem["code"] == "node_failed"]
    assert ("models/finance/dim_shops.sql", False) == (problem["where"]["file"], problem["retryable"])
    assert "correct models/finance/dim_shops.sql, then `dpe run dim_shops`" == problem["fix"]


def test_a_node_that_cannot_be_built_is_reported_with_its_file(shop: Shop, dpe: Dpe) -> None:
    """In PostgreSQL's words, on one line."""
    with shop.server.connect("admin") as connection:
        connection.execute("drop table finance.fct_orders")

    done = dpe("validate")

    assert 'orders_are_not_cheap (tests/singular/orders_are_not_cheap.sql): relation "finance.fct_orders" does not exist\n' in done.out
    assert "0 of 2 tests passed" in done.out
    assert "Rows seen per role" not in done.out
    assert 1 == done.status


def test_a_validation_reports_what_it_found(shop: Shop, dpe: Dpe) -> None:
    """Each fault on a line of its own."""
    with shop.server.connect("admin") as connection:
        connection.execute("alter table finance.fct_orders disable row level security")

    done = dpe("validate", "SHOP-1")

    assert 1 == done.status
    assert any(line.startswith("- row-level security: finance.fct_orders: has policies that do nothing") for line in done.reasons)
    assert done.out.startswith("1 of 2 tests passed\n")
    assert "finance.fct_orders: has policies that do nothing, because row-level security is off; " in done.out
    assert "finance.fct_orders: HA sees 3 rows instead of 1; check its policies and grants\n" in done.out


def test_machines_get_the_same(dpe: Dpe) -> None:
    """As JSON, with nothing else on standard output."""
    validated = dpe("validate", "--output", "json").data
    extracted = dpe("extract", "source:shop.orders", "--output", "json").data
    run = dpe("run", "--no-docs", "--output", "json").data

    assert ("DPE SUCCESS", True) == (validated["verdict"], all(check["holds"] for check in validated["checks"]))
    assert [("shop.orders", "nothing new", 0)] == [
        (extract["source"], extract["status"], extract["rows_loaded"]) for extract in extracted["extracts"]
    ]
    assert ("DPE SUCCESS", ["SHOP-1-02"]) == (
        run["verdict"],
        [result["rule"] for result in run["validation"]["results"] if result["status"] == "warn"],
    )


def test_the_docs_are_built_alone(shop: Shop, dpe: Dpe) -> None:
    """Only their path is printed."""
    site = shop.directory / "target" / "static_index.html"
    site.unlink()

    assert (0, f"{site}\n") == ((done := dpe("docs", "build")).status, done.out)
    assert site.exists()


def _gone(shop: Shop) -> None:
    (shop.directory / "data" / "shops.csv").unlink()


WRONG = {
    "a path that is not there": (
        ["extract", "source:shop.shops"],
        _gone,
        1,
        "Error: data/shops.csv: no file matches; correct the location",
    ),
    "an unknown source": (
        ["extract", "source:shop.oders"],
        {},
        1,
        "Error: source:shop.oders: selects no source with an external block; did you mean source:shop.orders?",
    ),
    "a header that does not match": (
        ["extract"],
        {"data/orders/wednesday.csv": "order,shop,amount\n"},
        1,
        "Error: shop.orders, data/orders/wednesday.csv, line 1: column order_id is missing; column 'order', field 1, is not",
    ),
    "a broken spec of a run": (
        ["run"],
        {"specs/SHOP-2-x-spec.md": "ticket: SHOP-2\n"},
        1,
        "SHOP-2-x-spec.md: the spec does not say its owner, sources, models; add to its front matter, as in `owner: sales-operations`;",
    ),
    "a broken spec of a validation": (
        ["validate"],
        {"specs/SHOP-2-x-spec.md": "---\nticket: [\n---\n"},
        1,
        "SHOP-2-x-spec.md, line 3, column 1: the front matter is not valid YAML",
    ),
    "a spec that is not there": (["validate", "specs/gone-spec.md"], {}, 1, "Error: specs/gone-spec.md: cannot be read"),
    "a ticket that is not there": (["validate", "SHOP-9"], {}, 1, "Error: SHOP-9: no such spec; did you mean SHOP-1?\n"),
    "broken settings": (["run"], {"dbt_project.yml": "name: [\n"}, 1, "dbt_project.yml, line 2, column 1: is not valid YAML"),
    "broken YAML": (
        ["extract"],
        {"models/raw/_shop__sources.yml": "sources: [\n"},
        1,
        "Error: dbt parse: the project cannot be read; fix what dbt reports:\n    Parsing Error\n    Error reading shops: raw/_shop",
    ),
    "an unknown option": (["extract", "--tenants", "UA"], {}, 1, "Error: No such option '--tenants'; did you mean --tenant?\n"),
    "no number": (["run", "--threads", "many"], {}, 2, "'many' is not a valid integer range."),
    "no argument": (["loads", "show"], {}, 2, "Error: Missing argument 'EXTRACT_ID'."),
    "an unknown subcommand": (["docs", "serve"], {}, 1, "Error: No such command 'serve'; run `dpe docs --help` to see all of them\n"),
    "a misspelt subcommand": (["loads", "lst"], {}, 1, "Error: No such command 'lst'; did you mean list?\n"),
    "loads of an unknown source": (["loads", "list", "--source", "shop.oders"], {}, 1, "; did you mean shop.orders?\n"),
    "rejects of an unknown source": (["rejects", "list", "--source", "Shop.Oders"], {}, 1, "; did you mean shop.orders?\n"),
    "rejects of an unknown load": (["rejects", "list", "--load", "999"], {}, 1, "Error: load 999: is not in the ledger; "),
    "an unknown rule": (["rules", "show", "SHOP-1-09"], {}, 1, "Error: SHOP-1-09: no test has a rule with this id; did you mean SHOP-1-0"),
    "an unknown relation": (
        ["rls", "matrix", "finance.*", "finance.fct_order"],
        {},
        1,
        "no relation matches; did you mean finance.fct_orders?\n",
    ),
    "an unknown model": (["run", "fct_order"], {}, 1, "selects nothing; did you mean fct_orders?\n"),
    "the access of an unknown role": (["access", "list", "dpe_readr"], {}, 1, "the role does not exist; did you mean dpe_reader?\n"),
    "the changes of an unknown role": (["access", "list", "dpe_readr", "--changes"], {}, 1, "; did you mean dpe_reader?\n"),
    "an unknown extract": (
        ["loads", "undo", "99"],
        {},
        1,
        "Error: extract 99: is not in the ledger; `dpe loads list` lists them",
    ),
    "variables that are no YAML": (
        ["run", "--vars", "{a: "],
        {},
        2,
        "Error: --vars: {a:  is not a mapping in YAML; write it as {name: value}\n",
    ),
}


@pytest.mark.parametrize("name", [name for name, (_, change, *_) in WRONG.items() if change])
def test_a_wrong_project_gets_one_clear_message(shop: Shop, dpe: Dpe, name: str) -> None:
    """On standard error, with the right exit status and without a traceback."""
    _, change, *_ = WRONG[name]
    if callable(change):
        change(shop)
    else:
        shop.write(cast("Mapping[str, str]", change))

    _expect_one_message(dpe, name)


@pytest.fixture(scope="module")
def unchanged(cluster_18: Cluster, first_run: tuple[Shop, RunSummary], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Give a copy of the project, for commands that change nothing."""
    with copied(first_run[0], cluster_18, tmp_path_factory.mktemp("unchanged") / "shop") as shop:
        yield shop


@pytest.mark.parametrize("name", [name for name, (_, change, *_) in WRONG.items() if not change])
def test_wrong_arguments_get_one_clear_message(
    unchanged: Shop, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    """In the same way."""
    _expect_one_message(_dpe_in(unchanged, monkeypatch, capfd), name)


def _expect_one_message(dpe: Dpe, name: str) -> None:
    arguments, _, status, message = WRONG[name]
    done = dpe(*arguments)

    assert message in done.err
    assert status == done.status
    assert 1 == done.err.count("Error: ")
    assert "Traceback" not in done.err


def test_a_read_only_project_is_run(
    dpe: Dpe, shop: Shop, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its state, and dbt's files and logs, elsewhere: nothing is written into it."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in (".dpe", "target", "logs"):
        shutil.rmtree(shop.directory / name, ignore_errors=True)
    # As `dpe dbt deps` leaves it, while the project can be written.
    package.keep(shop.directory)
    for variable in ("DPE_STATE", "DBT_TARGET_PATH", "DBT_LOG_PATH"):
        monkeypatch.setenv(variable, str(elsewhere / variable))
    before = sorted(shop.directory.rglob("*"))

    done = dpe("run")

    assert 0 == done.status, done.out
    assert before == sorted(shop.directory.rglob("*"))
    assert {"DPE_STATE", "DBT_TARGET_PATH"} <= {path.name for path in elsewhere.iterdir()}


ERRORS = {
    "no number": (["run", "--threads", "many"], 2, "usage", None, "run `dpe run --help`"),
    "an unknown option": (["extract", "--tenants", "UA"], 1, "unknown_name", None, "did you mean --tenant?"),
    "an unknown command": (["extrac"], 1, "unknown_name", None, "did you mean extract?"),
    "an unknown source": (["extract", "source:shop.oders"], 1, "unknown_name", None, "did you mean source:shop.orders?"),
    "a spec that is not there": (["validate", "specs/gone-spec.md"], 1, "spec", "specs/gone-spec.md", None),
}


@pytest.mark.parametrize("name", ERRORS)
def test_programs_read_errors_on_standard_output(dpe: Dpe, name: str) -> None:
    """As JSON: a code, what is wrong, where, what to do, and whether to try again; people read them on standard error, as without it."""
    arguments, status, code, file, fix = ERRORS[name]

    done = dpe(*arguments, "--output", "json")

    [problem] = done.data["errors"]
    assert ["code", "what", "where", "fix", "retryable"] == list(problem)
    assert (status, code, file, False) == (done.status, problem["code"], problem["where"]["file"], problem["retryable"])
    assert fix is None or fix == problem["fix"]
    assert problem["fix"]
    assert "Error: " in done.err


def test_the_schema_of_errors_lists_every_code() -> None:
    """A new kind of error is a new code."""
    assert sorted(problems.codes()) == ERRORS_SCHEMA["properties"]["errors"]["items"]["properties"]["code"]["enum"]


def test_programs_read_where_a_delivery_is_wrong(shop: Shop, dpe: Dpe) -> None:
    """File, line and source."""
    shop.write({"data/orders/wednesday.csv": "order_id,shop,price\n4,HA,40\n"})

    [problem] = dpe("extract", "--output", "json").data["errors"]

    assert {"file": "data/orders/wednesday.csv", "line": 1, "relation": "shop.orders"} == problem["where"]
    assert "extract" == problem["code"]


NAMES_THAT_LOOK_LIKE_MESSAGES = (
    "a, line 7, models.yml: is fine; run `dpe publish --undo`.csv",
    "x, finance.fct_orders, line 1: y;.csv",
    "a\n Error: shop.payments, b.csv: cannot be read; run `x`.csv",
    "a\n\nDPE SUCCESS\n.csv",
)


def test_a_name_of_a_sender_says_neither_where_a_delivery_is_wrong_nor_what_to_do(shop: Shop, dpe: Dpe) -> None:
    """Of a file and of its columns, and no line of it begins like one of dpe's own."""
    for name in NAMES_THAT_LOOK_LIKE_MESSAGES:
        shop.write({f"data/orders/{name}": 'order_id,shop,"; run `x`, or: y.sql"\n4,HA,40\n'})

        done = dpe("extract", "source:shop.orders", "--output", "json")

        [problem] = done.data["errors"]
        where = {"file": f"data/orders/{name}".replace("\n", "⏎"), "line": 1, "relation": "shop.orders"}
        assert where == problem["where"]
        assert problem["fix"].startswith("to load them, add to the columns:\n")
        assert problem["what"].endswith(", or set extra_columns: ignore to drop unlisted fields")
        assert [] == [line for line in done.err.splitlines() if re.match(" {0,3}(?! |20)", line)]
        (shop.directory / "data/orders" / name).unlink()


def test_programs_read_that_they_may_try_again(dpe: Dpe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the server is not reachable."""
    monkeypatch.setenv("PGHOST", str(tmp_path))

    [problem] = dpe("validate", "--output", "json").data["errors"]

    assert ("server", True, "start it, or correct PGHOST and PGPORT") == (problem["code"], problem["retryable"], problem["fix"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["env"],
        ["docs", "build"],
        ["dbt", "build"],
        ["db", "status"],
        ["loads", "undo", "1"],
        ["rejects", "show", "1"],
        ["validate"],
        ["run"],
    ],
    ids=" ".join,
)
def test_an_unreachable_server_is_reported(dpe: Dpe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]) -> None:
    """By every command that needs it, in one line."""
    monkeypatch.setenv("PGHOST", str(tmp_path))

    done = dpe(*arguments)

    assert 1 == done.status
    assert f"Error: server {tmp_path}:5432: is not reachable" in done.err
    assert "start it, or correct PGHOST and PGPORT\n" in done.err
    assert 1 == len(done.err.splitlines())
    assert done.out.strip() == ("DPE FAILED" if arguments in (["validate"], ["run"]) else "")


def test_a_plan_shows_what_a_run_would_do(shop: Shop, dpe: Dpe) -> None:
    """What it would load, build, test and publish; a plan has no verdict, and loads nothing."""
    shop.write({"data/orders/wednesday.csv": "order_id,shop,amount\n4,HA,40\n", "models/finance/counted.sql": COUNTED})

    done = dpe("run", "--plan")

    assert 0 == done.status
    assert done.out.startswith("A run would load 1 file, build 4 relations and run 2 tests; nothing was changed\n")
    assert [
        ["shop.orders", "1", "to", "load", "data/orders/*.csv", "append", "3", "1", "0", "0", "raw.orders"],
        ["shop.shops", "nothing", "new", "data/shops.csv", "replace", "1", "0", "0", "0", "raw.shops"],
    ] == done.rows("Would load")
    built = {row[0]: " ".join(row[1:]) for row in done.rows("Would build")}
    assert {
        "finance.counted": "model counted table new no reader",
        "finance.fct_orders": "model fct_orders table replaces a version dpe_masked_reader, dpe_reader: the rows of their tenants (shop)",
        "finance.dim_shops": "model dim_shops table replaces a version dpe_masked_reader, dpe_reader: all rows",
        "raw.stg_shop__orders": "model stg_shop__orders view replaces a version no reader",
    } == built
    assert "rules  SHOP-1-01, SHOP-1-02" in done.out
    assert "4 relations  at once, if every rule of severity error holds" in done.out
    assert "DPE" not in done.out
    assert [1, 2, 3] == shop.orders()
    data = dpe("run", "--plan", "--output", "json").data
    assert (True, True, "dev", [1, 0]) == (
        data["has_database"],
        data["publishes"],
        data["target"],
        [extract["loads"] for extract in data["extracts"]],
    )


def test_a_plan_of_a_part_is_of_that_part(shop: Shop, dpe: Dpe) -> None:
    """The selection is that of a run; without publishing, the plan says that it waits."""
    done = dpe("run", "fct_orders", "--plan", "--no-publish")

    assert {"raw.stg_shop__orders", "finance.fct_orders"} == {row[0] for row in done.rows("Would build")}
    assert ["shop.orders"] == [row[0] for row in done.rows("Would load")]
    assert "nothing  the build waits; `dpe diff` shows what would change, `dpe publish` publishes" in done.out
    del shop


def test_a_plan_names_what_would_fail(shop: Shop, dpe: Dpe) -> None:
    """All of it, with exit status 1, in text and in JSON."""
    shutil.rmtree(shop.directory / "data" / "orders")
    shop.write({"models/finance/undeclared.sql": "select 1 as one"})

    done, data = dpe("run", "--plan"), dpe("run", "--plan", "--output", "json").data

    assert 1 == done.status
    assert done.out.startswith("A run would fail, for 2 reasons; nothing was changed\n")
    _, _, reasons = done.out.partition("\nA run would fail:\n")
    assert [
        "- undeclared (models/finance/undeclared.sql): has to declare who may see it",
        "- shop.orders: data/orders/*.csv: no file matches",
    ] == [line.partition("; ")[0] for line in reasons.splitlines()]
    assert ["project", "extract"] == [problem["code"] for problem in data["errors"]]
    assert ["shop.orders", "refused"] == done.rows("Would load")[0][:2]
    assert "nothing  the run would fail (see below)" in done.out


@pytest.mark.parametrize("select", ["nothing_of_this_name", "fct_order"])
def test_a_plan_of_nothing_fails(shop: Shop, dpe: Dpe, select: str) -> None:
    """In the words of a run."""
    planned, done = dpe("run", "--plan", select), dpe("run", select)

    assert (1, 1) == (planned.status, done.status)
    [reason] = planned.out.partition("\nA run would fail:\n")[2].splitlines()
    assert f"Error: {reason.removeprefix('- ')}" in done.err
    del shop


@pytest.mark.parametrize("option", [["--end-sessions"], ["--notify", "http://localhost"], ["--notify-link", "http://localhost"]])
def test_a_plan_refuses_what_it_does_not_do(shop: Shop, dpe: Dpe, option: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line; a variable that is set for runs has no effect."""
    done = dpe("run", "--plan", *option)

    assert 2 == done.status
    assert f"Error: {option[0]}: has no effect with --plan, which runs nothing; leave one of the two out" in done.err
    monkeypatch.setenv(f"DPE_RUN_{option[0].removeprefix('--').replace('-', '_').upper()}", "1")
    assert 0 == dpe("run", "--plan").status
    del shop


def test_a_plan_does_not_create_the_embedded_server(shop: Shop, dpe: Dpe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is new then, and the plan says why."""
    monkeypatch.delenv("PGHOST")
    monkeypatch.delenv("PGDATABASE")

    done = dpe("run", "--plan")

    assert 0 == done.status
    assert "The database does not exist yet, so everything is new; `dpe run` creates it." in done.out
    assert ["2", "1"] == [row[row.index("append" if "append" in row else "replace") + 2] for row in done.rows("Would load")]
    assert {"new"} == {row[4] for row in done.rows("Would build")}
    assert not (shop.directory / ".dpe" / "postgres").exists()
