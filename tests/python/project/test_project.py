from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from support import dbt_projects

from dpe_cli.blocks.contract import Column
from dpe_cli.errors import ProjectError, UsageError
from dpe_cli.project import dbt
from dpe_cli.project.project import Project
from dpe_cli.project.source import from_node
from dpe_cli.project.source_yaml import Declarations
from dpe_cli.quality.coverage import rule_tests
from dpe_cli.sources.options.base import Rejects
from dpe_cli.sources.options.files import CsvFiles

PROJECT = {
    "models/staging/_shop__sources.yml": """
        sources:
          - name: other
            schema: staging
            tables: [{name: orders, columns: [{name: id}]}]
          - name: shop
            schema: staging
            config: {meta: {spec: DPE-7}}
            tables:
              - name: orders
                identifier: raw_orders
                description: Orders, a file a day.
                external:
                  location: "{{ env_var('SHOP_DATA', 'data') }}/*.csv"
                  file_format: csv
                  disposition: append
                  delimiter: ";"
                  quote: "'"
                  escape: "\\\\"
                  null_string: "NA"
                  header: false
                  encoding: latin-1
                  compression: gz
                  extra_columns: ignore
                  max_record_bytes: 1000
                  rejects: {max_rows: 100, max_ratio: 0.01}
                config: {meta: {rls: {tenant_column: shop}}, tags: [daily]}
                columns:
                  - {name: order_id, data_type: bigint, description: The shop's number.}
                  - {name: shop, data_type: text}
              - name: shops
                external: {location: shops.csv, file_format: csv, disposition: replace}
                columns: [{name: shop, data_type: text}]
          - name: weather
            schema: staging
            tables:
              - name: hours
                external: {location: weather.csv, file_format: csv, disposition: append}
                columns: [{name: hour, data_type: timestamptz}]
        """,
    "models/staging/stg_orders.sql": "select order_id, shop from {{ source('shop', 'orders') }}",
    "models/marts/fct_orders.sql": "select order_id, shop from {{ ref('stg_orders') }}",
    "models/marts/fct_nothing.sql": "select 1 as order_id",
    "models/marts/_marts__models.yml": """
        models:
          - name: fct_orders
            config: {meta: {rls: {tenant_column: shop}}}
            columns:
              - name: order_id
                data_type: bigint
                data_tests:
                  - not_null
                  - unique:
                      name: orders_are_unique
                      config:
                        severity: warn
                        meta: {rule: DPE-7-01, dimension: uniqueness, owner: sales, because: an order is paid once}
              - {name: shop, data_type: text}
          - name: fct_nothing
            config: {meta: {rls: {private: true}}}
            columns: [{name: order_id, data_type: integer}]
        """,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Write the project; dbt parses it once."""
    return Project(dbt_projects.make(tmp_path_factory.mktemp("project"), PROJECT))


def test_a_source_matches_its_yaml(project: Project) -> None:
    """With every option of its external block, and its place; a table without a block is not dpe's."""
    orders = project.sources["shop.orders"]

    assert ["shop.orders", "shop.shops", "weather.hours"] == list(project.sources)
    assert ("source.dpe.shop.orders", "DPE-7") == (orders.unique_id, orders.spec)
    assert ("staging", "raw_orders", "shop", "Orders, a file a day.") == (
        orders.table.schema,
        orders.table.name,
        orders.table.tenant_column,
        orders.table.description,
    )
    assert (Column("order_id", "bigint", "The shop's number."), Column("shop", "text")) == orders.table.columns
    assert "models/staging/_shop__sources.yml:9" == orders.table.declared_at
    assert (
        CsvFiles(
            location="data/*.csv",
            file_format="csv",
            disposition="append",
            delimiter=";",
            quote="'",
            escape="\\",
            null_string="NA",
            header=False,
            encoding="iso8859-1",
            compression="gz",
            extra_columns="ignore",
            max_record_bytes=1000,
            rejects=Rejects(max_rows=100, max_ratio=0.01),
        )
        == orders.external
    )


def test_omitted_options_have_defaults(project: Project) -> None:
    """A source without tenants, and without any rejects."""
    hours = project.sources["weather.hours"]

    assert CsvFiles(location="weather.csv", file_format="csv", disposition="append") == hours.external
    assert (None, None) == (hours.table.tenant_column, hours.spec)
    assert Rejects() == hours.external.rejects


def test_models_and_rules_are_known(project: Project) -> None:
    """Models with their declaration of readers; rules with the test that implements each."""
    assert ("marts", ("shop",), True) == (
        project.models["fct_orders"].schema,
        project.models["fct_orders"].tenant_columns,
        project.models["fct_orders"].is_published,
    )
    assert {"stg_orders": False, "fct_nothing": False} == {
        name: project.models[name].is_published for name in ("stg_orders", "fct_nothing")
    }
    (rule,) = rule_tests(project.manifest)
    assert ("DPE-7-01", "orders_are_unique", "uniqueness", "sales", "an order is paid once") == (
        rule.rule_id,
        rule.test,
        rule.dimension,
        rule.owner,
        rule.because,
    )
    assert (2, 5) == (project.test_count, project.node_count)


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ([], ["shop.orders", "shop.shops", "weather.hours"]),
        (["source:shop"], ["shop.orders", "shop.shops"]),
        (["source:shop.orders"], ["shop.orders"]),
        (["source:shop.*"], ["shop.orders", "shop.shops"]),
        (["source:*.?ours"], ["weather.hours"]),
        (["source:w*"], ["weather.hours"]),
        (["source:weather source:shop.shops"], ["shop.shops", "weather.hours"]),
        (["source:weather", "source:shop.shops"], ["shop.shops", "weather.hours"]),
    ],
)
def test_sources_are_selected_without_asking_dbt(
    project: Project, monkeypatch: pytest.MonkeyPatch, select: Sequence[str], names: list[str]
) -> None:
    """By name, with dbt's wildcards, at once."""
    assert project.sources
    monkeypatch.setattr(dbt, "invoke", None)

    assert names == [source.name for source in project.select_sources(select)]


