"""
Insert values into YAML as text: not a character of what is there changes, comments and blank lines included.

YAML libraries lose comments, or rewrap long texts, when they write a file. So values are inserted between lines, or into brackets. The
outcome is parsed again, and has to equal the old content with the addition.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import yaml

# A key of a mapping; or the key and the value by which an item of a list is known.
Step = str | tuple[str, str]


class NotInsertableError(Exception):
    """The text cannot be extended safely, the way it is written; the message says why."""


def with_value(text: str, path: Sequence[Step], value: Any, *, first: bool = False, repeated: bool = False) -> str:
    """
    Return a text that has a value at a path, whose mappings are created where they are missing.

    What is there already has to be absent, or a scalar, which is replaced. `first`: a new key goes before the others of its mapping.
    `repeated`: the value may change as well where an alias or a merge key (`<<`) repeats the mapping.

    Raises:
        NotInsertableError: the text is not YAML, or cannot be extended safely.
    """

    def set_in(content: Any) -> Any:
        *parents, last = path
        place = content = {} if content is None else content
        for step in parents:
            place = _entered(place, step)
        place[last] = value
        return content

    key = path[-1] if repeated else None
    return _edited(text, lambda plain: _insert(plain, path, value, first=first), set_in, but=key)


def with_item(text: str, path: Sequence[Step], item: Mapping[str, Any] | str, *, first: bool = False) -> str:
    """
    Return a text that has one more item in the list at a path, which is created if it is missing; at its end, unless `first`.

    Raises:
        NotInsertableError: the text is not YAML, or cannot be extended safely.
    """

    def add_to(content: Any) -> Any:
        *parents, last = path
        place = content = {} if content is None else content
        for step in parents:
            place = _entered(place, step)
        if place.get(last) is None:
            place[last] = []
        place[last].insert(0 if first else len(place[last]), item)
        return content

    return _edited(text, lambda plain: _insert_item(plain, path, item, first=first), add_to)


def _entered(place: Any, step: Step) -> Any:
    if isinstance(step, tuple):
        return next(item for item in place if item.get(step[0]) == step[1])
    if place.get(step) is None:
        place[step] = {}
    return place[step]


def _edited(text: str, edit: Callable[[str], str], change: Callable[[Any], Any], *, but: Step | None = None) -> str:
    is_windows = "\r\n" in text
    if is_windows and text.count("\r\n") != text.count("\n"):
        raise NotInsertableError("has line ends of two kinds")
    plain = text.replace("\r\n", "\n")
    if plain and not plain.endswith("\n"):
        plain += "\n"
    try:
        wanted = change(deepcopy(parsed(plain)))
    except (AttributeError, KeyError, StopIteration, TypeError) as error:
        raise NotInsertableError("is written in another form than expected") from error
    edited = edit(plain)
    try:
        is_safe = _without(but, parsed(edited)) == _without(but, wanted)
    except NotInsertableError:
        is_safe = False
    if not is_safe:
        raise NotInsertableError("cannot be extended safely, the way it is written")
    return edited.replace("\n", "\r\n") if is_windows else edited


def _without(key: Step | None, content: Any) -> Any:
    """Return a content without the values of a key, wherever it occurs."""
    if key is None:
        return content
    if isinstance(content, dict):
        return {name: _without(key, value) for name, value in content.items() if name != key}
    return [_without(key, item) for item in content] if isinstance(content, list) else content


def parsed(text: str) -> Any:
    """
    Return the content of YAML.

    Raises:
        NotInsertableError: it is none.
    """
    import yaml

    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise NotInsertableError(f"cannot be read as YAML ({' '.join(str(error).split())})") from error


def composed(text: str) -> yaml.Node | None:
    """
    Return the nodes of YAML, which know where they stand; None for an empty text.

    Raises:
        NotInsertableError: it is none.
    """
    import yaml

    parsed(text)
    return yaml.compose(text, Loader=yaml.CSafeLoader)


def _insert(text: str, path: Sequence[Step], value: Any, *, first: bool) -> str:
    import yaml

    key: yaml.Node | None = None
    node, steps = composed(text), list(path)
    while steps and (found := _step(node, steps[0])):
        key, node = found
        steps.pop(0)
    if not steps:
        if not isinstance(node, yaml.ScalarNode):
            raise NotInsertableError(f"has something else as {path[-1]}")
        start = node.start_mark.index
        return f"{text[:start]}{' ' if text[:start].endswith(':') else ''}{in_brackets(value)}{text[node.end_mark.index :]}"
    if not all(isinstance(step, str) for step in steps):
        raise NotInsertableError(f"has no {steps[-1][1]}")
    names = [str(step) for step in steps]
    if isinstance(node, yaml.MappingNode) and node.flow_style:
        nested = value
        for name in reversed(names[1:]):
            nested = {name: nested}
        start = node.start_mark.index + 1
        return f"{text[:start]}{in_brackets({names[0]: nested})[1:-1]}{', ' if node.value else ''}{text[start:]}"
    indent, line = _place(text, key, node, first=first)
    return _with_lines(text, line, [*_gap(text, line, indent), *_nested(names, value, indent, _step_of(text))])


def _insert_item(text: str, path: Sequence[Step], item: Mapping[str, Any] | str, *, first: bool) -> str:
    import yaml

    key: yaml.Node | None = None
    node, steps = composed(text), list(path)
    while steps and (found := _step(node, steps[0])):
        key, node = found
        steps.pop(0)
    if steps:
        if len(steps) > 1 or isinstance(steps[0], tuple) or (isinstance(node, yaml.MappingNode) and node.flow_style):
            raise NotInsertableError(f"has no place for {path[-1]}")
        indent, line = _place(text, key, node, first=False)
        step = " " * _step_of(text)
        return _with_lines(text, line, [*_gap(text, line, indent), f"{indent}{steps[0]}:", *_item(item, indent + step)])
    if isinstance(node, yaml.ScalarNode) and not node.value and key is not None:
        indent = " " * (key.start_mark.column + _step_of(text))
        return _with_lines(text, key.end_mark.line + 1, [*_item(item, indent)])
    if not isinstance(node, yaml.SequenceNode):
        raise NotInsertableError(f"has something else than a list as {path[-1]}")
    if node.flow_style:
        start = node.start_mark.index + 1
        if not first and node.value:
            end = node.value[-1].end_mark.index
            return f"{text[:end]}, {in_brackets(item)}{text[end:]}"
        return f"{text[:start]}{in_brackets(item)}{', ' if node.value else ''}{text[start:]}"
    return after_items(text, node, lambda indent: [*_item(item, indent)], first=first)


def after_items(text: str, items: yaml.Node | None, lines: Callable[[str], list[str]], *, first: bool = False) -> str:
    """
    Return a text with lines inserted after the last item of a list, or before the `first` one; `lines` gets the items' indentation.

    Raises:
        NotInsertableError: the list is empty or in brackets, or starts after other text.
    """
    import yaml

    if not isinstance(items, yaml.SequenceNode) or items.flow_style or not items.value:
        raise NotInsertableError("its list is empty or in brackets")
    indent = text.split("\n")[items.start_mark.line][: items.start_mark.column]
    if indent.strip():
        raise NotInsertableError(f"line {items.start_mark.line + 1}: the list starts after other text")
    return _with_lines(text, items.start_mark.line if first else end_of(items), lines(indent))


def _with_lines(text: str, line: int, lines: Sequence[str]) -> str:
    rows = text.split("\n")
    return "\n".join([*rows[:line], *lines, *rows[line:]])


def _step(node: yaml.Node | None, step: Step) -> tuple[yaml.Node | None, yaml.Node] | None:
    """Return the key and the value to which a step leads; an item has no key."""
    import yaml

    if isinstance(step, tuple):
        if not isinstance(node, yaml.SequenceNode):
            return None
        for item in node.value:
            found = member(item, step[0])
            if isinstance(found, yaml.ScalarNode) and found.value == step[1]:
                return None, item
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    return next(((key, value) for key, value in node.value if key.value == step), None)


def _place(text: str, key: yaml.Node | None, node: yaml.Node | None, *, first: bool) -> tuple[str, int]:
    """Return the indentation and the line for a new key of a mapping that is not in brackets, or is empty."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        column = node.start_mark.column
        if not first:
            return " " * column, end_of(node)
        # Below the line that names the mapping, or in an item of a list below its first entry: comments there belong to what follows.
        line = key.end_mark.line + 1 if key is not None else end_of(node.value[0][1])
        return " " * column, line
    if node is None:
        return "", len(text.split("\n")) - 1
    if isinstance(node, yaml.ScalarNode) and not node.value and key is not None:
        return " " * (key.start_mark.column + _step_of(text)), key.end_mark.line + 1
    raise NotInsertableError("is not a mapping where one is expected")


