"""`dpe init` writes a project that runs immediately: with a small pipeline, or with the user's own data."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
import yaml
from support import dbt_projects, demo_project, guides
from support.dbt_projects import Silence

from dpe_cli.cli import main
from dpe_cli.errors import ProjectError
from dpe_cli.init import templates
from dpe_cli.pipeline import run, spec_gate
from dpe_cli.pipeline.options import RunOptions
from dpe_cli.pipeline.run import RunSummary
from dpe_cli.project.project import Project
from dpe_cli.safe_text.visible_text import has_hidden
from dpe_cli.server.programs import wheel_programs
from dpe_cli.server.server import Server

SALES = "Order ID,region,when,amount,select\n1,north,2026-01-02,3.5,a\n2,south,2026-01-03,4,b\n3,north,2026-01-04,1.25,c\n"
OPEN = "Who may see which rows? Answer in models/marts/_marts__models.yml, then run it: cd"


def _init(*arguments: str | Path) -> int:
    return main.run(["init", *map(str, arguments)])


def _deliver(directory: Path) -> None:
    (directory / "erp").mkdir()
    (directory / "erp/sales.csv").write_text(SALES)


def _run(directory: Path, server: Server) -> RunSummary:
    if not (directory / "dbt_packages").exists():
        dbt_projects.install_package(directory)
    of_project = replace(server, project=directory.name, target="dev")
    return run.run(Project(directory), of_project, (), (), Silence(), RunOptions(documents=False))


def test_the_readme_is_true(scratch: Path) -> None:
    """Its commands print what it says, on the embedded server; those of the new project's README show a branch its orders."""
    directory = scratch / "anna"
    directory.mkdir()
    text = (demo_project.REPOSITORY / "README.md").read_text(encoding="utf-8")
    said = [block.rstrip() for block in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]
    steps = re.split(r"^\$ ", "\n".join(said), flags=re.MULTILINE)[1:]
    commands = [step.partition("\n")[0] for step in steps]
    script = "\n".join(part for command in commands for part in (f"echo {shlex.quote(f'$ {command}')}", command))
    try:
        ran = guides.run(script, directory, programs=wheel_programs(), variables={})
        assert 0 == ran.returncode, ran.stderr
        assert _as_said("\n".join(said)) == _as_said(ran.stdout.replace(str(directory), "/home/anna"))

        shown = guides.run(
            guides.commands(directory / "shop/README.md", "See it as a reader"), directory / "shop", programs=wheel_programs(), variables={}
        )
        assert 0 == shown.returncode, shown.stderr
        assert "(3 rows)" in shown.stdout
        assert ("south" in shown.stdout.rpartition("order_id")[2], "cocoa" in shown.stdout) == (False, True)
    finally:
        guides.run("dpe db stop", directory / "shop", programs=wheel_programs(), variables={})


def test_the_spec_of_the_sample_is_clear(tmp_path: Path) -> None:
    """It is the first spec that a new user reads; and its rule and readers are those of the model."""
    directory = tmp_path / "shop"
    assert 0 == _init(directory)

    [verdict], _ = spec_gate.check(Project(directory), [directory / "specs" / "SHOP-1-orders-spec.md"], Silence())

    assert [] == [finding.what for finding in verdict.findings]
    assert [("shop.orders", 6)] == [(source.source, source.records) for source in verdict.inspected]


def _as_said(text: str) -> str:
    """Return the output of commands without what differs from run to run: times, and spaces at the end of lines."""
    return re.sub(r" +$", "", re.sub(r"\d+\.\d( s)?$", r"0.0\1", text, flags=re.MULTILINE), flags=re.MULTILINE).strip()


def test_the_users_own_data_is_published_per_tenant_after_one_answer(server: Server, tmp_path: Path) -> None:
    """Whatever the columns are called; staging has the tenant, too."""
    _deliver(tmp_path)
    assert 0 == _init(tmp_path / "mine", "--from", tmp_path / "erp/sales.csv", "--name", "mine", "--rls", "region")

    summary = _run(tmp_path / "mine", server)

    assert summary.holds, summary
    assert summary.validation is not None
    seen = {visible.who: visible.rows for visible in summary.validation.visibility}
    assert {"north": 2, "south": 1, "a stranger": 0, "its owner, no context": 0} == seen
    with server.connect("admin") as connection:
        connection.execute("insert into dpe.tenant_access (role_name, tenant_id) values ('dpe_reader', 'south')")
        connection.commit()
        connection.execute("set local role dpe_reader")
        assert [(2, "b")] == connection.execute('select "Order ID", "select" from mine_marts.sales').fetchall()


