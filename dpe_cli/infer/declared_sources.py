"""What the project's YAML files declare of sources: where a new one belongs, and which schema it gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpe_cli.errors import ProjectError
from dpe_cli.infer.inference import InferredTable

# The schema, and the folder, of the first source of a project.
FIRST = "staging"


@dataclass(frozen=True)
class _Declared:
    """A source table that is already declared."""

    source: str
    table: str
    relation: str
    path: Path


def schema_for(name: str, project_dir: Path) -> str:
    """
    Return the schema for the tables of a source: its own if it is declared, else the one that most other sources have.

    A YAML file that cannot be read counts only if the source is to be written to the project (target()).
    """
    try:
        found = [source for _, document in _files(project_dir) for source in sources_of(document)]
    except ProjectError:
        return FIRST
    own = [str(source.get("schema", name)) for source in found if source.get("name") == name]
    others = Counter(str(source["schema"]) for source in found if source.get("schema") and _has_external(source))
    return own[0] if own else next((schema for schema, _ in others.most_common(1)), FIRST)


def target(inferred: InferredTable, project_dir: Path, given: Path | None) -> Path:
    """
    Return the file to write to: the given one, the one that already has the source, or one named after it, next to those of other sources.

    Raises:
        ProjectError: the table is already declared, or its staging table belongs to another one; or a YAML file cannot be read.
    """
    files = dict(_files(project_dir))
    schema = schema_for(inferred.source, project_dir)
    declared = [declaration for path, document in files.items() for declaration in _declared(path, document)]
    for declaration in declared:
        where = declaration.path.relative_to(project_dir)
        if (declaration.source, declaration.table) == (inferred.source, inferred.table):
            raise ProjectError(f"{inferred.name}: is already declared in {where}; give another name with --name, or remove it there first")
        if declaration.relation == f"{schema}.{inferred.table}":
            raise ProjectError(
                f"{inferred.name}: {declaration.relation} is the staging table of {declaration.source}.{declaration.table} ({where}); "
                "give another name with --name"
            )
    holders = [path for path, document in files.items() if any(source.get("name") == inferred.source for source in sources_of(document))]
    if given is not None:
        path = given if given.is_absolute() else Path.cwd() / given
        if holders and path.resolve() not in {holder.resolve() for holder in holders}:
            raise ProjectError(
                f"{inferred.source}: is declared in {holders[0].relative_to(project_dir)}; omit the file name to add the table there"
            )
        return path
    return holders[0] if holders else _folder(inferred.source, project_dir, files) / f"_{inferred.source}__sources.yml"


def _folder(name: str, project_dir: Path, files: Mapping[Path, Any]) -> Path:
    """Return the folder for a source's file: where most other sources are, in a folder of its own if they have their own."""
    folders: Counter[tuple[Path, bool]] = Counter()
    for path, document in files.items():
        for source in sources_of(document):
            if _has_external(source):
                has_own = path.parent.name == source.get("name")
                folders[path.parent.parent if has_own else path.parent, has_own] += 1
    (folder, has_own), _ = next(iter(folders.most_common(1)), ((_model_paths(project_dir)[0] / FIRST, True), 0))
    return folder / name if has_own else folder


def sources_of(document: Any) -> list[Mapping[str, Any]]:
    """Return the sources that a YAML file declares."""
    held = document.get("sources") if isinstance(document, dict) else None
    return [entry for entry in held if isinstance(entry, dict)] if isinstance(held, list) else []


def _tables_of(source: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tables = source.get("tables")
    return [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []


def _has_external(source: Mapping[str, Any]) -> bool:
    """Return whether dpe loads a table of a source."""
    return any(table.get("external") for table in _tables_of(source))


def _declared(path: Path, document: Any) -> Iterator[_Declared]:
    for source in sources_of(document):
        for table in _tables_of(source):
            if "name" in table:
                relation = f"{source.get('schema', source.get('name'))}.{table.get('identifier', table['name'])}"
                yield _Declared(str(source.get("name")), str(table["name"]), relation, path)


def _model_paths(project_dir: Path) -> list[Path]:
    """Return the folders in which dbt looks for models; dbt's default if dbt_project.yml does not say, or cannot be read."""
    import yaml

    try:
        settings = yaml.load((project_dir / "dbt_project.yml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, OSError, UnicodeDecodeError):
        settings = None
    paths = settings.get("model-paths") if isinstance(settings, dict) else None
    return [project_dir / str(path) for path in paths] if isinstance(paths, list) and paths else [project_dir / "models"]


def _files(project_dir: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the YAML files among the models, with their content."""
    import yaml

    for path in sorted(path for folder in _model_paths(project_dir) for path in folder.rglob("*.y*ml")):
        try:
            yield path, yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise ProjectError(
                f"{path.relative_to(project_dir)}: cannot be read as YAML ({' '.join(str(error).split())}); correct it"
            ) from error
