from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from support import dbt_projects
from support.sources_project import PROJECT

from dpe_cli.blocks.contract import Column
from dpe_cli.errors import ProjectError, UnknownNameError
from dpe_cli.project import dbt
from dpe_cli.project.manifest import Parser
from dpe_cli.project.model import by_name, key_of, models_of
from dpe_cli.project.project import Project
from dpe_cli.project.source import from_node
from dpe_cli.project.source_yaml import Declarations
from dpe_cli.quality.coverage import rule_tests
from dpe_cli.sources.options.base import Rejects
from dpe_cli.sources.options.files import CsvFiles


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Write the project; dbt parses it once."""
    return Project(dbt_projects.make(tmp_path_factory.mktemp("project"), PROJECT))


def test_a_source_matches_its_yaml(project: Project) -> None:
    """With every option of its external block, and its place; a table without a block is not dpe's."""
    orders = project.sources["shop.orders"]

    assert ["shop.orders", "shop.shops", "weather.hours"] == list(project.sources)
    assert ("source.shops.shop.orders", "DPE-7") == (orders.unique_id, orders.spec)
    assert ("raw", "raw_orders", "shop", "Orders, a file a day.") == (
        orders.table.schema,
        orders.table.name,
        orders.table.tenant_column,
        orders.table.description,
    )
    assert (Column("order_id", "bigint", "The shop's number."), Column("shop", "text")) == orders.table.columns
    assert "models/raw/_shop__sources.yml:9" == orders.table.declared_at
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


@pytest.mark.parametrize(("written", "spec"), [("7", "7"), ("2024-01-01", "2024-01-01"), ("null", None)])
def test_the_ticket_of_a_spec_is_text(tmp_path: Path, written: str, spec: str | None) -> None:
    """Whatever YAML takes it for."""
    files = {path: text.replace("spec: DPE-7", f"spec: {written}") for path, text in PROJECT.items()}
    assert files != PROJECT

    assert spec == Project(dbt_projects.make(tmp_path, files)).sources["shop.orders"].spec