CUSTOMERS = """
  - name: dim_customers
    config:
      meta: {rls: {tenant_column: branch}}
    columns:
      - {name: customer_id, data_type: integer}
      - {name: branch, data_type: text}
"""
NAMED = {
    "orders.csv": "orders.orders",
    "erp/sales.csv": "sales.sales",
    "data/2026/customers-2026-01.csv": "customers.customers",
    "landing/returns/*.csv": "returns.returns",
    "2026.csv": "records.records",
}


@pytest.mark.parametrize("location", NAMED)
def test_a_source_has_the_name_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    """Not that of a directory, which may be somebody's home; that of files with a pattern is their directory's."""
    path = tmp_path / location.replace("*", "january")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SALES)
    monkeypatch.chdir(tmp_path)

    assert 0 == _init("mine", "--from", location)

    source, table = NAMED[location].split(".")
    [document] = [yaml.safe_load(path.read_text()) for path in (tmp_path / "mine/models/staging" / source).glob("*__sources.yml")]
    assert [(source, [table])] == [(found["name"], [one["name"] for one in found["tables"]]) for found in document["sources"]]
    assert (tmp_path / f"mine/models/staging/{source}/stg_{source}__{table}.sql").exists()


def test_another_source_of_that_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With where it is declared, and how to name the new one."""
    (tmp_path / "orders.csv").write_text(SALES)
    monkeypatch.chdir(tmp_path)
    assert 0 == _init("mine", "--from", "orders.csv")

    assert 1 == main.run(["source", "infer", "orders.csv", "--name", "orders.orders", "--write", "--project-dir", "mine"])

    where = "is already declared in models/staging/orders/_orders__sources.yml; give another name with --name"
    assert f"orders.orders: {where}" in capsys.readouterr().err


def test_without_an_answer_nothing_is_published(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The question stays open: in the output, in the file to answer it in, and when the project is run."""
    _deliver(tmp_path)
    assert 0 == _init(tmp_path / "mine", "--from", tmp_path / "erp/sales.csv", "--name", "mine")
    assert OPEN in capsys.readouterr().out

    with pytest.raises(ProjectError, match=r"sales \(models/marts/sales.sql\): has to declare who may see it"):
        _run(tmp_path / "mine", server)

    path = tmp_path / "mine/models/marts/_marts__models.yml"
    text = path.read_text()
    assert "#   meta: {rls: {tenant_column: region}}" in text
    path.write_text(text.replace("meta: {rls: required}", "meta: {rls: {tenant_column: region}}"))
    assert _run(tmp_path / "mine", server).holds


# What a sender may write into the name of a column: more YAML, more SQL, codes for a terminal, the end of a block.
HOSTILE = [
    "x\n      post-hook: alter role dpe_transformer password 'p' #",
    """id" is '';alter user current_user password'p';--""",
    "\x1b]0;owned\x07\x1b[2Jb",
    "a\u2028b",
    "a\x85b",
]


def _csv(path: Path, names: Sequence[str]) -> str:
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([names, ["HA"] * len(names), ["HB"] * len(names)])
    return str(path.with_suffix(".csv"))


def _sqlite(path: Path, names: Sequence[str]) -> str:
    with sqlite3.connect(path) as connection:
        columns = ", ".join('"' + name.replace('"', '""') + '" text' for name in names)
        connection.execute(f"create table orders ({columns})")
        connection.execute(f"insert into orders values ({', '.join('?' * len(names))})", ["HA"] * len(names))
    return f"sqlite:///{path}"


def _parquet(path: Path, names: Sequence[str]) -> str:
    columns = ", ".join(f"'HA' as \"{name.replace(chr(34), chr(34) * 2)}\"" for name in names)
    duckdb.sql(f"copy (select {columns}) to '{path}.parquet' (format parquet)")
    return f"{path}.parquet"


