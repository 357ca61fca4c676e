"""Read a spec as far as it says something; what it does not say is for the checks to find."""

from __future__ import annotations

import re
from pathlib import Path

from dpe_cli.errors import SpecError
from dpe_cli.specs.reading import fields, markdown, others, outline, published, rules, sources
from dpe_cli.specs.requirement import Field, Requirement, Section
from dpe_cli.specs.text import Text
from dpe_cli.words import size

# With any prefix: `DPE-101-carrier-operations-spec.md`, `WOR-314-invoices-spec.md`.
_TICKET = re.compile(r"([A-Z][A-Z0-9]*-\d+)(?![\d])")

_MOST_BYTES = 2_000_000


def read(path: Path) -> Requirement:
    """
    Read a spec.

    Raises:
        SpecError: it is not text, or is too large, its front matter is not valid YAML, it has no ticket, or the id of a rule is
            malformed or occurs twice.
    """
    if path.is_file() and (bytes_ := path.stat().st_size) > _MOST_BYTES:
        limit = size(_MOST_BYTES)
        raise SpecError(f"{path}: has {size(bytes_)}, and is larger than {limit}; a spec is text, so give the path of one")
    try:
        # With or without a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read ({error}); give the path of a spec in UTF-8, or its ticket") from error
    # As editors count lines: other characters that begin a line, such as U+2028, are part of it.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    named, end = fields.front_matter(path, lines)
    # As many lines as before, so that the numbers of the others stay.
    elements = markdown.elements("\n".join([""] * end + lines[end:]))
    named = fields.in_body(elements) | named
    ticket = _ticket(path, named, lines[end:])
    parts = outline.parts(elements)
    listed = named["sources"].values if "sources" in named else ()
    entries = sources.entries(parts, listed)
    models = [text.bare for text in named["models"].values] if "models" in named else []
    columns = published.columns(parts, models)
    tables = list(dict.fromkeys([*models, *(column.table.bare for column in columns if column.table)]))
    return Requirement(
        path,
        ticket,
        named,
        tuple(Section(part.about, part.title, tuple(part.texts)) for part in parts),
        sources=tuple(entries),
        contracts=tuple(sources.contracts(parts, entries)),
        transformations=tuple(others.transformations(parts)),
        published=tuple(columns),
        access=tuple(published.access(parts, tables)),
        rules=tuple(rules.rows(path, parts, ticket)),
        figures=tuple(others.figures(parts)),
        questions=tuple(others.questions(parts)),
        surplus=tuple(cell for part in parts for table in part.tables for row in table.rows for cell in row.surplus[:1]),
    )


def _ticket(path: Path, named: dict[str, Field], lines: list[str]) -> str:
    """Return the ticket that a spec states, or that its file's name or its title begins with."""
    if "ticket" in named and named["ticket"].value:
        return named["ticket"].value.bare
    title = next((line for line in lines if line.startswith("#")), "")
    for text in (path.name, Text(title, 1).bare.lstrip("# ")):
        if match := _TICKET.match(text):
            return match[1]
    raise SpecError(f"{path}, line 1: the ticket is missing; start the file with a line `---`, `ticket: DPE-101`, and another `---`")
