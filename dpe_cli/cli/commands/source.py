"""`dpe source`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dpe_cli.cli.app import App
from dpe_cli.cli.options import Commands
from dpe_cli.cli.report import Lines, Report
from dpe_cli.sources.options.formats import FORMATS
from dpe_cli.words import plural

# What --write gets without a file: the one of its source.
_FILE_OF_ITS_SOURCE = ""
# Taps are missing here: a tap describes its own streams.
_FORMATS = [name for name in FORMATS if name != "singer"]


@click.group(cls=Commands)
def source() -> None:
    """Inspect new sources, and write their YAML."""


@source.command()
@click.argument("location", metavar="LOCATION")
@click.option("--format", "file_format", type=click.Choice(_FORMATS), help="The format, if it cannot be detected.")
@click.option("--name", metavar="SOURCE.TABLE", help="The name of the dbt source and table; by default derived from LOCATION.")
@click.option("--table", metavar="TABLE", help="The database table, with its schema if it needs one.")
@click.option("--records", "--data-selector", metavar="PATH", help="The path of the JSON array of records, such as $.data.items.")
@click.option("--sheet", metavar="NAME", help="The sheet of a workbook; by default the first.")
@click.option("--header/--no-header", default=None, help="Whether the first CSV record names the columns; detected by default.")
@click.option("--header-line", "headers", multiple=True, metavar="NAME:VALUE", help="A request header for an API, with secrets as ${NAME}.")
@click.option("--allow-private-addresses", is_flag=True, help="Allow URLs that resolve to private networks or this machine.")
@click.option(
    "--sample", type=click.IntRange(1), metavar="N", help="How many records to sample; by default a million, from an API ten thousand."
)
@click.option(
    "--write",
    is_flag=False,
    flag_value=_FILE_OF_ITS_SOURCE,
    metavar="[FILE]",
    help="Add it to FILE; without FILE, to the file of its source, next to those of other sources.",
)
@click.pass_obj
def infer(app: App, /, location: str, write: str | None, **options: Any) -> Report:
    """
    Inspect a file, an API or a table, and print its dbt source.

    LOCATION is a path or a pattern, a URL (https://, s3://, …) of files or an API, or a database's URL with --table. Picks types
    that can hold every value it saw, and adds not_null and unique where they held. Needs no server. Leaves descriptions
    for you to fill in. A password in LOCATION is written as a reference to an environment variable.
    """
    from dpe_cli.infer import declared_sources, yaml_file, yaml_text
    from dpe_cli.infer.request import Request, inferred

    found = inferred(Request(location=location, **options), app.project_dir)
    schema = declared_sources.schema_for(found.source, app.project_dir)
    text = yaml_text.document(found, schema)
    if write is None:
        return Report(
            data={"name": found.name, "records": found.records, "yaml": text}, sections=[Lines(text.removesuffix("\n").split("\n"))]
        )
    path = declared_sources.target(found, app.project_dir, Path(write) if write else None)
    yaml_file.write(path, found, schema)
    shown = path.relative_to(app.project_dir) if path.is_relative_to(app.project_dir) else path
    return Report(
        data={"name": found.name, "records": found.records, "yaml": text, "file": str(shown)},
        headline=f"{found.name} is in {shown}: {plural(len(found.columns), 'column')}, from {plural(found.records, 'record')}",
        sections=[Lines([*map(str, found.notes[1:]), f"Fill in the descriptions, then load it: dpe extract source:{found.name}"])],
    )
