"""
The files of a new project, from templates in Jinja2.

Their delimiters are `[[ … ]]` and `[% … %]`, because what dbt and GitHub evaluate later has `{{ … }}` and `{% … %}` in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DIRECTORY = Path(__file__).parent / "templates"


def render(kinds: tuple[str, ...], values: Mapping[str, object]) -> dict[str, str]:
    """Return the files of these kinds of template (the directories here), by their paths in the project; later kinds win."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
        comment_start_string="[#",
        comment_end_string="#]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 no HTML
        finalize=_in_one_line,
    )
    files: dict[str, str] = {}
    for kind in kinds:
        for path in sorted((DIRECTORY / kind).rglob("*")):
            if path.is_file():
                name = environment.from_string(str(path.relative_to(DIRECTORY / kind))).render(values)
                files[name] = environment.from_string(path.read_text(encoding="utf-8")).render(values)
    return files


def _in_one_line(value: object) -> object:
    """Return a value that a template inserts; what follows a line end in it could become more than the value."""
    if isinstance(value, str) and ("\n" in value or "\r" in value):
        raise ValueError("a value for a template has a line end")
    return value
