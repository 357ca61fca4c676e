"""
The weather service of the demo: an API that serves the hourly observations page by page, to clients with a token.

    python demo/weather_api.py configure  writes .env from .env.example, with the next free port
    python demo/weather_api.py start     in the background, unless it runs; its log and its pid are in .dpe/
    python demo/weather_api.py stop
    python demo/weather_api.py serve     in the foreground

WEATHER_API_URL is its address and WEATHER_API_CLIENT_SECRET its secret, both from the environment or from the project's .env.

For tests, `serve --fault 3:half` misbehaves at the third requested page: 429, 500, half, again (the page before),
expired (the token), dies.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from http.server import ThreadingHTTPServer
from pathlib import Path

from weather_service import FAULTS, Handler, Service, observations

from dpe_cli.errors import DpeError, UsageError
from dpe_cli.project import dotenv
from dpe_cli.state import state_directory

PROJECT = Path(__file__).parents[1]
STATE = PROJECT / ".dpe"
PID_FILE = STATE / "weather_api.pid"
LOG = STATE / "weather_api.log"

START_SECONDS = 10
PORTS = 100
LAST_PORT = 65535


@dataclass(frozen=True)
class Settings:
    """The address of the service, and the secret that clients need for a token; `is_from_file` says that the address is from .env."""

    url: str
    host: str
    port: int
    secret: str
    is_from_file: bool

    @classmethod
    def read(cls) -> Settings:
        """
        Read the settings from the environment, or from the project's .env.

        Raises:
            UsageError: a variable is missing, or its URL has no valid port.
        """
        is_from_file = "WEATHER_API_URL" not in os.environ
        dotenv.load(PROJECT)
        try:
            url, secret = os.environ["WEATHER_API_URL"], os.environ["WEATHER_API_CLIENT_SECRET"]
        except KeyError as error:
            raise UsageError(f"weather API: variable {error.args[0]} is not set; copy .env.example to .env, or set it") from None
        found = re.fullmatch(r"http://([\w.-]+):(\d{1,5})/?", url)
        if found is None or int(found[2]) > LAST_PORT:
            raise UsageError(f"weather API: WEATHER_API_URL is {url}; write it like http://127.0.0.1:8102")
        return cls(url, found[1], int(found[2]), secret, is_from_file)


def configure() -> None:
    """
    Write the project's .env, unless it exists; if the example's port is taken, by another clone for example, with the next free one.

    Raises:
        DpeError: no port near it is free.
    """
    target = PROJECT / ".env"
    if target.exists():
        return
    text = (PROJECT / ".env.example").read_text(encoding="utf-8")
    [(host, wanted)] = re.findall(r"^WEATHER_API_URL=http://([\w.-]+):(\d+)$", text, re.MULTILINE)
    port = _free_port(host, int(wanted))
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text.replace(f"{host}:{wanted}", f"{host}:{port}"))


def _free_port(host: str, first: int) -> int:
    last = min(first + PORTS - 1, LAST_PORT)
    port = next((one for one in range(first, last + 1) if _is_free(host, one)), None)
    if port is None:
        raise DpeError(f"weather API: ports {first} to {last} of {host} are taken; write another port into WEATHER_API_URL in .env")
    return port


def _is_free(host: str, port: int) -> bool:
    try:
        with socket.create_server((host, port)):
            return True
    except OSError:
        return False


def serve(settings: Settings, faults: dict[int, str]) -> None:
    """
    Serve until stopped. Port 0 picks any free port.

    Raises:
        DpeError: the port is taken.
    """
    host, port = settings.host, settings.port
    Handler.service = Service(settings.secret, observations(), faults)
    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise DpeError(
            f"weather API: cannot listen on port {port} of {host} ({error.strerror}); stop the program that listens there, "
            "or write another port into WEATHER_API_URL in .env"
        ) from error
    print(f"The weather API is at http://{host}:{server.server_port}", flush=True)
    with suppress(KeyboardInterrupt):
        server.serve_forever()


def running() -> tuple[int, str] | None:
    """Return the pid and the URL of the started service, if it is running: the pid alone may belong to another process by now."""
    try:
        pid, url = PID_FILE.read_text(encoding="utf-8").split()
        # Proxies do not apply to this machine.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/health", timeout=1) as answer:
            return (int(pid), url) if json.load(answer) == {"service": "weather", "pid": int(pid)} else None
    except (OSError, ValueError, HTTPException):
        return None


def start(settings: Settings) -> None:
    """
    Start the service in the background, unless it is already running.

    If another program, such as that of another clone, took the port since `configure` found it free, write the next free one into .env.

    Raises:
        DpeError: it does not start; the message has its output.
    """
    found = running()
    if found and found[1] == settings.url:
        print(f"The weather API is at {settings.url}")
        return
    stop()
    state_directory(PROJECT)
    while (why := _start(settings)) is not None:
        if not settings.is_from_file or _is_free(settings.host, settings.port):
            raise DpeError(why)
        settings = _with_another_port(settings)
    print(f"The weather API is at {settings.url}; `make weather-api-stop` stops it")


def _with_another_port(settings: Settings) -> Settings:
    """Write the next free port into .env, and return the settings with it."""
    path, port = PROJECT / dotenv.FILE, _free_port(settings.host, settings.port + 1)
    url = f"http://{settings.host}:{port}"
    print(f"The weather API uses {url}, because another program uses {settings.url}; .env has the new address now")
    written = path.with_name(f"{dotenv.FILE}.{os.getpid()}")
    with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(re.sub(rf"{re.escape(settings.url)}(?!\d)", url, path.read_text(encoding="utf-8")))
    written.replace(path)
    # For the service, which reads its settings itself.
    os.environ["WEATHER_API_URL"] = url
    return replace(settings, url=url, port=port)


def _start(settings: Settings) -> str | None:
    """Start the service, and wait for it; return why it did not start."""
    with LOG.open("w", encoding="utf-8") as log:
        command = [sys.executable, __file__, "serve"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    PID_FILE.write_text(f"{process.pid} {settings.url}\n", encoding="utf-8")
    give_up = time.monotonic() + START_SECONDS
    while running() is None:
        if process.poll() is not None or time.monotonic() > give_up:
            process.kill()
            process.wait()
            PID_FILE.unlink()
            lines = LOG.read_text(encoding="utf-8").splitlines() or [f"weather API: does not respond; see {LOG}"]
            return lines[-1].removeprefix("Error: ")
        time.sleep(0.05)
    return None


def stop() -> bool:
    """Stop the started service; return whether it was running."""
    found = running()
    if found:
        os.kill(found[0], signal.SIGTERM)
        while running():
            time.sleep(0.05)
    PID_FILE.unlink(missing_ok=True)
    return found is not None


def fault(text: str) -> tuple[int, str]:
    """Parse NUMBER:FAULT."""
    number, _, kind = text.partition(":")
    if kind not in FAULTS:
        raise argparse.ArgumentTypeError(f"{text} is not a fault; use one of {', '.join(FAULTS)}")
    return int(number), kind


def main(arguments: Sequence[str]) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["configure", "start", "stop", "serve"])
    parser.add_argument("--fault", action="append", default=[], type=fault, metavar="NUMBER:FAULT", help="misbehave, for tests")
    given = parser.parse_args(arguments)
    try:
        if given.command == "stop":
            print("The weather API is stopped" if stop() else "The weather API was not running")
        elif given.command == "configure":
            configure()
        elif given.command == "start":
            start(Settings.read())
        else:
            serve(Settings.read(), dict(given.fault))
    except DpeError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
