"""What a project declares without effect is refused before anything is loaded or built, with its line and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest
from support import dbt_projects

from dpe_cli.errors import ProjectError
from dpe_cli.project import dbt
from dpe_cli.project.project import Project

TEMPLATE = dbt_projects.REPOSITORY / "dpe_cli/init/templates/project/dbt_project.yml"
ENTRIES = "models/finance/_entries.yml"
# A declaration of each kind that dbt does not apply, by the file in which it stands.
FILES = {
    "seeds/regions.csv": "region\nnorth\n",
    "models/core/orders.sql": "select 1 as order_id, 'UA' as shop",
    "models/core/open_orders.sql": "select * from {{ ref('orders') }}",
    "models/core/closed.sql": "{{ config(enabled=false) }} select 1 as order_id",
    "models/finance/totals_v1.sql": "select 1 as order_id",
    "models/finance/marked.sql": "{{ config(mask=['shop'], meta={'rls': {'private': true}, 'masekd': ['shop']}) }} select 1 as order_id, 'UA' as shop",
    "tests/singular/shops_are_known.sql": "select * from {{ ref('orders') }} where shop is null",
    "tests/singular/orders_have_customers.sql": "select * from {{ ref('custmers') }}",
    ENTRIES: """
        models:
          - name: ordrs
            config: {meta: {rls: {tenant_column: shop}}}
          - name: regions
            config: {meta: {masked: [region]}}
          - name: totals
            latest_version: 1
            config: {contract: {enforced: false}, meta: {rls: {private: true}}}
            versions:
              - v: 1
              - v: 2
                config: {meta: {masked: [order_id]}}
          - name: orders
            readers: {dev: [dpe_reader]}
            data_test:
              - unique
            columns:
              - name: order_id
                tets: [unique]
                data_tests:
                  - relationships: {name: orders_have_a_region, arguments: {to: ref('regoins'), field: region}}
                  - relationships: {name: orders_are_closed, arguments: {to: ref('closed'), field: order_id}}
              - name: shop
                config: {meta: {masked: true}}
          - name: open_orders
            config: {meta: {reader: {dev: [dpe_reader]}}}
          - name: closed
            columns: [{name: order_id, data_tests: [unique]}]
          - {name: harmless, description: Documents what does not exist., columns: [{name: order_id, description: A number.}]}
        seeds:
          - name: "{{ 'regins' }}"
            data_tests: [{dpe.not_empty: {}}]
        snapshots:
          - name: orders_over_tme
            config: {meta: {masked: [shop]}}
        data_tests:
          - name: shops_are_knwon
            config: {severity: warn, meta: {rule: SHOP-1-09}}
          - name: shops_are_known
            config: {severity: warn, meta: {urls: [], reads: orders}}
        macros:
          - {name: no_macro, description: Harmless.}
        """,
    # A package's own mistakes are its own, unless they lose protection.
    "dbt_packages/other/dbt_project.yml": "{name: other, version: 1.0.0, config-version: 2, model-paths: [models], macro-paths: [macros]}",
    "dbt_packages/other/macros/nothing.sql": "{% macro nothing() %}{% endmacro %}",
    "dbt_packages/other/models/_models.yml": """
        models:
          - name: untested
            columns: [{name: id, data_tests: [unique]}]
          - name: unmasked
            config: {meta: {masked: [id]}}
        """,
}
SETTINGS = """
models:
  shops:
    finence: {+meta: {readers: {dev: [dpe_reader]}}}
    notes: {+materialized: view}
    core: {meta: {rls: {private: true}}}
  shop: {+meta: {masked: [shop]}}
data_tests:
  shops: {+schema: quality}
snapshots:
  shops: {+meta: {masked: [shop]}}
