"""What a user of a scheduler has: a project from `dpe init` where the guides say it is, on a server of the user's own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpe_cli.cli import main
from dpe_cli.server.server import Server
from support import guides

# Where the guides have the project, and what cron and other schedulers start with.
PLACE = "/srv/shop"
PATH = "/usr/bin:/bin"
# An order that breaks the rule SHOP-1-01: nothing was paid for it.
BROKEN = "order_id,branch,ordered_on,product,quantity,unit_price\n7,north,2026-02-05,tea,0,4.50\n"
# Each of these tests installs dpe, or runs it several times, as a scheduler does.
ENVIRONMENT_OF_TOOL = guides.REPOSITORY / ".dpe" / "recipes"


@dataclass(frozen=True)
class Deployment:
    """A project that a scheduler runs, and the server that it publishes to. `home` is the scheduler's user's."""

    directory: Path
    home: Path
    server: Server

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that inherits nothing from the tests."""
        return {"HOME": str(self.home), "LOGNAME": "shop", "SHELL": "/bin/sh", "PATH": PATH}

    def code(self, page: str, heading: str, language: str) -> str:
        """Return what a guide says to write under a heading, for this project's directory."""
        return guides.commands(f"{page}.md", heading, language).replace(PLACE, str(self.directory))

    def run(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project's directory."""
        return subprocess.run(
            ["/bin/sh", "-ec", command],
            cwd=self.directory,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def deliver(self, orders: str = BROKEN) -> None:
        """Put another month's file where the project loads it from."""
        (self.directory / "data/orders/2026-02.csv").write_text(orders, encoding="utf-8")

    def orders(self) -> list[int]:
        """Return the orders that a reader of both branches sees, without any before the first publication."""
        with self.server.connect("admin") as connection:
            if connection.execute("select to_regclass('shop_marts.fct_orders')").fetchone() == (None,):
                return []
            connection.execute(
                "insert into dpe.tenant_access (role_name, tenant_id) values ('dpe_reader', 'north'), ('dpe_reader', 'south')"
            )
            connection.execute("set local role dpe_reader")
            seen = [order for (order,) in connection.execute("select order_id from shop_marts.fct_orders order by 1")]
            connection.rollback()
            return seen

    def loads(self) -> list[int]:
        """Return how many rows each load of the ledger has."""
        with self.server.connect("admin") as connection:
            return [rows for (rows,) in connection.execute("select rows_loaded from dpe.loads order by load_id")]


@pytest.fixture
def deployment(server: Server, tmp_path: Path) -> Deployment:
    """Make a project, as the guide does, whose `.env` names the test's server."""
    directory = tmp_path / "shop"
    assert main.run(["init", str(directory)]) == 0
    (directory / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    (directory / ".env").write_text(f"PGHOST={server.host}\nPGPORT={server.port}\nPGDATABASE={server.database}\n", encoding="utf-8")
    (tmp_path / "home").mkdir()
    return Deployment(directory, tmp_path / "home", server)


def program(tool: str) -> Path:
    """Return a program of the tool's environment."""
    return ENVIRONMENT_OF_TOOL / tool / "bin" / tool


def needs(tool: str) -> pytest.MarkDecorator:
    """Skip a test before it makes a project, if a tool is not installed."""
    reason = f"{tool} is not installed; `make schedulers` installs it, where there is a network"
    return pytest.mark.skipif(not program(tool).exists(), reason=reason)
