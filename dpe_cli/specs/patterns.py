"""The registered patterns: those in the wheel, and those of the project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dpe_cli.errors import ProjectError

# In the wheel, and linked to the directory of this repository.
OWN = Path(__file__).parents[1] / "patterns"
_FILE = "pattern.yml"


class Needs(BaseModel):
    """What a pattern needs from a spec: kinds of location, a way of loading, a key, a tenant, a number of tables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    location: tuple[Literal["file", "api", "database", "tap"], ...] = ()
    loading: Literal["append", "replace", "incremental"] | None = None
    key: bool = False
    tenant: bool = False
    tables: int = 0


class Parameter(BaseModel):
    """What the pattern is customised with: its type, and where in a spec it stands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    type: str
    origin: str = Field(alias="from")


class Pattern(BaseModel):
    """A registered way to build a part of a pipeline: `of` a source, or of a table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    purpose: str
    of: Literal["source", "table"] = Field(alias="for")
    use_when: tuple[str, ...]
    do_not_use_when: tuple[str, ...]
    needs: Needs = Needs()
    parameters: tuple[Parameter, ...] = ()
    combines_with: tuple[str, ...] = ()


def registered(project_dir: Path | None) -> dict[str, Pattern]:
    """
    Return the patterns of dpe and of a project, by name; a project's own comes before one of dpe's of the same name.

    Raises:
        ProjectError: a pattern.yml is not valid.
    """
    found = {pattern.name: pattern for pattern in _read(OWN)}
    if project_dir is not None and (project_dir / "patterns").is_dir():
        found |= {pattern.name: pattern for pattern in _read(project_dir / "patterns")}
    return dict(sorted(found.items()))


def _read(directory: Path) -> Iterator[Pattern]:
    for path in sorted(directory.glob(f"*/{_FILE}")):
        try:
            values = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
            yield Pattern.model_validate({"name": path.parent.name, **values})
        except (OSError, UnicodeDecodeError, TypeError, yaml.YAMLError) as error:
            raise ProjectError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())}); correct it") from error
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}" for fault in error.errors())
            raise ProjectError(f"{path}: {faults}; correct these fields") from error
