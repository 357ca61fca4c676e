"""`dpe schema`."""

from __future__ import annotations

import json

import click

from dpe_cli.cli.report import Lines, Report
from dpe_cli.sources.options.schema import editors_schema


@click.command()
def schema() -> Report:
    """
    Print the JSON Schema of the external block, for editors.

    Write it to a file, as with: dpe schema > .dpe/external.schema.json. A file of sources that names it in its first line,
    # yaml-language-server: $schema=../../.dpe/external.schema.json, is then completed and checked while it is written.
    """
    found = editors_schema()
    return Report(data=found, sections=[Lines(json.dumps(found, indent=2, ensure_ascii=False).splitlines())])