@pytest.mark.parametrize(
    ("select", "exclude", "names"),
    [
        (["+fct_orders", "source:weather"], [], ["shop.orders", "weather.hours"]),
        (["tag:daily", "source:shop"], ["source:shop.orders"], ["shop.shops"]),
    ],
)
def test_dbt_evaluates_all_other_selectors(project: Project, select: list[str], exclude: list[str], names: list[str]) -> None:
    """By model, by tag, or by exclusion."""
    assert names == [source.name for source in project.select_sources(select, exclude)]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("source:shop.oders", "source:shop.oders: selects no source with an external block; did you mean source:shop.orders?"),
        (
            "source:nyc",
            "source:nyc: selects no source with an external block; there are source:shop.orders, source:shop.shops, source:weather.hours",
        ),
        ("source:other.orders", "source:other.orders: selects no source with an external block; did you mean source:shop.orders?"),
        ("shop.orders", "shop.orders: selects no source with an external block; did you mean source:shop.orders?"),
    ],
)
def test_an_unknown_source_names_the_nearest(project: Project, select: str, message: str) -> None:
    """Also one that is declared without an external block."""
    with pytest.raises(UsageError) as error:
        project.select_sources([select])

    assert message == str(error.value)


def test_a_run_may_need_no_source(project: Project) -> None:
    """For a model that reads none."""
    assert [] == project.sources_among(["+fct_nothing"])


