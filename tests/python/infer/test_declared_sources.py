"""A new source gets the schema and the folder of the project's other sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import dbt_projects

from dpe_cli.infer import declared_sources, yaml_text
from dpe_cli.infer.inference import InferredTable

SOURCE = "sources: [{name: %s, %stables: [{name: one, external: {location: a.csv}}]}]\n"
# The files of a project; the schema, and the file, of a new source `crm`.
PROJECTS = {
    "without sources": ({}, "staging", "models/staging/crm/_crm__sources.yml"),
    "in folders of their own": (
        {
            "models/raw/shop/_shop__sources.yml": SOURCE % ("shop", "schema: raw, "),
            "models/raw/hr/hr.yml": SOURCE % ("hr", "schema: raw, "),
        },
        "raw",
        "models/raw/crm/_crm__sources.yml",
    ),
    "in one folder": ({"models/sources.yml": SOURCE % ("shop", "schema: landing, ")}, "landing", "models/_crm__sources.yml"),
    "in the folder of another path": (
        {"dbt_project.yml": "model-paths: [transform, more]\n", "more/raw/shop.yml": SOURCE % ("shop", "schema: raw, ")},
        "raw",
        "more/raw/_crm__sources.yml",
    ),
    "in the first path, without sources": (
        {"dbt_project.yml": "model-paths: [transform, more]\n"},
        "staging",
        "transform/staging/crm/_crm__sources.yml",
    ),
    "in the schema of most": (
        {
            "models/a.yml": SOURCE % ("a", "schema: rare, "),
            "models/b.yml": SOURCE % ("b", "schema: raw, "),
            "models/c.yml": SOURCE % ("c", "schema: raw, "),
        },
        "raw",
        "models/_crm__sources.yml",
    ),
    "of other tools only": (
        {"models/fivetran/_fivetran.yml": "sources: [{name: fivetran, schema: fivetran, tables: [{name: one}]}]\n"},
        "staging",
        "models/staging/crm/_crm__sources.yml",
    ),
    "without a schema": ({"models/a.yml": SOURCE % ("a", "")}, "staging", "models/_crm__sources.yml"),
    "declared already": ({"models/a.yml": SOURCE % ("crm", "schema: own, ")}, "own", "models/a.yml"),
    "declared already, without a schema": ({"models/a.yml": SOURCE % ("crm", "")}, "crm", "models/a.yml"),
    "by a variable": ({"models/a.yml": SOURCE % ("a", "schema: \"{{ var('raw') }}\", ")}, "{{ var('raw') }}", "models/_crm__sources.yml"),
}


@pytest.mark.parametrize("name", PROJECTS)
def test_a_new_source_is_where_the_others_are(tmp_path: Path, name: str) -> None:
    """Schema and file; the first source of a project is in staging."""
    files, schema, file = PROJECTS[name]
    dbt_projects.write(tmp_path, {"dbt_project.yml": "name: shop\n", **files})
    inferred = InferredTable("crm", "orders", "", {"location": "b.csv"}, [], [], 1)

    assert schema == declared_sources.schema_for("crm", tmp_path)
    assert tmp_path / file == declared_sources.target(inferred, tmp_path, None)
    assert {"name": "crm", "schema": schema}.items() <= yaml_text.source_as_data(inferred, schema).items()


def test_a_file_that_cannot_be_read_stops_no_inspection(tmp_path: Path) -> None:
    """Only writing needs it."""
    dbt_projects.write(tmp_path, {"models/a.yml": "sources: ["})

    assert "staging" == declared_sources.schema_for("crm", tmp_path)