SENDERS: dict[str, Callable[[Path, Sequence[str]], str]] = {"csv": _csv, "sqlite": _sqlite, "parquet": _parquet}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("sender", SENDERS)
def test_the_name_of_a_column_is_nothing_more(tmp_path: Path, sender: str, name: str) -> None:
    """No YAML, no hook, no SQL of dbt's: a column that could become more is left out, and the note says so; others are written in codes."""
    location = SENDERS[sender](tmp_path / "orders", ["shop", name])
    table = ("--table", "orders") if sender == "sqlite" else ()

    assert 0 == _init(tmp_path / "mine", "--from", location, "--name", "mine", *table)

    texts = {path: path.read_text() for path in (tmp_path / "mine/models").rglob("*.*")}
    [marts] = [yaml.safe_load(text) for path, text in texts.items() if path.name == "_marts__models.yml"]
    [model] = marts["models"]
    assert {"meta": {"rls": "required"}} == model["config"]
    is_left_out = '"' in name or "\n" in name
    assert ["shop", *([] if is_left_out else [name])] == [column["name"] for column in model["columns"]]
    assert [] == [path.name for path, text in texts.items() if has_hidden(text) and path.suffix == ".yml"]
    [sources] = [text for path, text in texts.items() if path.name.endswith("__sources.yml")]
    assert is_left_out == ("left out, because PostgreSQL, dpe or dbt does not allow such column names" in sources)


def test_the_question_shows_no_hidden_character(tmp_path: Path) -> None:
    """It is asked in a terminal, which would obey it."""
    _csv(tmp_path / "orders", ["shop", HOSTILE[2]])
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "dpe_cli", "init", "mine", "--from", "orders.csv"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        os.write(terminal, b"shop\n")
        shown = b""
        with suppress(OSError):
            while part := os.read(terminal, 4096):
                shown += part
    os.close(terminal)

    assert 0 == process.returncode, shown
    assert b"Who may see which rows of " in shown
    assert b"\x1b]0;" not in shown
    assert "{rls: {tenant_column: shop}}" in (tmp_path / "mine/models/marts/_marts__models.yml").read_text()


