from __future__ import annotations

import copy
import errno
import importlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import click
import psycopg
import pytest

from dpe_cli import __version__
from dpe_cli.cli import main
from dpe_cli.cli.app import App
from dpe_cli.cli.main import COMMANDS
from dpe_cli.cli.report import Report
from dpe_cli.errors import DpeError, UsageError
from dpe_cli.safe_text import redaction
from dpe_cli.safe_text.visible_text import has_hidden
from dpe_cli.words import Limited

ROOT = Path(__file__).parents[3]
DPE = [sys.executable, "-c", "from dpe_cli.cli.main import main; main()"]

Fake = Callable[[Callable[[App], object]], None]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Make `dpe env` run a function of the test instead."""

    def put(function: Callable[[App], object]) -> None:
        module = ModuleType("fake_command")

        @click.command()
        @click.pass_obj
        def env(app: App) -> object:
            """Call the test's function."""
            return function(app)

        module.env = env  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "fake_command", module)
        monkeypatch.setitem(COMMANDS, "env", ("fake_command", "Do as the test says."))

    return put


@pytest.fixture
def handling() -> Iterator[Callable[..., None]]:
    """Handle a signal in a certain way for the rest of a test."""
    before: dict[signal.Signals, Any] = {}

    def handle(number: signal.Signals, handler: Any) -> None:
        before[number] = signal.signal(number, handler)

    yield handle
    for number, handler in before.items():
        signal.signal(number, handler)


def _raising(error: BaseException) -> Callable[[App], object]:
    def function(app: App) -> object:
        del app
        raise error

    return function


def test_help_imports_nothing_but_click() -> None:
    """Neither dbt nor psycopg nor rich, nor the commands: most of its tenth of a second is Python's own start."""
    program = "import sys; from dpe_cli.cli.main import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = done.stderr.split()

    assert [] == [name for name in loaded if name.startswith("dpe_cli.cli.commands")]
    # With an underscore: what environments and editable installations add.
    assert {"click", "dpe_cli"} == {name.partition(".")[0] for name in loaded if not name.startswith("_")} - sys.stdlib_module_names


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_the_commands_help(name: str) -> None:
    """The short help is written twice, so that `dpe --help` imports no command."""
    module, short_help = COMMANDS[name]
    command: click.Command = getattr(importlib.import_module(module), name)

    assert name == command.name
    assert short_help == command.get_short_help_str(limit=200)


def _subcommands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    for name, member in command.commands.items() if isinstance(command, click.Group) else ():
        yield from _subcommands(member, f"{path} {name}")


def _commands() -> dict[str, click.Command]:
    """Return every command and subcommand by its name."""
    modules = {name: importlib.import_module(module) for name, (module, _) in COMMANDS.items()}
    return dict(found for name, module in modules.items() for found in _subcommands(getattr(module, name), name))


def test_a_limit_says_what_it_counts() -> None:
    """In the help of each command; and in the results, which have lists that know how many there are in all."""
    limits = {name: option for name, command in _commands().items() for option in command.params if option.name == "limit"}

    assert {"access list", "loads list", "rejects list", "rules show"} == set(limits)
    for name, option in limits.items():
        assert isinstance(option, click.Option)
        assert re.match(r"How many [a-z ]+ to (list|show)\b", option.help or ""), name
    assert ["3 rows", "The first 3 of 1,431 rows; --limit shows more"] == [Limited([1, 2, 3], total).counted("row") for total in (3, 1431)]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """With its short help."""
    assert 0 == main.run(["--help"])

    text = " ".join(capsys.readouterr().out.split())
    for name, (_, short_help) in COMMANDS.items():
        assert f"{name} {short_help}" in text


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """As `dpe 1.2.3`."""
    assert 0 == main.run(["--version"])
    assert f"dpe {__version__}\n" == capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["--output", "xml", "env"], ["env", "--output", "xml"], ["env", "--project-dir", "/nowhere"], ["loads", "show"]],
)
def test_a_wrong_command_line_is_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One message on standard error, exit status 2."""
    assert 2 == main.run(arguments)

    captured = capsys.readouterr()
    assert "Error: " in captured.err
    assert "" == captured.out


def test_a_result_goes_to_standard_output(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """And its exit status is ours."""
    fake(lambda _: Report(data={"rows": 1}, headline="One row.", exit_status=1))

    assert 1 == main.run(["env"])
    assert ("One row.\n", "") == capsys.readouterr()
    assert 1 == main.run(["env", "--output", "json"])
    assert ('{\n  "rows": 1\n}\n', "") == capsys.readouterr()


@pytest.mark.parametrize(("error", "exit_status"), [(DpeError("flights: are late; wait"), 1), (UsageError("flights: are late; wait"), 2)])
def test_an_error_is_one_message(fake: Fake, capsys: pytest.CaptureFixture[str], error: DpeError, exit_status: int) -> None:
    """On standard error, with the error's exit status, and no traceback."""
    fake(_raising(error))

    assert exit_status == main.run(["env"])
    assert ("", "Error: flights: are late; wait\n") == capsys.readouterr()