def test_models_and_rules_are_known(project: Project) -> None:
    """Models with their declaration of readers; rules with the test that implements each."""
    assert ("finance", ("shop",), True) == (
        project.models["model.shops.fct_orders"].schema,
        project.models["model.shops.fct_orders"].tenant_columns,
        project.models["model.shops.fct_orders"].is_published,
    )
    assert {"stg_orders": False, "fct_nothing": False} == {
        name: project.models[f"model.shops.{name}"].is_published for name in ("stg_orders", "fct_nothing")
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


def _node(unique_id: str, **more: Any) -> dict[str, Any]:
    kind, package, name, *version = unique_id.split(".")
    node = {"resource_type": kind, "unique_id": unique_id, "name": name, "package_name": package, "alias": unique_id, "schema": "finance"}
    return node | {"version": version[0][1:] if version else None, "config": {"meta": {"rls": {"private": True}}}} | more


def test_models_of_one_name_are_all_known() -> None:
    """Versions of a model, and models of two packages: each is compared with the files, and people tell them apart."""
    ids = ["model.shops.fct_orders.v1", "model.shops.fct_orders.v2", "model.shops.dim_shops", "model.other.dim_shops"]
    found = models_of({"nodes": {unique_id: _node(unique_id) for unique_id in ids}})

    assert ids == list(found)
    named = {name: [model.unique_id for model in models] for name, models in by_name(found.values()).items()}
    assert {"fct_orders": ids[:2], "fct_orders.v1": ids[:1], "fct_orders.v2": ids[1:2], "dim_shops": ids[2:]} == {
        name: found for name, found in named.items() if name not in ids
    }
    assert all(named[unique_id] == [unique_id] for unique_id in ids)


@pytest.mark.parametrize(
    ("test", "column_name", "kwargs", "key"),
    [
        ("unique", "id", {"column_name": "id"}, ("id",)),
        ("unique", None, {"column_name": "id"}, ("id",)),
        ("unique", None, {}, ()),
        ("unique", None, {"column_name": 5}, ()),
        ("unique_combination_of_columns", None, {"combination_of_columns": ["id", "day"]}, ("id", "day")),
        ("unique_combination_of_columns", None, {"combination_of_columns": ["id", None]}, ()),
        ("unique_combination_of_columns", None, {"combination_of_columns": "id"}, ()),
    ],
)
def test_the_key_of_a_model_is_what_a_test_declares(
    test: str, column_name: str | None, kwargs: dict[str, Any], key: tuple[str, ...]
) -> None:
    """A test of a column or of the model names it; a test that names no columns does not."""
    model = _node("model.shops.fct_orders")
    unique = _node("test.shops.unique", attached_node="model.shops.fct_orders", column_name=column_name)
    unique["test_metadata"] = {"name": test, "kwargs": kwargs}
    manifest = {"nodes": {node["unique_id"]: node for node in (model, unique)}}

    (found,) = models_of(manifest).values()
    assert key == key_of(manifest, found)


def test_tests_of_one_name_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that one is left out which reads what was never published."""
    tests = {
        f"test.{package}.{name}": _node(f"test.{package}.{name}", depends_on={"nodes": [model]})
        for package, name, model in (
            ("dpe", "both", "model.shops.new"),
            ("other", "both", "model.shops.old"),
            ("dpe", "one", "model.shops.new"),
        )
    }
    project = Project(tmp_path)
    monkeypatch.setitem(
        project.__dict__, "manifest", {"nodes": tests | {name: _node(name) for name in ("model.shops.new", "model.shops.old")}}
    )
    monkeypatch.setattr(Parser, "selected", lambda *_: set(tests))

    assert ["test.dpe.both", "test.dpe.one"] == project.untestable(["tag:daily"], (), {("finance", "model.shops.old")})


def test_two_sources_of_one_name_are_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages may have them; staging and the ledger would take one for the other."""
    [orders, *_] = (asdict(source) for source in project.sources.values())
    monkeypatch.setattr(Parser, "derived", lambda *_: [orders, orders | {"unique_id": "source.other.shop.orders"}])

    with pytest.raises(ProjectError, match="shop.orders .models/raw/_shop__sources.yml:9.: .* declares a source of this name too"):
        _ = Project(project.directory).sources


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
    with pytest.raises(UnknownNameError) as error:
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
    "number_as_header": (
        GOOD,
        "[{name: a, data_type: text, config: {meta: {headers: [1]}}}]",
        "~",
        "column a: meta.headers is [1]; write the names under which it is delivered, as in [order_no]",
    ),
    "header_of_two": (
        GOOD,
        "[{name: a, data_type: text, config: {meta: {headers: [b]}}}, {name: b, data_type: text}]",
        "~",
        "column a: meta.headers: b is also a name of column b; remove one of the two",
    ),
    "own_header": (
        GOOD,
        "[{name: a, data_type: text, config: {meta: {headers: a}}}]",
        "~",
        "column a: meta.headers: a is its own name",
    ),
    "word_for_optional": (
        GOOD,
        "[{name: a, data_type: text, config: {meta: {optional: maybe}}}]",
        "~",
        "column a: meta.optional is 'maybe'; write true if a delivery may lack the column",
    ),
    "list_as_default": (
        GOOD,
        "[{name: a, data_type: text, config: {meta: {default: [1]}}}]",
        "~",
        "column a: meta.default is [1]; write a single value",
    ),
    "headers_without_a_header": (
        "{location: x.csv, file_format: csv, disposition: append, header: false}",
        "[{name: a, data_type: text, config: {meta: {headers: [b]}}}]",
        "~",
        "column a: meta.headers: the records have no header that could name it; leave it out",
    ),
    "optional_in_the_middle": (
        "{location: x.txt, file_format: fixed_width, disposition: append}",
        "[{name: a, data_type: text, config: {meta: {width: 2, optional: true}}}, {name: b, data_type: text, config: {meta: {width: 2}}}]",
        "~",
        "column a: may be missing only at the end of a record; move it after b",
    ),
    "headers_and_path": (
        "{location: x.jsonl, file_format: jsonl, disposition: append}",
        "[{name: a, data_type: text, config: {meta: {path: $.b, headers: [c]}}}]",
        "~",
        "column a: has meta.path, which finds its value whatever its name; leave meta.headers out",
    ),
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
    path.write_text(f"sources:\n  - name: shop\n    schema: raw\n    tables:\n{tables}")
    return Project(directory)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_source_is_reported_with_its_place(broken: Project, name: str) -> None:
    """File and line, what is wrong, and what to do."""
    line = 5 + 4 * list(BROKEN).index(name)
    table = broken.manifest["sources"][f"source.shops.shop.{name}"]

    with pytest.raises(ProjectError) as error:
        from_node(table, Declarations(broken.directory).of(table))

    assert str(error.value).startswith(f"shop.{name} (models/_sources.yml:{line}): ")
    assert BROKEN[name][3] in str(error.value)


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
              Error reading shops: _models.yml - Runtime Error
            """
        )
    )
