"""dbt parses a project again when anything that it reads has changed, and only then."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import dbt_projects
from support.sources_project import PROJECT

from dpe_cli.project import dbt
from dpe_cli.project.project import Project


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
        empty: dict[str, dict[str, object]] = {"nodes": {}, "disabled": {}, "sources": {}, "functions": {}, "macros": {}}
        manifest = SimpleNamespace(
            files={"dpe://elsewhere/d.sql": SimpleNamespace(path=path)},
            env_vars={"SHOP_REGION": ""},
            metadata=SimpleNamespace(project_name=dbt_projects.NAME),
            **empty,
        )
        return SimpleNamespace(result=manifest)


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
    "a first semantic model of dbt 1.12": lambda directory: dbt_projects.write(directory, {"osi/orders.json": "{}"}),
    "the settings of the user change": lambda directory: os.environ.update(HOME=str(_home_with_settings(directory))),
    "the selectors change": lambda directory: (directory / "selectors.yml").touch(),
    "the settings change": lambda directory: (directory / "dbt_project.yml").touch(),
    "the profile changes": lambda directory: (directory / "profiles.yml").touch(),
    "a macro changes": lambda directory: (directory / "macros" / "generate_schema_name.sql").touch(),
    "a package is added": lambda directory: (directory / "packages.yml").touch(),
    "a variable that the project asks for": lambda _directory: os.environ.update(SHOP_DATA="elsewhere"),
    "a variable whose name Jinja puts together": lambda _directory: os.environ.update(SHOP_REGION="north"),
    "a variable of the profile": lambda _directory: os.environ.update(PGDATABASE="elsewhere"),
    "a variable of dbt's own": lambda _directory: os.environ.update(DBT_TARGET_PATH="elsewhere"),
    "the manifest was cut short": lambda directory: _cut_short(next(directory.glob(".dpe/parsed/*/manifest.json"))),
    "the manifest is gone": lambda directory: next(directory.glob(".dpe/parsed/*/manifest.json")).unlink(),
}


def _home_with_settings(directory: Path) -> Path:
    return dbt_projects.write(directory / "home", {".dbt/user_settings.yml": "send_anonymous_usage_stats: false"})


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


def test_a_link_that_leads_nowhere_is_no_error(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emacs locks a file with one; dbt reads the project without it, and again once the link leads to a file."""
    FakeDbt(monkeypatch)
    (small / "models" / ".#a.sql").symlink_to("someone@host.1234:5678")
    assert [1, 1] == [Project(small).manifest["parse"] for _ in range(2)]

    (small / "models" / "someone@host.1234:5678").write_text("select 1")

    assert [2, 2] == [Project(small).manifest["parse"] for _ in range(2)]


@pytest.mark.timeout(60)
def test_a_link_back_to_a_directory_that_it_is_in_is_not_followed(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a package's own tests, which install the package from the directory above. Two of them would lead on 2^40 ways."""
    FakeDbt(monkeypatch)
    for name in ("again", "and_again"):
        (small / "models" / name).symlink_to(".")
        (small / "dbt_packages" / name).symlink_to("..")

    assert [1, 1] == [Project(small).manifest["parse"] for _ in range(2)]
    (small / "models" / "below" / "b.yml").unlink()
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
    directory = dbt_projects.make(
        tmp_path, PROJECT | {"models/finance/fct_orders.sql": "select order_id, shop from {{ ref('stg_orders') }}"}
    )
    _leave_paths_to_dbt(directory)
    assert "shop.orders" in Project(directory).sources

    sources = directory / "models" / "raw" / "_shop__sources.yml"
    sources.write_text(sources.read_text().replace("name: hour, data_type", "name: hour_utc, data_type"))
    (directory / "models" / "finance" / "fct_nothing.sql").unlink()
    declared = directory / "models" / "finance" / "_finance__models.yml"
    declared.write_text(declared.read_text().partition("  - name: fct_nothing")[0])

    changed = Project(directory)
    assert ("hour_utc",) == tuple(column.name for column in changed.sources["weather.hours"].table.columns)
    assert "fct_nothing" not in changed.models
