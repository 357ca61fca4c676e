"""The shop's pipeline in a project whose schemas have other names, and with sources in two of them."""

from __future__ import annotations

import re

from support import dbt_projects
from support.shop import SHOP

# The schemas: two for sources (the second also has a model), one for private models, one for published models, one for stored failures.
RAW, LANDING, CORE, FINANCE, BROKEN = "raw", "landing", "core", "Finance", "broken"
# The folders of the tests' projects have the names of their schemas.
_NAMES = {"finance": FINANCE, "quality": BROKEN}


def _renamed(text: str) -> str:
    for name, other in _NAMES.items():
        text = re.sub(rf"(models/|schema: |^ +){name}(?=/|: {{|[\n,}}])", rf"\g<1>{other}", text, flags=re.MULTILINE)
    return text


PROJECT = {
    "dbt_project.yml": _renamed(dbt_projects.CONFIGURATION["dbt_project.yml"]),
    "profiles.yml": dbt_projects.profiles(),
    **{_renamed(path): _renamed(text) for path, text in SHOP.items()},
    "data/people.csv": "person,shop\nAda,UA\nBob,HA\n",
    "models/raw/_hr__sources.yml": """
        sources:
          - name: hr
            schema: landing
            tables:
              - name: people
                external: {location: data/people.csv, file_format: csv, disposition: replace}
                config: {meta: {rls: {tenant_column: shop}}}
                columns: [{name: person, data_type: text}, {name: shop, data_type: text}]
        """,
    "models/raw/stg_hr__people.sql": "{{ config(schema='landing') }} select person, shop from {{ source('hr', 'people') }}",
    "models/core/int_people.sql": "{{ config(materialized='table') }} select person, shop from {{ ref('stg_hr__people') }}",
    # Stored, one as a table, one as a view of what is published.
    "tests/singular/orders_are_not_cheap.sql": SHOP["tests/singular/orders_are_not_cheap.sql"].replace(
        "severity='warn',", "severity='warn', store_failures_as='view',"
    ),
    "tests/singular/people_are_not_ada.sql": """
        {{ config(severity='warn', store_failures_as='table') }}
        select * from {{ ref('int_people') }} where person = 'Ada'
        """,
}
