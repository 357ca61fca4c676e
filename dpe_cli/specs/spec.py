"""Specs as the pipeline needs them: the ticket, what it loads and publishes, and its rules."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dpe_cli.errors import SpecError, UnknownNameError
from dpe_cli.specs.reading.read import read as read_requirement
from dpe_cli.specs.requirement import Requirement, RuleRow
from dpe_cli.words import did_you_mean

# What every spec says in its front matter, or elsewhere.
_EXAMPLES = {"owner": "owner: sales-operations", "sources": "sources: [shop.orders]", "models": "models: [fct_orders]"}


@dataclass(frozen=True)
class Spec:
    """A spec that says what belongs to its pipeline; `requirement` is all that it says."""

    requirement: Requirement

    @property
    def path(self) -> Path:
        """Its file."""
        return self.requirement.path

    @property
    def ticket(self) -> str:
        """The ticket, which names the pipeline."""
        return self.requirement.ticket

    @property
    def title(self) -> str:
        """What it is about."""
        return self.requirement.text_of("title").bare

    @property
    def owner(self) -> str:
        """Who is responsible for it."""
        return self.requirement.text_of("owner").bare

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The dbt sources that its records come from."""
        return self.requirement.source_names

    @cached_property
    def models(self) -> tuple[str, ...]:
        """The models that it publishes."""
        return tuple(self.requirement.tables)

    @property
    def rows(self) -> tuple[RuleRow, ...]:
        """Its rules."""
        return self.requirement.rules

    @property
    def rules(self) -> tuple[str, ...]:
        """The ids of its rules."""
        return tuple(row.rule_id for row in self.rows)


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


def path_of(directory: Path, wanted: str) -> Path:
    """
    Return the file of a spec, by its ticket or its path; the spec may be unclear.

    Raises:
        UnknownNameError: there is none.
    """
    path = Path(wanted)
    if path.suffix == ".md":
        return path
    tickets = {}
    for path in sorted(directory.glob("*-spec.md")):
        try:
            tickets[read_requirement(path).ticket] = path
        except SpecError:
            # Its name begins with its ticket.
            tickets.setdefault("-".join(path.name.split("-")[:2]), path)
    if wanted in tickets:
        return tickets[wanted]
    raise _unknown(directory, wanted, tickets)


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
    raise _unknown(directory, wanted, tickets)


def _unknown(directory: Path, wanted: str, tickets: Collection[str]) -> UnknownNameError:
    listed = ", ".join(tickets) or "none"
    return UnknownNameError(f"{wanted}: no such spec; {did_you_mean(wanted, tickets, f'there are {listed} in {directory.name}/')}")


def read(path: Path) -> Spec:
    """
    Read a spec that says what its pipeline loads and publishes, and who owns it.

    Raises:
        SpecError: with file, line and column, and what is wrong there.
    """
    spec = Spec(read_requirement(path))
    fields = spec.requirement.fields
    if not fields and not spec.sources and not spec.models:
        raise SpecError(f"{path}, line 1: the front matter is missing; start the file with a line `---`, its fields, and another `---`")
    # An empty list says that there are none.
    missing = [name for name in _EXAMPLES if name not in fields and not getattr(spec, name)]
    if missing:
        examples = "; ".join(f"`{_EXAMPLES[name]}`" for name in missing)
        raise SpecError(f"{path}: the spec does not say its {', '.join(missing)}; add to its front matter, as in {examples}")
    return spec
