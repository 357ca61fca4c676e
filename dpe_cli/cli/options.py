"""Options that several commands share, and groups of commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dpe_cli.words import did_you_mean

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


class UnknownWordError(click.UsageError):
    """The command line has a command or an option that does not exist. Like every name that nothing has, it ends with exit status 1."""

    exit_code = 1


class Commands(click.Group):
    """A group that refuses an unknown command with the one that is most like it."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            hint = did_you_mean(args[0], self.list_commands(ctx), f"run `{ctx.command_path} --help` to see all of them")
            raise UnknownWordError(f"No such command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


def unknown_option(error: click.NoSuchOption) -> UnknownWordError:
    """Return the error of an option that does not exist, with the one that is most like it."""
    parameters = error.ctx.command.params if error.ctx else []
    known = [name for option in parameters if isinstance(option, click.Option) for name in (*option.opts, *option.secondary_opts)]
    path = error.ctx.command_path if error.ctx else "dpe"
    hint = did_you_mean(error.option_name, known, f"run `{path} --help` to see all of them")
    return UnknownWordError(f"No such option {error.option_name!r}; {hint}", error.ctx)