GOOD = "{location: x.csv, file_format: csv, disposition: append}"
COLUMNS = "[{name: order_id, data_type: bigint}, {name: shop, data_type: text}]"
# One source table each: its external block, its columns, its rls, and what is wrong.
BROKEN = {
    "no_columns": (GOOD, "[]", "~", "it declares no columns; the columns with their data_type are the load contract"),
    "no_type": (GOOD, "[{name: a, data_type: text}, {name: b}, {name: c}]", "~", "column b, c has no data_type; the columns with their"),
    "no_such_column": (GOOD, COLUMNS, "{tenant_column: shp}", "meta.rls: tenant_column shp is not a column; did you mean shop?"),
    "far_column": (GOOD, COLUMNS, "{tenant_column: x}", "tenant_column x is not a column; name one of its columns (order_id, shop)"),
    "number_column": (GOOD, COLUMNS, "{tenant_column: order_id}", "tenant_column order_id is bigint; declare it as text, because it is"),
    "type_of_others": (
        GOOD,
        COLUMNS.replace("text", "app.tag"),
        "{tenant_column: shop}",
        "tenant_column shop is app.tag; declare it as text",
    ),
    "misspelt_rls": (
        GOOD,
        COLUMNS,
        "{tenant: shop}",
        "meta.rls is {'tenant': 'shop'}; write one of {tenant_column: …}, {shared: true} and {private: true}",
    ),
    "plain_rls": (GOOD, COLUMNS, "shop", "meta.rls is shop; write one of"),
    "empty_rls": (GOOD, COLUMNS, "{tenant_column: }", "meta.rls: tenant_column None is not a column"),
    "unknown_option": (
        "{location: x.csv, file_format: csv, disposition: append, delimeter: ';'}",
        COLUMNS,
        "~",
        "delimeter is not an option (did you mean delimiter?); see docs/guides/sources/csv.md",
    ),
    "unknown_limit": (
        "{location: x.csv, file_format: csv, disposition: append, rejects: {max_row: 3}}",
        COLUMNS,
        "~",
        "rejects.max_row is not an option (did you mean max_rows?)",
    ),
    "missing_options": ("{file_format: csv}", COLUMNS, "~", "location is missing; "),
    "wrong_disposition": (
        "{location: x.csv, file_format: csv, disposition: upsert}",
        COLUMNS,
        "~",
        "disposition: Input should be 'append'",
    ),
}


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Write a project in which each source is broken in a different way."""
    tables = "".join(
        f"      - name: {name}\n        external: {block}\n        columns: {columns}\n        config: {{meta: {{rls: {rls}}}}}\n"
        for name, (block, columns, rls, _) in BROKEN.items()
    )
    directory = dbt_projects.make(tmp_path_factory.mktemp("broken"), {})
    path = directory / "models" / "_sources.yml"
    path.parent.mkdir()
    path.write_text(f"sources:\n  - name: shop\n    schema: staging\n    tables:\n{tables}")
    return Project(directory)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_source_is_reported_with_its_place(broken: Project, name: str) -> None:
    """File and line, what is wrong, and what to do."""
    line = 5 + 4 * list(BROKEN).index(name)
    table = broken.manifest["sources"][f"source.dpe.shop.{name}"]

    with pytest.raises(ProjectError) as error:
        from_node(table, Declarations(broken.directory).of(table))

    assert str(error.value).startswith(f"shop.{name} (models/_sources.yml:{line}): ")
    assert BROKEN[name][3] in str(error.value)


class FakeDbt:
    """A fake dbt whose manifest says which parse it is from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parses = 0
        self.meanwhile: Callable[[], object] = lambda: None
        monkeypatch.setattr(dbt, "invoke", lambda _command, options: self._parse(Path(options[2])))
        monkeypatch.setattr(dbt, "as_json", lambda _manifest: json.dumps({"parse": self.parses, "sources": {}}))

    def _parse(self, target: Path) -> SimpleNamespace:
        self.parses += 1
        self.meanwhile()
        # What dbt found elsewhere, and what Jinja asked for under a name that it put together.
        path = SimpleNamespace(project_root=str(target.parents[2]), searched_path="elsewhere")
        return SimpleNamespace(
            result=SimpleNamespace(files={"dpe://elsewhere/d.sql": SimpleNamespace(path=path)}, env_vars={"SHOP_REGION": ""})
        )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Write a project whose files are a minute old."""
    files = {
        "models/a.sql": "select 1",
        "models/below/b.yml": "x: {{ env_var('SHOP_DATA') }}",
        "models/python/e.yml": "",
        "elsewhere/d.sql": "select 1",
        "dbt_packages/other/models/f.sql": "select 1",
    }
    directory = dbt_projects.make(tmp_path, files)
    for path in [directory, *directory.rglob("*")]:
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))
    return directory


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file is saved": lambda directory: (directory / "models" / "a.sql").write_text("select 2"),
    "a file is added": lambda directory: (directory / "models" / "below" / "c.md").touch(),
    "a file is removed": lambda directory: (directory / "models" / "below" / "b.yml").unlink(),
    "a file is put in the place of another": lambda directory: _replace(directory / "models" / "a.sql", "select 2, 3"),
    "a file in a directory with Python's name": lambda directory: (directory / "models" / "python" / "e.yml").touch(),
    "a file where only dbt knows to look": lambda directory: (directory / "elsewhere" / "d.sql").touch(),
    "a file of a package": lambda directory: (directory / "dbt_packages" / "other" / "models" / "f.sql").touch(),
    "a first function": lambda directory: dbt_projects.write(directory, {"functions/g.sql": "select 1"}),
    "the selectors change": lambda directory: (directory / "selectors.yml").touch(),
    "the settings change": lambda directory: (directory / "dbt_project.yml").touch(),
    "the profile changes": lambda directory: (directory / "profiles.yml").touch(),
    "a macro changes": lambda directory: (directory / "macros" / "rls" / "protect_table.sql").touch(),
    "a package is added": lambda directory: (directory / "packages.yml").touch(),
    "a variable that the project asks for": lambda _directory: os.environ.update(SHOP_DATA="elsewhere"),
    "a variable whose name Jinja puts together": lambda _directory: os.environ.update(SHOP_REGION="north"),
    "a variable of the profile": lambda _directory: os.environ.update(PGDATABASE="elsewhere"),
    "a variable of dbt's own": lambda _directory: os.environ.update(DBT_TARGET_PATH="elsewhere"),
    "the manifest was cut short": lambda directory: _cut_short(next(directory.glob(".dpe/parsed/*/manifest.json"))),
    "the manifest is gone": lambda directory: next(directory.glob(".dpe/parsed/*/manifest.json")).unlink(),
}


def _replace(path: Path, text: str) -> None:
    """As a copy does that keeps times: the file is an hour older than the one that it replaces."""
    times = path.stat()
    path.write_text(text)
    os.utime(path, (times.st_atime, times.st_mtime - 3600))


def _cut_short(path: Path) -> None:
    times = path.stat()
    path.write_bytes(path.read_bytes()[:10])
    os.utime(path, (times.st_atime, times.st_mtime))


@pytest.mark.parametrize("name", CHANGES)
def test_a_project_is_parsed_again_when_it_changed(small: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """And only then."""
    dbt = FakeDbt(monkeypatch)
    monkeypatch.delenv("SHOP_DATA", raising=False)
    assert [1, 1] == [Project(small).manifest["parse"] for _ in range(2)]

    with monkeypatch.context() as context:
        context.setattr(os, "environ", dict(os.environ))
        CHANGES[name](small)
        assert [2, 2] == [Project(small).manifest["parse"] for _ in range(2)]

    assert 2 == dbt.parses


@pytest.mark.parametrize("name", [*CHANGES, "what was made of it was cut short"])
def test_what_is_derived_from_the_manifest_is_renewed_when_that_changes(small: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """And only then; otherwise without reading the manifest."""
    FakeDbt(monkeypatch)
    monkeypatch.delenv("SHOP_DATA", raising=False)
    parser = Project(small)._parser
    made: list[int] = []

    def make(manifest: Mapping[str, Any]) -> list[int]:
        made.append(manifest["parse"])
        return [manifest["parse"]]

    assert [[1], [1]] == [parser.derived("made", make) for _ in range(2)]
    assert [1] == made

    with monkeypatch.context() as context:
        context.setattr(os, "environ", dict(os.environ))
        if name in CHANGES:
            CHANGES[name](small)
        else:
            _cut_short(next(small.glob(".dpe/parsed/*/made.json")))
        again = [parser.derived("made", make) for _ in range(2)]

    expected = 2 if name in CHANGES else 1
    assert ([[expected], [expected]], 2) == (again, len(made))


def _leave_paths_to_dbt(directory: Path) -> None:
    settings = directory / "dbt_project.yml"
    settings.write_text("".join(line for line in settings.read_text().splitlines(keepends=True) if "-paths: [" not in line))


@pytest.mark.parametrize("path", ["models/a.sql", "models/h.sql", "functions/i.sql", "seeds/j.csv"])
def test_dbts_default_paths_are_watched(small: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Most projects leave them to dbt."""
    FakeDbt(monkeypatch)
    _leave_paths_to_dbt(small)
    assert [1, 1] == [Project(small).manifest["parse"] for _ in range(2)]

    dbt_projects.write(small, {path: "select 4"})

    assert [2, 2] == [Project(small).manifest["parse"] for _ in range(2)]


