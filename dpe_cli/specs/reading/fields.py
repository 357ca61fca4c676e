"""The fields of a spec: its YAML front matter, or lines such as `**Ticket**: WOR-314` in older specs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from dpe_cli.errors import SpecError
from dpe_cli.specs.reading import titles
from dpe_cli.specs.reading.markdown import Element, Heading, Item, Paragraph
from dpe_cli.specs.requirement import Field
from dpe_cli.specs.text import Text

FENCE = "---"
LISTS = frozenset({"sources", "models"})
_MOST_VALUES = 1000
_LINE = re.compile(
    r"^[ \t]*(?:[-*] )?(?:\*\*)?(?P<name>[A-Za-z][A-Za-z _]{2,20}?)(?:\*\*)?[ \t]*:(?:\*\*)?[ \t]*(?P<value>.*)$", re.MULTILINE
)


def front_matter(path: Path, lines: Sequence[str]) -> tuple[dict[str, Field], int]:
    """
    Return the fields between the lines `---` at the start of a file, and the number of lines that they take, 0 if there are none.

    Raises:
        SpecError: they do not end, or are not valid YAML.
    """
    if not lines or lines[0].rstrip() != FENCE:
        return {}, 0
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == FENCE), None)
    if end is None:
        raise SpecError(f"{path}, line 1: the front matter has no end; close it with a line `---`")
    return _of_yaml(path, "\n".join(lines[1:end])), end + 1


def _of_yaml(path: Path, text: str) -> dict[str, Field]:
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        # The front matter starts on line 2 of the file; marks count from 0.
        where = f", line {mark.line + 2}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise SpecError(f"{path}{where}: the front matter is not valid YAML ({problem}); correct it") from error
    if not isinstance(node, yaml.MappingNode):
        raise SpecError(f"{path}, line 2: the front matter holds no fields; write them as `name: value`")
    fields: dict[str, Field] = {}
    for key, value in node.value:
        line = key.start_mark.line + 2
        name = str(key.value)
        if name in fields:
            raise SpecError(f"{path}, line {line}: the front matter has {name} twice; keep one of the two")
        fields[name] = Field(name, tuple(_values(path, name, value)), line)
    return fields


def _values(path: Path, name: str, node: yaml.Node) -> list[Text]:
    """Return the values of a field: one, or those of a list, also within lists."""
    found: list[Text] = []
    pending, is_list = [node], isinstance(node, yaml.SequenceNode)
    while pending:
        node = pending.pop()
        line = node.start_mark.line + 2
        if len(found) + len(pending) > _MOST_VALUES:
            # An alias of YAML can stand for any number of values.
            raise SpecError(f"{path}, line {line}: {name} has more than {_MOST_VALUES:,} values; list only what belongs there")
        if isinstance(node, yaml.ScalarNode):
            # `null` and `~` say that there is none.
            text = Text("" if node.tag.endswith(":null") else node.value, line)
            found += text.names() if name in LISTS and not is_list else [text]
        elif isinstance(node, yaml.SequenceNode):
            pending += reversed(node.value)
        else:
            raise SpecError(f"{path}, line {line}: {name} holds fields of its own; write one value, or a list of them")
    return found


def in_body(elements: Iterable[Element]) -> dict[str, Field]:
    """Return the fields that an older spec has in its text before the first section, and its pattern wherever it is named."""
    fields: dict[str, Field] = {}
    is_head = True
    for element in elements:
        if isinstance(element, Heading):
            is_head = is_head and element.level == 1
        elif isinstance(element, Paragraph | Item):
            for field in _fields(element.text):
                if is_head or field.name == "pattern":
                    fields.setdefault(field.name, field)
    return fields


def _fields(text: Text) -> Iterable[Field]:
    for match in _LINE.finditer(text.value):
        name = titles.meaning(" ".join(match["name"].lower().replace("_", " ").split()), titles.FIELDS)
        if name:
            value = text.part(match.start("value"), match.end("value"))
            yield Field(name, value.names() if name in LISTS else (value,), value.line)
