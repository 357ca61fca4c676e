"""The variables of the environment that dpe reads, so that a misspelt one does not go unnoticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import click

from dpe_cli.state import VARIABLE
from dpe_cli.words import nearest

PREFIX = "DPE_"
# Those of the server and of the state; all others belong to options.
_OWN = frozenset({"DPE_ADMIN_USER", "DPE_LOADER_PASSWORD", "DPE_TRANSFORMER_PASSWORD", VARIABLE})


def unknown(environment: Mapping[str, str], cli: click.Group) -> list[str]:
    """
    Return a warning for each variable that looks like dpe's but is not, with the one that is meant.

    The commands are imported only if there is a variable that is not among the global ones.
    """
    names = sorted(name for name in environment if name.startswith(PREFIX))
    known = {*_OWN, *_of(cli, "DPE")}
    if known.issuperset(names):
        return []
    context = click.Context(cli, info_name="dpe")
    known.update(_of_commands(cli, context, "DPE"))
    wrong = {name: nearest(name, known) for name in names if name not in known}
    return [
        f"{name}: is not a variable of dpe, and has no effect; {f'did you mean {near}?' if near else 'options are DPE_COMMAND_OPTION'}"
        for name, near in wrong.items()
    ]


def _of_commands(group: click.Group, context: click.Context, prefix: str) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is not None:
            own = f"{prefix}_{name.upper().replace('-', '_')}"
            yield from _of(command, own)
            if isinstance(command, click.Group):
                yield from _of_commands(command, context, own)


def _of(command: click.Command, prefix: str) -> Iterator[str]:
    """Yield the variables of a command's options, named as click names them (click documentation, "Values from Environment Variables")."""
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name is not None:
            if parameter.envvar is not None:
                yield from [parameter.envvar] if isinstance(parameter.envvar, str) else parameter.envvar
            if parameter.allow_from_autoenv:
                yield f"{prefix}_{parameter.name.upper()}"