@pytest.mark.parametrize("path", ["models/a.sql", "models/h.sql", "elsewhere/d.sql"])
def test_what_changed_while_dbt_was_reading_is_read_again(small: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """dbt may have read it before or after."""
    dbt = FakeDbt(monkeypatch)
    dbt.meanwhile = lambda: dbt_projects.write(small, {path: "select 5"})
    assert 1 == Project(small).manifest["parse"]

    dbt.meanwhile = lambda: None

    assert [2, 2] == [Project(small).manifest["parse"] for _ in range(2)]


def test_another_version_of_dbt_parses_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dpe knows it by the names of pip's directories, without an import of dbt."""
    FakeDbt(monkeypatch)
    assert [1, 1] == [Project(small).manifest["parse"] for _ in range(2)]
    (small / "installed" / "dbt_core-9.9.9.dist-info").mkdir(parents=True)

    monkeypatch.setattr(importlib.util.find_spec("dbt"), "submodule_search_locations", [str(small / "installed" / "dbt")])

    assert [2, 2] == [Project(small).manifest["parse"] for _ in range(2)]


def test_no_digest_of_a_secret_is_kept(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only variables that affect the manifest are remembered."""
    FakeDbt(monkeypatch)
    monkeypatch.setenv("DBT_ENV_SECRET_TOKEN", "hidden")

    assert Project(small).manifest

    remembered = json.loads(next(small.glob(".dpe/parsed/*/state.json")).read_text())["inputs"]["variables"]
    assert "PGDATABASE" in remembered
    assert not {"DPE_TRANSFORMER_PASSWORD", "PGPASSWORD", "DBT_ENV_SECRET_TOKEN"} & set(remembered)


def test_each_target_and_set_of_variables_has_its_own_manifest(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Because schemas and sources may depend on them."""
    FakeDbt(monkeypatch)
    projects = [Project(small), Project(small, target="prod"), Project(small, variables="{a: 1}"), Project(small, profiles_dir=small)]

    assert [1, 2, 3] == [project.manifest["parse"] for project in projects[:3]]
    # Profiles are looked up in the project's own directory anyway.
    assert 1 == projects[3].manifest["parse"]


def test_dbt_sees_what_changed(tmp_path: Path) -> None:
    """A column that was renamed in a source's YAML, and a file that was removed, where dbt's own paths are in use."""
    directory = dbt_projects.make(tmp_path, PROJECT | {"models/marts/fct_orders.sql": "select order_id, shop from {{ ref('stg_orders') }}"})
    _leave_paths_to_dbt(directory)
    assert "shop.orders" in Project(directory).sources

    sources = directory / "models" / "staging" / "_shop__sources.yml"
    sources.write_text(sources.read_text().replace("name: hour, data_type", "name: hour_utc, data_type"))
    (directory / "models" / "marts" / "fct_nothing.sql").unlink()

    changed = Project(directory)
    assert ("hour_utc",) == tuple(column.name for column in changed.sources["weather.hours"].table.columns)
    assert "fct_nothing" not in changed.models


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b"name: dpe\nmodels: [\n",
            "dbt_project.yml, line 3, column 1: is not valid YAML (did not find expected node content); correct it",
        ),
        (b"- name: dpe\n", "dbt_project.yml: holds no settings; write at least `name: …` and `profile: …`"),
        (b"", "dbt_project.yml: holds no settings"),
        (b"name: \xff\n", "dbt_project.yml: cannot be read ('utf-8' codec can't decode byte 0xff"),
    ],
)
def test_broken_settings_are_reported_with_their_place(tmp_path: Path, text: bytes, message: str) -> None:
    """Before dbt runs."""
    (tmp_path / "dbt_project.yml").write_bytes(text)

    with pytest.raises(ProjectError) as error:
        assert Project(tmp_path).manifest

    assert f"{tmp_path}/{message}" in str(error.value)


