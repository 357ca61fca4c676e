"""Published tables of which the spec does not say who sees them, or what a row is."""

from __future__ import annotations

from collections.abc import Iterator

from dpe_cli.specs import vocabulary
from dpe_cli.specs.findings import SpecFinding, finding
from dpe_cli.specs.phrases import Phrases
from dpe_cli.specs.requirement import Requirement
from dpe_cli.specs.text import Text
from dpe_cli.specs.vocabulary import is_open, says_nothing

_EVERYONE = Phrases("access", "everyone")
_GRAIN_OF_ANYTHING = Phrases("access", "grain of anything")


def access_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find published tables without readers."""
    rows = {access.table.bare: access for access in requirement.access}
    for name, text in requirement.tables.items():
        access = rows.get(name)
        if access is None or not access.readers or is_open(access.readers) or says_nothing(access.readers):
            line = requirement.line_of("access") if access is None else access.table.line
            said = f" (only {access.readers.plain!r})" if access is not None and access.readers else ""
            yield finding(
                "access_missing",
                line if access is not None or requirement.section("access") else text.line,
                f"the spec does not say who may see {name}{said}",
                f"Who may see the rows of {name}: everyone with access, or each reader only its own rows (then: by which "
                "column), or only certain roles?",
            )


def grain_missing(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find published tables of which the spec does not say what a row is."""
    rows = {access.table.bare: access for access in requirement.access}
    for name, text in requirement.tables.items():
        access = rows.get(name)
        grain = access.grain if access is not None else Text("", text.line)
        if not grain or is_open(grain) or _GRAIN_OF_ANYTHING.fullmatch(grain.bare.rstrip(".")):
            line = access.table.line if access is not None else text.line
            said = f" (only {grain.plain!r})" if grain else ""
            yield finding(
                "grain_missing",
                line,
                f"the spec does not say what one row of {name} is{said}",
                f"What is one row of {name}: for example one per order, or one per order and day? By which columns is a row identified?",
            )


def personal_data(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find personal data in tables whose readers are not named."""
    rows = {access.table.bare: access for access in requirement.access}
    for name in requirement.tables:
        access = rows.get(name)
        if access is None or not access.readers or not _EVERYONE.search(access.readers.bare):
            continue
        columns = [column for column in requirement.columns_of(name) if _is_personal(requirement, column)]
        if columns:
            line = next(
                (column.column.line for column in requirement.published if column.table.bare == name and column.column.bare in columns),
                access.table.line,
            )
            listed = ", ".join(columns)
            yield finding(
                "personal_data",
                line,
                f"{name} publishes personal data ({listed}) to {access.readers.plain!r}, which does not name the readers",
                f"{name} shows {listed}, which is personal data. Which roles need to see it, and for what purpose? May it be "
                "left out, or masked, for all others?",
            )


def _is_personal(requirement: Requirement, column: str) -> bool:
    meanings = [contract.column(column) for contract in requirement.contracts]
    return vocabulary.is_personal(column) or any(
        found is not None and vocabulary.is_personal(column, found.meaning.bare) for found in meanings
    )


def tenant_unknown(requirement: Requirement) -> Iterator[SpecFinding]:
    """Find a tenant column that no source and no table has."""
    tenant = requirement.text_of("tenant")
    if not tenant or says_nothing(tenant) or is_open(tenant):
        return
    known = requirement.column_names | {column.casefold() for name in requirement.tables for column in requirement.columns_of(name)}
    if known and tenant.lower not in known:
        yield finding(
            "tenant_unknown",
            requirement.fields["tenant"].line,
            f"the tenant column {tenant.bare} is in no source and no published table",
            f"By which column do readers see only their own rows? The spec says {tenant.bare}, and no table has such a column.",
        )


CHECKS = (access_missing, grain_missing, personal_data, tenant_unknown)
