"""The command `dpe`: its commands, and how their results and errors are shown."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from dpe_cli import __version__, ending_signals, machine
from dpe_cli.cli import variables
from dpe_cli.cli.app import App, global_options
from dpe_cli.cli.options import Commands, UnknownWordError, unknown_option
from dpe_cli.ending_signals import EndedError
from dpe_cli.errors import UsageError, explained
from dpe_cli.problems import Problem, of_error, of_message
from dpe_cli.safe_text.ascii_text import accept_all_characters
from dpe_cli.safe_text.redaction import hide
from dpe_cli.safe_text.visible_text import message, visible_standard_error

# The module and short help of each command, so that `dpe --help` imports none of them.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("dpe_cli.cli.commands.init", "Create a project that runs immediately, or add dpe to an existing one."),
    "spec": ("dpe_cli.cli.commands.spec", "Check specs against their sources, and write new ones."),
    "run": ("dpe_cli.cli.commands.run", "Run the whole pipeline: extract, build, publish, check and document."),
    "extract": ("dpe_cli.cli.commands.extract", "Load sources into staging."),
    "source": ("dpe_cli.cli.commands.source", "Inspect new sources, and write their YAML."),
    "validate": ("dpe_cli.cli.commands.validate", "Check counts, rules, row-level security and freshness of the existing tables."),
    "rules": ("dpe_cli.cli.commands.rules", "Show the rules, whether they hold, and since when they have not."),
    "loads": ("dpe_cli.cli.commands.loads", "List, show and undo what was loaded."),
    "rejects": ("dpe_cli.cli.commands.rejects", "List, show, export and replay the records that could not be loaded."),
    "diff": ("dpe_cli.cli.commands.diff", "Show what publishing the newest build would change."),
    "publish": ("dpe_cli.cli.commands.publish", "Publish the newest build, or undo the last publication."),
    "access": ("dpe_cli.cli.commands.access", "Manage which roles may see which tenants."),
    "rls": ("dpe_cli.cli.commands.rls", "Prove that every relation is protected, and show which roles can see what."),
    "docs": ("dpe_cli.cli.commands.docs", "Build the documentation site."),
    "schema": ("dpe_cli.cli.commands.schema", "Print the JSON Schema of the external block, for editors."),
    "dbt": ("dpe_cli.cli.commands.dbt", "Run dbt with the connection set."),
    "env": ("dpe_cli.cli.commands.env", "Print shell exports that make plain dbt work."),
    "db": ("dpe_cli.cli.commands.db", "Start, stop and inspect the embedded PostgreSQL."),
    "bootstrap": ("dpe_cli.cli.commands.bootstrap", "Create dpe's roles, and the ledger with its functions, on the server."),
}

_GARBAGE_THRESHOLD = 50_000
# 128 + the number of SIGINT; EndedError carries those of the others.
INTERRUPTED = 130
BROKEN_PIPE = 141


class LazyGroup(Commands):
    """A group that imports a command only when it is invoked, and lists commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which people need them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, and make it accept the group's options too."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        _accept_global_options(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, short_help) for name, (_, short_help) in COMMANDS.items()])


def _accept_global_options(command: click.Command) -> None:
    if isinstance(command, click.Group):
        for member in command.commands.values():
            _accept_global_options(member)
    # `dpe dbt` passes on whatever follows its name.
    if not command.ignore_unknown_options:
        global_options(command)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "DPE"})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Turn a written requirement into governed PostgreSQL tables."""


global_options(cli, from_environment=True)


def run(arguments: Sequence[str]) -> int:
    """Run a command, show its result, and return the exit status. All errors are turned into messages here, and only here."""
    accept_all_characters()
    with visible_standard_error(), ending_signals.raised():
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    app = App()
    for warning in variables.unknown(os.environ, cli):
        sys.stderr.write(f"Warning: {warning}\n")
    app.output = _output_before_parsing(arguments)
    try:
        if not machine.is_supported():
            raise UsageError("dpe: does not run on Windows itself; run it in WSL (wsl --install), which is Linux, or in a container")
        result = cli.main(args=list(arguments), prog_name="dpe", standalone_mode=False, obj=app)
        if isinstance(result, int):
            # click's own: --help and --version.
            return result
        from dpe_cli.cli.report import show

        return show(result, app.output)
    except click.ClickException as error:
        return _wrong_command_line(unknown_option(error) if isinstance(error, click.NoSuchOption) else error, app)
    except (click.Abort, KeyboardInterrupt, EndedError) as error:
        return _ended(error, app)
    except BrokenPipeError:
        # The reader of our output has seen enough. Discard what is still buffered, or Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 the outermost place
        if app.debug:
            sys.stderr.write(hide(traceback.format_exc()))
        exit_status, text = explained(error)
        return _without_result(f"Error: {message(hide(text))}", exit_status, of_error(error), app)


def _wrong_command_line(error: click.ClickException, app: App) -> int:
    error.show(sys.stderr)
    said = hide(error.format_message())
    if isinstance(error, UnknownWordError):
        _as_json(app, of_message("unknown_name", said))
    else:
        help_of = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "dpe"
        _as_json(app, Problem("usage", said, fix=f"run `{help_of} --help`"))
    return error.exit_code


def _ended(error: BaseException, app: App) -> int:
    """Say that somebody ended the command before it was done. What it was writing was rolled back."""
    how, exit_status = "Interrupted", INTERRUPTED
    if isinstance(error, EndedError):
        how, exit_status = f"Ended by {error.signal_name}", error.exit_status
    stays = "what was loaded and published before stays; run again"
    problem = Problem("interrupted", f"the command was {how[0].lower()}{how[1:]}", fix=stays, retryable=True)
    return _without_result(f"{how}. {stays[0].upper()}{stays[1:]}.", exit_status, problem, app)


def _without_result(why: str, exit_status: int, problem: Problem, app: App) -> int:
    """Say why there is no result. A command that ends with a verdict also prints its failure verdict."""
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
    if app.verdict_without_result and app.output == "text":
        sys.stdout.write(f"\n{app.verdict_without_result}\n")
    _as_json(app, problem)
    return exit_status


def _as_json(app: App, problem: Problem) -> None:
    """Write an error to standard output too, if programs read that."""
    if app.output == "json":
        from dpe_cli.cli.report import show_error

        try:
            show_error(problem)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _output_before_parsing(arguments: Sequence[str]) -> str:
    """Return the output that the arguments ask for, because click may find them wrong before it comes to that option."""
    # What follows `dbt` is dbt's, which has an option of this name too.
    own = list(arguments[: arguments.index("dbt")] if "dbt" in arguments else arguments)
    given = [value for argument, value in zip(own, [*own, ""][1:], strict=True) if argument == "--output"]
    given += [argument.partition("=")[2] for argument in own if argument.startswith("--output=")]
    return (given or [os.environ.get("DPE_OUTPUT", "text")])[-1]


def main() -> None:
    """Run dpe and exit."""
    # Imports create many objects that stay: scanning them for garbage again and again would double the import time.
    gc.set_threshold(_GARBAGE_THRESHOLD)
    sys.exit(run(sys.argv[1:]))