"""
LOST = "so what it declares has no effect"
FAULTS = [
    f"{ENTRIES}, line 2: no model is called ordrs, {LOST}; did you mean orders?",
    f"{ENTRIES}, line 4: regions is a seed, not a model, {LOST}; declare it under `seeds:`",
    f"{ENTRIES}, line 11: version 2 of totals has no file, so its declaration and its tests have no effect; add totals_v2.sql, or remove",
    f"{ENTRIES}, line 14: readers has no effect here; write it as config: {{meta: {{readers: …}}}}",
    f"{ENTRIES}, line 15: data_test is not a key of dbt, so it has no effect; did you mean data_tests?",
    f"{ENTRIES}, line 19: tets is not a key of dbt, so it has no effect; did you mean tests?",
    f"{ENTRIES}, line 31: no seed is called regins, {LOST}; did you mean regions?",
    f"{ENTRIES}, line 34: no snapshot is called orders_over_tme, {LOST}; correct the name, or remove the entry",
    f"{ENTRIES}, line 37: no test is called shops_are_knwon, {LOST}; did you mean shops_are_known?",
    f"{ENTRIES}, line 21: the test orders_have_a_region reads regoins, which does not exist, so dbt leaves the test out; did you mean regions?",
    f"{ENTRIES}, line 22: the test orders_are_closed reads closed, which is disabled, so dbt leaves the test out; enable it, disable the test",
    "tests/singular/orders_have_customers.sql: the test orders_have_customers reads custmers, which does not exist, so dbt leaves the test out",
    f"{ENTRIES}, line 24: masked is not something that dpe reads there, so it has no effect on orders; declare it for the whole model",
    f"{ENTRIES}, line 26: reader is not something that dpe reads there, so it has no effect on open_orders; did you mean readers?",
    "models/finance/marked.sql, line 1: mask is not something that dpe reads there, so it has no effect on marked; write it as meta",
    "models/finance/marked.sql, line 1: masekd is not something that dpe reads there, so it has no effect on marked; did you mean masked?",
    "dbt_project.yml, line 3: models.shops.finence matches no model, so what it decides has no effect; did you mean finance?",
    "dbt_project.yml, line 5: models.shops.core.meta is taken for a folder, so it has no effect; write +meta",
    "dbt_project.yml, line 6: models.shop matches no model, so what it decides has no effect; did you mean shops?",
    f"package other: models/_models.yml, line 4: no model is called unmasked, {LOST}; correct the name, or remove the entry",
]


@pytest.fixture(scope="module")
def directory(scratch: Path) -> Path:
    """Return a project with each of these."""
    directory = dbt_projects.make(scratch / "unapplied", FILES)
    settings = directory / "dbt_project.yml"
    top = dedent(dbt_projects.CONFIGURATION["dbt_project.yml"]).strip().partition("models:\n")[0]
    settings.write_text(SETTINGS.lstrip() + top.replace("[UnusedResourceConfigPath]", "[]"))
    return directory


def _refusal(directory: Path) -> str:
    with pytest.raises(ProjectError) as refused:
        _ = Project(directory).manifest
    return str(refused.value)


def test_it_is_refused_with_its_line_and_what_to_do(directory: Path) -> None:
    """At the first parse and at the second one, in which dbt reads only what has changed and does not warn again; and nothing else is."""
    first = _refusal(directory)
    project = Project(directory)
    for _ in range(2):
        dbt.invoke(["parse", "--target-path", str(project.parsed_directory)], project.dbt_options)
    second = _refusal(directory)

    assert [] == [fault for fault in FAULTS if fault not in first]
    assert len(FAULTS) == first.count("no effect") + first.count("leaves the test out"), first.replace("; ", ";\n")
    assert first == second


# A model that somebody else's rule reads; and how its author can make dbt leave out that rule.
READ = {
    "models/core/mine.sql": "select 1 as order_id",
    "models/core/mine.yml": "models: [{name: mine, versions: [{v: 1, defined_in: mine}]}]",
    "models/core/orders.sql": "select 1 as order_id",
    "tests/singular/orders_are_mine.sql": "select * from {{ ref('orders') }} where order_id not in (select order_id from {{ ref('mine', v=1) }})",
    "tests/singular/mine_are_orders.sql": "select * from {{ ref('mine') }} where order_id not in (select order_id from {{ ref('orders') }})",
}
REMOVED = {
    "models: [{name: mine, config: {enabled: false}, versions: [{v: 1, defined_in: mine}]}]": ("mine.v1", "mine"),
    "models: [{name: mine, versions: [{v: 1, defined_in: mine, config: {enabled: false}}]}]": ("mine.v1", "mine"),
    "models: [{name: mine, versions: [{v: 2, defined_in: mine}]}]": ("mine.v1",),
}


def test_no_rule_is_lost_with_a_model_that_it_reads(tmp_path: Path) -> None:
    """If its author disables it or gives it another version, also where dbt reads only what has changed."""
    directory = dbt_projects.make(tmp_path / "read", READ)
    (directory / "models/finance").mkdir()

    for removed, missing in REMOVED.items():
        dbt_projects.write(directory, READ)
        assert "test.shops.orders_are_mine" in Project(directory).manifest["nodes"]
        (directory / "models/core/mine.yml").write_text(removed)
        refusal = _refusal(directory)
        for name in missing:
            test = "orders_are_mine" if name == "mine.v1" else "mine_are_orders"
            assert f"tests/singular/{test}.sql: the test {test} reads {name}, which " in refusal, removed
        assert "the test out; restore version 1, or correct or remove the test" in refusal or "the test out; enable it" in refusal


def test_plain_dbt_refuses_names_too_where_the_settings_of_a_new_project_say_so(tmp_path: Path) -> None:
    """Each time: dbt keeps nothing of a parse that failed, so partial parsing hides nothing."""
    files = {"models/core/orders.sql": "select 1 as order_id", "models/core/orders.yml": "models: [{name: ordrs, config: {tags: [core]}}]"}
    directory = dbt_projects.make(tmp_path / "strict", files)
    (directory / "models/finance").mkdir()
    settings = directory / "dbt_project.yml"
    [options] = [line for line in TEMPLATE.read_text().splitlines() if "warn_error_options" in line]
    settings.write_text(re.sub("^  warn_error_options.*$", options, settings.read_text(), flags=re.MULTILINE))

    for _ in range(2):
        with pytest.raises(ProjectError, match="matching node for patch with name 'ordrs'"):
            dbt.invoke(["parse"], Project(directory).dbt_options)
    assert f"models/core/orders.yml, line 1: no model is called ordrs, {LOST}; did you mean orders?" == _refusal(directory)
    settings.write_text(settings.read_text().replace("[NoNodeForYamlKey", "[MacroNotFoundForPatch, NoNodeForYamlKey"))
    (directory / "models/core/orders.yml").write_text("macros: [{name: ordrs}]")
    assert 'Found patch for macro "ordrs" which was not found' in _refusal(directory), "an error of the project's own choice"
