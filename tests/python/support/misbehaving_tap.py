"""A small tap that writes and fails as configured, and records what it was given, each time it ran."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from support.staged_source import Stage, StagedSource
from support.tap_messages import CATALOG, Action, schema

COLUMNS = "id bigint, note text"

# Runs in its own process, like any tap. Its configuration names the directory with the actions.
PROGRAM = """
    #!{python}
    import json, os, pathlib, signal, subprocess, sys, time

    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    config = json.loads(pathlib.Path(arguments["--config"]).read_text())
    world = pathlib.Path(config["world"])
    run = {{
        "pid": os.getpid(),
        "options": [one for one in sys.argv[1:] if one.startswith("--")],
        "config": config,
        "mode": oct(os.stat(arguments["--config"]).st_mode & 0o777),
        "directory": os.path.dirname(arguments["--config"]),
        "environment": sorted(os.environ),
    }}
    for name in ("--catalog", "--properties", "--state"):
        if name in arguments:
            run[name] = json.loads(pathlib.Path(arguments[name]).read_text())
    with open(world / "runs.jsonl", "a") as runs:
        runs.write(json.dumps(run) + "\\n")
    is_discovery = "--discover" in sys.argv
    for what, value in json.loads((world / ("discovery" if is_discovery else "sync")).read_text()):
        if what == "write":
            sys.stdout.write(value)
            sys.stdout.flush()
        elif what == "repeat":
            line, count = value
            for number in range(count):
                sys.stdout.write(line.replace('"#"', str(number)))
        elif what == "log":
            print(value, file=sys.stderr, flush=True)
        elif what == "mutter":
            sys.stderr.write(value)
            sys.stderr.flush()
        elif what == "kill":
            os.kill(os.getpid(), value or signal.SIGKILL)
        elif what == "start":
            child = subprocess.Popen(value, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            (world / "child").write_text(str(child.pid))
        elif what == "sleep":
            time.sleep(value)
        elif what == "exit":
            sys.exit(value)
"""


@dataclass
class Tap:
    """The tap `tap-shop` of a project. `says` sets its actions, and `runs` are its runs."""

    world: Path
    config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.config = {"world": str(self.world)}
        self.discovers(("write", json.dumps(CATALOG)))
        self.says(schema())

    def says(self, *actions: Action) -> None:
        """Set the actions of the next runs."""
        (self.world / "sync").write_text(json.dumps(actions), encoding="utf-8")

    def discovers(self, *actions: Action) -> None:
        """Set the actions of the next discoveries."""
        (self.world / "discovery").write_text(json.dumps(actions), encoding="utf-8")

    def source(self, stage: Stage, columns: str = COLUMNS, **options: Any) -> StagedSource:
        """Stage a source that is one of its streams."""
        defaults = {
            "location": "singer:tap-shop",
            "file_format": "singer",
            "stream": "orders",
            "config": self.config,
            "disposition": "append",
            "key": ["id"],
        }
        return stage(columns, **(defaults | options))

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What each run was given, without discoveries."""
        return [run for run in self.all_runs if "--discover" not in run["options"]]

    @property
    def all_runs(self) -> list[dict[str, Any]]:
        """What each run and each discovery was given."""
        path = self.world / "runs.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.fixture
def tap(tmp_path: Path) -> Tap:
    """Install the tap for a project in the test's directory."""
    program = tmp_path / ".dpe" / "taps" / "tap-shop" / "bin" / "tap-shop"
    program.parent.mkdir(parents=True)
    program.write_text(dedent(PROGRAM).lstrip().format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    world = tmp_path / "world"
    world.mkdir()
    return Tap(world)
