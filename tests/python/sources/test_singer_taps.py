"""Published taps of both frameworks that taps are written in; `make test` installs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import dbt_projects
from support.databases import Crm
from support.misbehaving_api import Api
from support.staged_source import Stage

from dpe_cli.project.project import Project

TAPS = dbt_projects.REPOSITORY / ".dpe" / "taps"
COLUMNS = "id bigint, changed_at timestamptz"


def _installed(tap: str) -> str:
    program = TAPS / tap / "bin" / tap
    if not program.exists():
        pytest.skip(f"{tap} is not installed; make test installs it, where there is a network")
    return str(program)


def test_a_tap_of_the_singer_sdk_is_read(stage: Stage, api: Api) -> None:
    """An API through tap-rest-api-msdk: completely, then only new records by its state, and none twice."""
    stream = {
        "name": "orders",
        "path": "/all",
        "records_path": "$[*]",
        "primary_keys": ["id"],
        "replication_key": "changed_at",
        "source_search_field": "since",
        "source_search_query": "$last_run_date",
        "num_inference_records": 5,
    }
    source = stage(
        COLUMNS,
        location="singer:tap-rest-api-msdk",
        file_format="singer",
        stream="orders",
        executable=_installed("tap-rest-api-msdk"),
        config={"api_url": api.url, "start_date": "2024-01-01T00:00:00Z", "streams": [stream]},
        disposition="append",
        key=["id"],
    )
    assert (35, 35) == (source.extract().rows_loaded, source.count())

    api.records.append({"id": 35, "changed_at": "2024-01-01T00:35:00Z"})
    result = source.extract()

    assert "2024-01-01T00:34:00Z" == api.requests[-1].query["since"]
    # The last record is always requested again.
    assert [(1, 1)] == [(load.rows_loaded, load.records_repeated) for load in result.loads]
    assert 36 == source.count()


@pytest.mark.parametrize("crm", ["postgresql"], indirect=True)
def test_a_tap_of_singer_python_is_read(stage: Stage, crm: Crm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database through tap-postgres, configured in a project's YAML; incremental, and with words that mean something to dbt."""
    given = crm.engine.url
    monkeypatch.setenv("CRM_PASSWORD", "not asked for")
    config: dict[str, Any] = {
        "host": given.query["host"],
        "port": int(str(given.query.get("port", given.port or 5432))),
        "user": given.username or "postgres",
        "dbname": given.database,
    }
    project = dbt_projects.make(
        tmp_path / "project",
        {
            "models/_crm__sources.yml": f"""
            sources:
              - name: crm
                schema: raw
                tables:
                  - name: orders
                    external:
                      location: singer:tap-postgres
                      file_format: singer
                      executable: {_installed("tap-postgres")}
                      config: {{{", ".join(f"{name}: {value}" for name, value in config.items())}, password: "${{CRM_PASSWORD}}"}}
                      replication_method: INCREMENTAL
                      replication_key: changed_at
                      disposition: append
                      key: [id]
                      extra_columns: ignore
                    columns:
                      - {{name: id, data_type: bigint}}
                      - {{name: amount, data_type: numeric}}
                      - {{name: changed_at, data_type: timestamptz}}
            """
        },
    )
    [source] = Project(project).sources.values()
    staged = stage(COLUMNS)
    staged.table, staged.external = source.table, source.external
    crm.add((1, "a", "1.5", "2024-01-02 10:00:00"), (2, "b", "2.5", "2024-01-03 10:00:00"))
    staged.run(staged.extraction())
    crm.add((3, "c", "3.5", "2024-01-04 10:00:00"))
    result = staged.run(staged.extraction())

    assert [(1, 1)] == [(load.rows_loaded, load.records_repeated) for load in result.loads]
    assert [1, 2, 3] == [row[0] for row in staged.rows()]
