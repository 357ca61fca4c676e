"""Specs: written requirements, Markdown with a YAML front matter and a table of rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dpe_cli.errors import SpecError, UnknownNameError
from dpe_cli.specs import rules_table
from dpe_cli.specs.rules_table import RuleRow
from dpe_cli.words import did_you_mean

_FENCE = "---"


class FrontMatter(BaseModel):
    """The fields at the top of every spec; others are allowed."""

    model_config = ConfigDict(extra="allow", frozen=True)

    ticket: str
    title: str
    owner: str
    sources: list[str]
    models: list[str]


@dataclass(frozen=True)
class Spec:
    """A spec, with the rows of its tables of rules."""

    path: Path
    front_matter: FrontMatter
    rows: tuple[RuleRow, ...]

    @property
    def rules(self) -> tuple[str, ...]:
        """The ids of its rules."""
        return tuple(row.rule_id for row in self.rows)

    @property
    def ticket(self) -> str:
        """The ticket, which names the pipeline."""
        return self.front_matter.ticket


def read_all(directory: Path) -> list[Spec]:
    """
    Read the specs in a directory, by name.

    Raises:
        SpecError: one of them is broken, or two are for the same ticket.
    """
    specs, faults = read_valid(directory)
    if faults:
        raise faults[0]
    return specs


def read_valid(directory: Path) -> tuple[list[Spec], list[SpecError]]:
    """Read the specs in a directory, by name; return the valid ones, and what is wrong with the others."""
    specs: dict[str, Spec] = {}
    faults: list[SpecError] = []
    for path in sorted(directory.glob("*-spec.md")):
        try:
            spec = read(path)
        except SpecError as error:
            faults.append(error)
            continue
        if other := specs.get(spec.ticket):
            faults.append(
                SpecError(f"{path}: {other.path.name} already is the spec of ticket {spec.ticket}; give one of them another ticket")
            )
        else:
            specs[spec.ticket] = spec
    return list(specs.values()), faults


def find(directory: Path, wanted: str) -> Spec:
    """
    Return the spec of a ticket, or at a path.

    Raises:
        SpecError: it is broken.
        UnknownNameError: there is none.
    """
    path = Path(wanted)
    if path.suffix == ".md":
        return read(path)
    specs = read_all(directory)
    for spec in specs:
        if spec.ticket == wanted:
            return spec
    tickets = [spec.ticket for spec in specs]
    listed = ", ".join(tickets) or "none"
    raise UnknownNameError(f"{wanted}: no such spec; {did_you_mean(wanted, tickets, f'there are {listed} in {directory.name}/')}")


def read(path: Path) -> Spec:
    """
    Read a spec.

    Raises:
        SpecError: with file, line and column, and what is wrong there.
    """
    try:
        # With or without a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error}); give the path of a spec in UTF-8, or its ticket") from error
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != _FENCE:
        raise SpecError(f"{path}, line 1: the front matter is missing; start the file with a line `---`, its fields, and another `---`")
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise SpecError(f"{path}, line 1: the front matter has no end; close it with a line `---`")
    front_matter = _front_matter(path, "\n".join(lines[1:end]))
    return Spec(path, front_matter, rules_table.rows_of(path, lines, start=end, ticket=front_matter.ticket))


def _front_matter(path: Path, text: str) -> FrontMatter:
    try:
        fields = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        # The front matter starts on line 2 of the file; marks count from 0.
        where = f", line {mark.line + 2}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise SpecError(f"{path}{where}: the front matter is not valid YAML ({problem}); correct it") from error
    if not isinstance(fields, dict):
        raise SpecError(f"{path}, line 2: the front matter holds no fields; write them as `name: value`")
    try:
        return FrontMatter.model_validate(fields)
    except ValidationError as error:
        faults = [(str(fault["loc"][0]), fault["msg"].lower()) for fault in error.errors()]
        named = "; ".join(f"{field}{_line_of(text, field)}: {message}" for field, message in faults)
        raise SpecError(f"{path}: front matter: {named}; correct these fields") from error


def _line_of(text: str, field: str) -> str:
    for number, line in enumerate(text.splitlines(), 2):
        if line.startswith(f"{field}:"):
            return f" (line {number})"
    return ""