def test_a_bug_is_called_a_bug(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, exit status 2."""
    fake(_raising(KeyError("carrier")))

    assert 2 == main.run(["env"])
    assert ("", "Error: KeyError: 'carrier'; this is a bug; run again with --debug\n") == capsys.readouterr()


@pytest.mark.parametrize("kind", [psycopg.errors.NotNullViolation, psycopg.OperationalError])
def test_an_error_of_the_server_holds_no_row(fake: Fake, capsys: pytest.CaptureFixture[str], kind: type[psycopg.Error]) -> None:
    """Not even one with a value that looks like the end of the detail in which PostgreSQL shows the row."""
    fake(_raising(kind("null value in column b\nDETAIL:  Failing row contains (x\nHINT:  run it\nCONTEXT:  of it, 4711).")))

    main.run(["env", "--output", "json"])

    written = "".join(capsys.readouterr())
    assert [True, False, False, False] == [part in written for part in ("null value in column b", "run it", "of it", "4711")]


def test_debug_shows_the_traceback(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """For bugs and for errors."""
    for error in (KeyError("carrier"), DpeError("flights: are late; wait")):
        fake(_raising(error))
        main.run(["env", "--debug"])
        assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyError("Basic c2hvcDpjb3JyZWN0IGhvcnNl"), psycopg.OperationalError("no user correct+horse")])
def test_no_secret_is_in_an_error(fake: Fake, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    """Neither in a message, nor in a traceback, whatever a library reported first."""
    redaction.remember("correct horse")
    error.__cause__ = ValueError("as CORRECT HORSE, or c2hvcDpjb3JyZWN0IGhvcnNl")
    fake(_raising(error))
    main.run(["env", "--debug"])

    said = capsys.readouterr().err
    assert (True, 4) == ("Traceback" in said, said.count("***"))
    assert [] == [piece for piece in ("horse", "HORSE", "jb3JyZWN0") if piece in said]


def test_no_secret_is_in_library_logs_and_warnings(tmp_path: Path) -> None:
    """Python writes it to standard error unless a handler is set."""
    (tmp_path / "dbt_project.yml").touch()
    program = """
        import logging, warnings
        from dpe_cli.cli.app import App
        from dpe_cli.safe_text import redaction
        App().project_dir
        redaction.remember("correct horse")
        logging.getLogger("urllib3").warning("retrying %s", "/?key=correct%20horse")
        warnings.warn("/?key=correct+horse is slow")
    """
    done = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, text=True, cwd=tmp_path, check=True)

    assert "retrying /?key=***\n" in done.stderr
    assert "UserWarning: /?key=*** is slow" in done.stderr


def test_a_lost_connection_is_not_a_bug(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """It is stopped or runs out of space during the work."""
    fake(_raising(psycopg.OperationalError("server closed the connection\nunexpectedly")))

    assert 1 == main.run(["env"])
    assert "Error: lost the connection to the server (server closed the connection unexpectedly)" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [psycopg.errors.OutOfMemory, psycopg.errors.ProgramLimitExceeded])
def test_a_limit_of_the_server_is_not_a_lost_connection(
    fake: Fake, capsys: pytest.CaptureFixture[str], kind: type[psycopg.OperationalError]
) -> None:
    """Nor a bug: the server says which limit it reached."""
    fake(_raising(kind("array size exceeds the maximum allowed")))

    assert 1 == main.run(["env"])
    assert "Error: the server could not do what it was asked (array size exceeds the maximum allowed)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sent", "words"), [(signal.SIGINT, "Interrupted."), (signal.SIGTERM, "Ended by SIGTERM."), (signal.SIGHUP, "Ended by SIGHUP.")]
)
def test_a_signal_ends_a_command_in_order(
    fake: Fake, capsys: pytest.CaptureFixture[str], handling: Callable[..., None], sent: signal.Signals, words: str
) -> None:
    """With a line, and the exit status that a shell expects. Whether a block was left shows that nothing is skipped."""
    handling(sent, signal.SIG_DFL)
    left = []

    def command(_app: App) -> None:
        try:
            signal.raise_signal(sent)
        finally:
            left.append(sent)

    fake(command)

    assert 128 + sent == main.run(["env"])
    assert words in capsys.readouterr().err
    assert [sent] == left


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/srv/spool/1"), "this machine"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/srv/spool/1"), "this machine"),
        (psycopg.errors.DiskFull("could not extend file: No space left on device"), "the server"),
    ],
)
def test_a_full_disk_is_named(fake: Fake, capsys: pytest.CaptureFixture[str], error: Exception, place: str) -> None:
    """Whose disk it is, and what to do; it is not a bug."""
    fake(_raising(error))

    assert 1 == main.run(["env", "--output", "json"])

    shown = capsys.readouterr()
    assert f"Error: the disk of {place} is full (" in shown.err
    [problem] = json.loads(shown.out)["errors"]
    assert ("disk_full", "free some space on it, then run again") == (problem["code"], problem["fix"])


def test_an_ascii_terminal_gets_ascii() -> None:
    """Signs become similar ones, other characters their codes; JSON has the same values, and data that cannot be exact is refused."""
    program = r"""
import sys, click, dpe_cli.cli.main as main, dpe_cli.cli.commands.env as module
from dpe_cli.cli.report import Lines, Report, Table
@click.command("env")
@click.option("--data", is_flag=True)
def env(data):
    table = Table(["hop", "rows"], [["orders \u2192 Z\xfcrich\u2026", 1]])
    return Report(data={"name": "Z\xfcrich \u2192"}, sections=[Lines(["Z\xfcrich"])] if data else [table])
module.env = env
sys.exit(main.run(sys.argv[1:]))
"""
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}

    def dpe(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, "env", *arguments]
        return subprocess.run(command, capture_output=True, encoding="ascii", cwd=ROOT, env=environment, check=False)

    assert r"orders -> Z\xfcrich..." in dpe().stdout
    assert {"name": "Zürich →"} == json.loads(dpe("--output", "json").stdout)
    refused = dpe("--data")
    assert (2, "") == (refused.returncode, refused.stdout)
    assert "Error: standard output: its encoding ascii lacks some characters; set PYTHONIOENCODING=utf-8\n" == refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extrct"], "No such command 'extrct'; did you mean extract?"),
        (["qqqq"], "No such command 'qqqq'; run `dpe --help` to see all of them"),
        (["access", "grnt"], "No such command 'grnt'; did you mean grant?"),
        (["rules", "qqqq"], "No such command 'qqqq'; run `dpe rules --help` to see all of them"),
        (["--outptu", "json", "env"], "No such option '--outptu'; did you mean --output?"),
        (["run", "--no-pubish"], "No such option '--no-pubish'; did you mean --no-publish?"),
        (["env", "--qqqq"], "No such option '--qqqq'; run `dpe env --help` to see all of them"),
    ],
)
def test_an_unknown_command_or_option_is_refused_with_the_nearest_one(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1, as for every name that nothing has; programs read the same."""
    assert 1 == main.run(arguments)
    assert f"Error: {message}\n" in capsys.readouterr().err
    assert 1 == main.run([*arguments, "--output=json"])
    [problem] = json.loads(capsys.readouterr().out)["errors"]
    assert ("unknown_name", message) == (problem["code"], f"{problem['what']}; {problem['fix']}")


@pytest.mark.parametrize("name", [name for name, command in _commands().items() if isinstance(command, click.Group)])
def test_every_group_refuses_unknown_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that will be added too."""
    assert 1 == main.run([name, "qqqq"])
    assert "No such command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("DPE_RUN_NOTIFI", "DPE_RUN_NOTIFI: is not a variable of dpe, and has no effect; did you mean DPE_RUN_NOTIFY?"),
        ("DPE_LIMITS", "DPE_LIMITS: is not a variable of dpe, and has no effect; did you mean DPE_LIMIT?"),
        ("DPE_LIMIT", ""),
        ("DPE_LOADS_LIST_LIMIT", ""),
        ("DPE_OUTPUT", ""),
        ("DPE_STATE", ""),
        ("DPE_LOADER_PASSWORD", ""),
    ],
)
def test_a_variable_without_effect_is_reported(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str, warning: str
) -> None:
    """If its name begins like dpe's; those of every option are known."""
    monkeypatch.setenv(name, "text")
    fake(lambda _app: None)

    main.run(["env"])

    shown = capsys.readouterr().err
    assert shown.startswith(f"Warning: {warning}") if warning else "Warning" not in shown


@pytest.mark.parametrize("name", ["loads list", "rejects list", "rules show", "access list"])
def test_a_limit_can_be_given_as_a_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """One for all commands, which the option overrides."""
    # A copy, because click keeps the help option of the first context.
    command = copy.copy(_commands()[name])
    for set_, given, expected in [("7", [], 7), ("7", ["--limit", "3"], 3)]:
        monkeypatch.setenv("DPE_LIMIT", set_)
        arguments = ["SHOP-1", *given] if name == "rules show" else given
        assert expected == command.make_context(name, arguments, auto_envvar_prefix="DPE").params["limit"]


def test_an_ignored_signal_stays_ignored(fake: Fake, handling: Callable[..., None]) -> None:
    """As under nohup."""
    handling(signal.SIGHUP, signal.SIG_IGN)
    fake(lambda _app: signal.raise_signal(signal.SIGHUP))

    assert 0 == main.run(["env"])


def test_a_closed_pipe_is_not_an_error() -> None:
    """`dpe loads list | head` does not mention the closed pipe."""
    program = (
        "import sys, click, dpe_cli.cli.main as main, dpe_cli.cli.commands.env as module; from dpe_cli.cli.report import Lines, Report;"
        "module.env = click.command('env')(lambda: Report(data={}, sections=[Lines(['line'] * 2_000_000)]));"
        "sys.exit(main.run(['env']))"
    )
    # Unbuffered, Python would assume that the pipe took everything.
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert "" == said
    assert 141 == process.returncode


@pytest.mark.parametrize("is_after", [True, False])
def test_global_options_are_accepted_on_either_side(fake: Fake, tmp_path: Path, is_after: bool) -> None:  # noqa: FBT001
    """`dpe --target prod run` and `dpe run --target prod` are the same."""
    seen: list[App] = []
    fake(seen.append)
    (tmp_path / "dbt_project.yml").touch()
    options = ["--project-dir", str(tmp_path), "--profiles-dir", str(tmp_path), "--target", "prod", "--vars", "{a: 1}", "--debug"]

    assert 0 == main.run(["env", *options] if is_after else [*options, "env"])

    app = seen[0]
    assert (tmp_path, tmp_path, "prod", "{a: 1}", True) == (app.project_dir, app.profiles_dir, app.target, app.vars, app.debug)


def test_the_option_after_the_name_wins(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Next come options before the name, then the environment."""
    seen: list[App] = []
    fake(seen.append)
    monkeypatch.setenv("DPE_TARGET", "from the environment")

    main.run(["--target", "before", "env", "--target", "after"])
    main.run(["--target", "before", "env"])
    main.run(["env"])

    assert ["after", "before", "from the environment"] == [app.target for app in seen]


def test_options_of_subcommands_are_global_too(capsys: pytest.CaptureFixture[str]) -> None:
    """`dpe db status --output json` works as well."""
    assert 0 == main.run(["db", "status", "--help"])
    assert "--output" in capsys.readouterr().out


def test_the_project_is_the_nearest_one_upwards(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with dbt and git."""
    seen: list[Path] = []
    fake(lambda app: seen.append(app.project_dir))
    (tmp_path / "dbt_project.yml").touch()
    below = tmp_path / "models" / "finance"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)

    assert 0 == main.run(["env"])
    assert [tmp_path] == seen


def test_no_project_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the option."""
    monkeypatch.chdir(tmp_path)

    assert 2 == main.run(["db", "start"])
    assert (
        f"Error: {tmp_path}: no dbt_project.yml here or in a parent directory; change to the project, or give it with --project-dir\n"
        == capsys.readouterr().err
    )
    assert 2 == main.run(["db", "start", "--project-dir", str(tmp_path)])
    assert f"Error: {tmp_path}: contains no dbt_project.yml" in capsys.readouterr().err


def test_nothing_on_standard_error_is_obeyed_by_a_terminal_or_a_build_server() -> None:
    """Neither dpe's messages and log, nor a library's warning, a thread's traceback, or click's message about an argument."""
    program = """
import logging, sys, threading, warnings, click, dpe_cli.cli.main as main, dpe_cli.cli.commands.env as module
from dpe_cli.errors import DpeError
hostile = "\x1b]0;owned\x07\u202e ::stop-commands::x ##vso[x]"
def fail():
    raise RuntimeError(hostile)
@click.command("env")
def env():
    warnings.warn(hostile)
    logging.getLogger("a library").warning(hostile)
    logging.getLogger("dpe_cli.sources.singer.program").debug("a tap: %s", hostile)
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    raise DpeError(f"{hostile}: is late\\nDPE SUCCESS")
module.env = env
main.run(["env", "--debug"])
main.run(["env", hostile])
main.run(["rejects", "replay", "shop.orders", "--file", hostile])
"""
    # If it distrusts the encoding, click bypasses Python's standard error.
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment, check=True)

    assert not has_hidden(done.stderr)
    shown = r"\x1b]0;owned\x07\u202e \x3a:stop-commands::x #\x23vso[x]"
    for said in ("UserWarning: {}", "\n{}\n", "a tap: {}\n", "RuntimeError: {}", "DpeError: {}", "extra argument ({})", "File '{}'"):
        assert said.format(shown) in done.stderr
    assert f"\nError: {shown}: is late\n    DPE SUCCESS\n" in done.stderr