ANSWERS = {
    "regio": "regio: is not a column of sales.sales that could say whose row it is; did you mean region? or answer shared or private",
    "amount": "amount: is not a column of sales.sales that could say whose row it is; these could: region, select; or answer shared or private",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_names_no_tenants_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], answer: str) -> None:
    """Before anything is written."""
    _deliver(tmp_path)

    assert 2 == _init(tmp_path / "mine", "--from", tmp_path / "erp/sales.csv", "--rls", answer)

    assert ANSWERS[answer] in capsys.readouterr().err
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(("option", "value"), [("--rls", "region"), ("--table", "sales")])
def test_an_option_for_own_data_needs_some(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    """It would mean nothing without."""
    assert 2 == _init(tmp_path / "shop", option, value)
    assert f"{option}: is about your own data; name it with --from" in capsys.readouterr().err


READMES = {"region": "a value of `region`", "shared": "Every reader sees all rows", "private": "No reader sees the table"}


@pytest.mark.parametrize("answer", READMES)
def test_the_readme_says_how_to_see_the_table_as_a_reader(tmp_path: Path, answer: str) -> None:
    """According to the answer."""
    _deliver(tmp_path)
    assert 0 == _init(tmp_path / "mine", "--from", tmp_path / "erp/sales.csv", "--rls", answer)

    text = (tmp_path / "mine/README.md").read_text()
    assert [answer] == [other for other, words in READMES.items() if words in text]


def test_nothing_that_exists_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory with anything in it is refused, but for a new repository's own."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/README.md").write_text("mine")

    assert 2 == _init(tmp_path / "shop")

    assert "is not empty (README.md); name a new directory" in capsys.readouterr().err
    assert ["README.md"] == [path.name for path in (tmp_path / "shop").iterdir()]
    (tmp_path / "shop/README.md").unlink()
    (tmp_path / "shop/.git").mkdir()
    assert 0 == _init(tmp_path / "shop")


NAMES = {
    "dpe": "cannot derive a project name from it; give one with --name",
    "2024": "cannot derive a project name from it",
    "x" * 60: "cannot derive a project name from it",
}


@pytest.mark.parametrize("directory", NAMES)
def test_a_directory_whose_name_dbt_cannot_use_needs_another(tmp_path: Path, capsys: pytest.CaptureFixture[str], directory: str) -> None:
    """dbt refuses the names of packages, and schemas are named after the project."""
    assert 2 == _init(tmp_path / directory)
    assert NAMES[directory] in capsys.readouterr().err
    assert 0 == _init(tmp_path / directory, "--name", "shop")
    assert "shop" == yaml.safe_load((tmp_path / directory / "dbt_project.yml").read_text())["name"]


@pytest.mark.parametrize("name", ["Shop", "a-b", "dbt", "x" * 60])
def test_a_name_that_dbt_cannot_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """With what is wrong; nothing is written."""
    assert 2 == _init(tmp_path / "shop", "--name", name)
    assert f"--name: {name} " in capsys.readouterr().err
    assert not (tmp_path / "shop").exists()


def test_containers_are_added_on_request(tmp_path: Path) -> None:
    """A Dockerfile and a Compose file, whose passwords come from the environment."""
    assert 0 == _init(tmp_path / "shop", "--docker")

    services = yaml.safe_load((tmp_path / "shop/compose.yml").read_text())["services"]
    assert {"database", "bootstrap", "pipeline"} == services.keys()
    passwords = {value for service in services.values() for name, value in service["environment"].items() if "PASSWORD" in name}
    assert all(value.startswith("${") for value in passwords)
    assert "POSTGRES_PASSWORD" in (tmp_path / "shop/.env.example").read_text()
    assert "FROM python:" in (tmp_path / "shop/Dockerfile").read_text()


def test_the_compose_file_names_only_what_exists(tmp_path: Path) -> None:
    """Its services, their volumes, the variables of .env.example, the project's database, and no key that Compose does not know."""
    assert 0 == _init(tmp_path / "shop", "--docker")

    document = yaml.safe_load((tmp_path / "shop/compose.yml").read_text())
    services = document["services"]
    known = {"image", "build", "profiles", "command", "depends_on", "environment", "volumes", "healthcheck"}
    assert {"services", "volumes"} == document.keys()
    assert known >= {key for service in services.values() for key in service}
    assert {"database"} == {name for service in services.values() for name in service.get("depends_on", {})}
    assert [*document["volumes"]] == [volume.partition(":")[0] for volume in services["database"]["volumes"]]
    assert {"database"} == {service["environment"].get("PGHOST", "database") for service in services.values()}
    assert {"shop"} == {
        value for service in services.values() for name, value in service["environment"].items() if name in {"PGDATABASE", "POSTGRES_DB"}
    }
    wanted = set(re.findall(r"\$\{(\w+)", (tmp_path / "shop/compose.yml").read_text()))
    assert wanted <= set(re.findall(r"^#(\w+)=", (tmp_path / "shop/.env.example").read_text(), re.MULTILINE))
    assert ".env" in (tmp_path / "shop/.dockerignore").read_text().splitlines()


def test_the_next_table_is_added_as_the_guide_says(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source by the guide's command, a staging model, a mart with its declaration and its types; and a run of it alone."""
    guide = (demo_project.REPOSITORY / "docs/start/your-own-project.md").read_text(encoding="utf-8")
    section = guide.partition("\n## The next table\n")[2].partition("\n## ")[0]
    [command] = re.findall(r"^dpe (source infer .*)$", section, re.MULTILINE)
    assert "`dpe run dim_customers`" in section
    directory = tmp_path / "shop"
    assert 0 == _init(directory)
    (directory / "customers.csv").write_text("customer_id,branch\n1,north\n2,south\n3,north\n")
    monkeypatch.chdir(directory)
    assert 0 == main.run(shlex.split(command))
    models = directory / "models"
    staging = "select customer_id, branch from {{ source('shop', 'customers') }}\n"
    (models / "staging/shop/stg_shop__customers.sql").write_text(staging)
    (models / "marts/dim_customers.sql").write_text("select customer_id, branch from {{ ref('stg_shop__customers') }}\n")
    with (models / "marts/_marts__models.yml").open("a") as file:
        file.write(CUSTOMERS)
    dbt_projects.install_package(directory)
    of_project = replace(server, project="shop", target="dev")

    summary = run.run(Project(directory), of_project, ["dim_customers"], (), Silence(), RunOptions(documents=False))

    assert summary.holds, summary
    assert summary.validation is not None
    assert {"north": 2, "south": 1, "a stranger": 0, "its owner, no context": 0} == {
        visible.who: visible.rows for visible in summary.validation.visibility
    }


def test_what_was_written_is_told_to_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All files, and they are there."""
    assert 0 == main.run(["--output", "json", "init", str(tmp_path / "shop")])

    told = json.loads(capsys.readouterr().out)
    assert ("shop", None) == (told["project"], told["rls"])
    found = {str(path.relative_to(tmp_path / "shop")) for path in (tmp_path / "shop").rglob("*") if path.is_file()}
    assert found == set(told["files"])


@pytest.mark.parametrize(
    "path", [".github/workflows/dpe.yml", ".gitlab-ci.yml", ".pre-commit-config.yaml", "dbt_project.yml", "profiles.yml"]
)
def test_settings_are_valid_yaml(path: str) -> None:
    """Of the tools that read them."""
    assert yaml.safe_load(templates.render(("project",), {"name": "shop", "version": "1", "with_docker": False})[path])
