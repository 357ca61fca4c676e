"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

select_argument: Decorator = click.argument("select", nargs=-1, metavar="[SELECT]...")
select_option: Decorator = click.option(
    "--select", "-s", "more_select", multiple=True, metavar="SELECTOR", help="The same as SELECT, in dbt's spelling."
)
exclude_option: Decorator = click.option(
    "--exclude", multiple=True, metavar="SELECTOR", help="What to leave out, in dbt's selection syntax."
)
jobs_option: Decorator = click.option(
    "--jobs", "-j", type=click.IntRange(1, 999), help="Number of parallel COPY streams; by default one per core, and two more for files."
)
end_sessions_option: Decorator = click.option(
    "--end-sessions",
    is_flag=True,
    help="End sessions that hold relations to be changed for more than 5 seconds, or that keep an earlier version of one in use.",
)
