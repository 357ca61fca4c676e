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

    Write it to a file, as in: dpe schema > .dpe/external.schema.json. If the first line of a sources file names that file,
    # yaml-language-server: $schema=../../.dpe/external.schema.json, editors complete and check it as you type.
    """
    found = editors_schema()
    return Report(data=found, sections=[Lines(json.dumps(found, indent=2, ensure_ascii=False).splitlines())])
