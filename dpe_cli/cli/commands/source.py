"""`dpe source`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.report import Lines, Report
from dpe_cli.sources.options.formats import FORMATS
from dpe_cli.words import plural

_BESIDE = ""
# A tap says itself which streams it has, and what they hold.
_FORMATS = [name for name in FORMATS if name != "singer"]


@click.group()
def source() -> None:
    """Look at new sources, and write their YAML."""


@source.command()
@click.argument("location", metavar="LOCATION")
@click.option("--format", "file_format", type=click.Choice(_FORMATS), help="What it is, where its name and content do not tell.")
@click.option("--name", metavar="SOURCE.TABLE", help="What to call it; by default as the location says.")
@click.option("--table", metavar="TABLE", help="The table of a database, with its schema where it needs one.")
@click.option("--records", "--data-selector", metavar="PATH", help="The array of records in JSON, as in $.data.items.")
@click.option("--sheet", metavar="NAME", help="The sheet of a workbook; by default the first.")
@click.option("--header/--no-header", default=None, help="Whether CSV has a first record that names the columns; by default as it looks.")
@click.option("--header-line", "headers", multiple=True, metavar="NAME:VALUE", help="A header for an API; secrets as ${NAME}.")
@click.option("--allow-private-addresses", is_flag=True, help="Whether an address may be in a private network, or on this machine.")
@click.option(
    "--sample", type=click.IntRange(1), metavar="N", help="How many records to look at; by default a million, of an API ten thousand."
)
@click.option(
    "--write",
    is_flag=False,
    flag_value=_BESIDE,
    metavar="[FILE]",
    help="Write it to FILE, or to the file of its source (models/staging/SOURCE/_SOURCE__sources.yml), which keeps what it has.",
)
@click.pass_obj
def infer(app: App, /, location: str, write: str | None, **options: Any) -> Report:
    """
    Look at a file, an API or a table, and print its dbt source.

    LOCATION is a path or a pattern, an address (https://, s3://, …), an API's address, or a database's URL with --table. Types are
    such that all that was seen can be loaded; not_null and unique stand where they hold. Needs no server. Descriptions are left
    to be filled in. A password in LOCATION is written as a reference to a variable.
    """
    from dpe_cli.infer import yaml_file, yaml_text
    from dpe_cli.infer.request import Request, inferred

    found = inferred(Request(location=location, **options), app.project_dir)
    text = yaml_text.document(found)
    if write is None:
        return Report(
            data={"name": found.name, "records": found.records, "yaml": text}, sections=[Lines(text.removesuffix("\n").split("\n"))]
        )
    path = yaml_file.target(found, app.project_dir, Path(write) if write else None)
    yaml_file.write(path, found)
    shown = path.relative_to(app.project_dir) if path.is_relative_to(app.project_dir) else path
    return Report(
        data={"name": found.name, "records": found.records, "yaml": text, "file": str(shown)},
        headline=f"{found.name} is in {shown}: {plural(len(found.columns), 'column')}, from {plural(found.records, 'record')}",
        sections=[Lines([*map(str, found.notes[1:]), f"Fill in its descriptions, and load it: dpe extract source:{found.name}"])],
    )
