"""The crontab of docs/guides/scheduling.md, run as cron runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from support.long_tests import LONG
from support.recipes import Deployment
from support.webhook import Webhook

from dpe_cli.cli import main

ASSIGNMENT = re.compile(r"([A-Z_]+)=(.*)")
FIELDS_OF_TIME = 5


def cron(deployment: Deployment, webhook: str = "") -> subprocess.CompletedProcess[str]:
    """
    Run the line as Debian's cron does: by sh, in the home directory, with four variables and those of the crontab.

    cron mails what it prints.
    """
    *assignments, line = [line for line in deployment.code("scheduling", "cron", "crontab").splitlines() if line]
    variables = {match[1]: match[2] for match in map(ASSIGNMENT.fullmatch, assignments) if match}
    assert {"PATH", "MAILTO", "DPE_RUN_NOTIFY"} == variables.keys()
    command = line.split(maxsplit=FIELDS_OF_TIME)[FIELDS_OF_TIME]
    # cron would end the command there.
    assert not re.search(r"(?<!\\)%", command)
    return subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=deployment.home,
        env=deployment.environment | variables | {"DPE_RUN_NOTIFY": webhook},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@pytest.fixture
def installed(deployment: Deployment) -> Deployment:
    """Follow the guide: run the pipeline once by hand."""
    by_hand = deployment.code("scheduling", "The server of the examples", "bash").splitlines()[-1]
    ran = deployment.run(by_hand)
    assert "DPE SUCCESS" in ran.stdout, ran.stdout + ran.stderr
    return deployment


def log(deployment: Deployment) -> str:
    """Return the log that the line writes."""
    return (deployment.directory / "logs/cron.log").read_text(encoding="utf-8")


@LONG
def test_a_run_that_succeeds_prints_nothing(installed: Deployment, webhook: Webhook) -> None:
    """So cron sends no mail; what arrived is published, and the log is where the guide says."""
    installed.deliver("order_id,branch,ordered_on,product,quantity,unit_price\n7,north,2026-02-05,tea,1,4.50\n")

    ran = cron(installed, webhook.url)

    assert (0, "", "") == (ran.returncode, ran.stdout, ran.stderr)
    assert log(installed).rstrip().endswith("DPE SUCCESS")
    assert [1, 2, 3, 4, 5, 6, 7] == installed.orders()
    assert [] == webhook.posted


@LONG
def test_a_run_that_fails_is_mailed_and_posted(installed: Deployment, webhook: Webhook) -> None:
    """With the rule that failed; readers keep the previous version, and repeating the run loads nothing twice."""
    installed.deliver()

    first, second = cron(installed, webhook.url), cron(installed, webhook.url)

    assert "- rule SHOP-1-01 failed: orders_have_an_amount (1 failing)" in first.stdout.rpartition("DPE FAILED")[2]
    assert second.stdout == log(installed)
    assert "0 rows loaded" in second.stdout
    assert ([1, 2, 3, 4, 5, 6], [6, 1]) == (installed.orders(), installed.loads())
    assert [True, True] == ["SHOP-1-01" in posted["text"] for posted in webhook.posted]


def test_a_project_that_is_not_there_is_mailed(deployment: Deployment) -> None:
    """The line fails before dpe starts, and says why."""
    shutil.rmtree(deployment.directory)

    assert "can't cd to" in cron(deployment).stderr


@LONG
def test_a_run_that_is_still_going_is_left_alone(installed: Deployment, webhook: Webhook) -> None:
    """The next one does nothing, prints nothing and notifies no one."""
    held = ["flock", "--nonblock", str(installed.directory), "sh", "-c", "echo locked; read end"]
    with subprocess.Popen(held, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "locked\n"
        ran = cron(installed, webhook.url)
        running.communicate("end\n")

    assert (0, "", "") == (ran.returncode, ran.stdout, ran.stderr)
    assert not (installed.directory / "logs/cron.log").exists()
    assert [] == webhook.posted


@LONG
def test_the_embedded_server_does_not_keep_the_lock(deployment: Deployment, scratch: Path) -> None:
    """The line starts it, and it outlives the line; the next one runs all the same."""
    directory = scratch / "embedded-cron"
    shutil.copytree(deployment.directory, directory, symlinks=True)
    (directory / ".env").unlink()
    (directory / "logs").mkdir()
    embedded = replace(deployment, directory=directory)
    try:
        for _ in range(2):
            ran = cron(embedded)
            assert (0, "") == (ran.returncode, ran.stdout), ran.stdout + ran.stderr
            assert "DPE SUCCESS" in log(embedded)
            (directory / "logs/cron.log").unlink()
    finally:
        assert main.run(["--project-dir", str(directory), "db", "stop"]) == 0