def test_a_directory_without_a_project_is_reported(tmp_path: Path) -> None:
    """With the option for another directory."""
    with pytest.raises(
        ProjectError, match=r"dbt_project.yml: cannot be read .*No such file.*; run dpe within a dbt project, or give --project-dir"
    ):
        assert Project(tmp_path).manifest


def test_variables_keep_their_types(tmp_path: Path) -> None:
    """The user's, together with those that dpe adds: JSON would have no dates."""
    options = Project(tmp_path, variables="{day: 2026-01-31, name: 'a: b'}").dbt_options_with({"added": "__next"})

    given = yaml.safe_load(options[options.index("--vars") + 1])
    assert {"day": date(2026, 1, 31), "name": "a: b", "added": "__next"} == given


def test_what_dbt_refuses_is_reported_in_its_words(tmp_path: Path) -> None:
    """Without its timestamps."""
    directory = dbt_projects.make(tmp_path, {"models/_models.yml": "models:\n  - name: [a\n"})

    with pytest.raises(ProjectError) as error:
        assert Project(directory).manifest

    assert str(error.value).startswith(
        dedent(
            """\
            dbt parse: the project cannot be read; fix what dbt reports:
            Parsing Error
              Error reading dpe: _models.yml - Runtime Error
            """
        )
    )