def _gap(text: str, line: int, indent: str) -> list[str]:
    """Return the blank line before a new part of the whole text, if there is text before it."""
    return [""] if not indent and line and text.split("\n")[line - 1].strip() else []


def _step_of(text: str) -> int:
    """Return by how many spaces a text indents: as its first mapping within another one."""
    import yaml

    def depths(node: yaml.Node | None) -> Iterator[int]:
        if isinstance(node, yaml.MappingNode) and not node.flow_style:
            for key, value in node.value:
                if isinstance(value, yaml.MappingNode) and not value.flow_style:
                    yield value.start_mark.column - key.start_mark.column
                yield from depths(value)

    return next((depth for depth in depths(composed(text)) if depth > 0), 2)


def _nested(names: Sequence[str], value: Any, indent: str, step: int) -> list[str]:
    *parents, last = names
    lines = [f"{indent}{' ' * step * depth}{name}:" for depth, name in enumerate(parents)]
    return [*lines, f"{indent}{' ' * step * len(parents)}{last}: {in_brackets(value)}"]


def _item(item: Mapping[str, Any] | str, indent: str) -> Iterator[str]:
    if isinstance(item, str):
        yield f"{indent}- {in_brackets(item)}"
        return
    for number, (key, value) in enumerate(item.items()):
        yield f"{indent}{'  ' if number else '- '}{key}: {in_brackets(value)}"


def in_brackets(value: Any) -> str:
    """Return a value as YAML in one line."""
    import yaml

    if isinstance(value, str) and "'" in value:
        # In double quotes, because single ones would have to be doubled. JSON's escapes are YAML's, too.
        return json.dumps(value, ensure_ascii=False)
    written = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    return written.removesuffix("\n").removesuffix("\n...")


def end_of(node: yaml.Node) -> int:
    """Return the number of lines up to the end of a node, without blank lines and comments after it."""
    import yaml

    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return max(end_of(part) for pair in node.value for part in pair)
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return max(map(end_of, node.value))
    return int(node.end_mark.line) + (1 if node.end_mark.column else 0)


def member(node: yaml.Node | None, name: str) -> yaml.Node | None:
    """Return the value that a mapping has under a name."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)
