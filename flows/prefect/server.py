"""The Prefect server: whether it answers, and one of our own where there is none. Ours end with this process, however it ends.

Why    A server that is started for a run schedules nothing; a schedule needs one that stays. ``depthmill deploy --serve`` shall
       need no second terminal, so it starts one beside itself and takes it away again. Prefect would start one for a run by
       itself, which outlives a killed run, dies of the run's own Ctrl-C, and is asked for minutes when it cannot start
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO

import httpx
import prefect
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    get_current_settings,
    temporary_settings,
)

from flows.prefect.guard import START_DATABASE, OrchestratorError
from flows.prefect.tied_process import start_tied
from storage_schemas.awaited import awaited

LOCAL_PORT = 4200
"""Prefect's own choice; its pages are at http://127.0.0.1:4200."""
STARTUP_S = 120.0
"""9 to 15 s are usual, 30 s were seen on a busy machine."""


def refuse_silent_server() -> None:
    """Check that the server of PREFECT_API_URL answers, if there is one to ask.

    Raises:
        OrchestratorError: it does not.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise OrchestratorError(
            f"the Prefect server of PREFECT_API_URL={url} does not answer: {str(error) or type(error).__name__}. Start it "
            "(prefect server start), correct the address, or unset PREFECT_API_URL (prefect config unset PREFECT_API_URL, if a "
            "profile sets it). What is made or trained by a command needs no server: --no-prefect"
        )
    if _status(f"{url.rstrip('/')}/ready") == 503:
        raise OrchestratorError(
            f"the Prefect server of PREFECT_API_URL={url} answers, but its database does not. {START_DATABASE}, then run the "
            "same command. What is made or trained by a command needs no server: --no-prefect"
        )


@contextmanager
def scheduling_server(port: int = LOCAL_PORT) -> Iterator[str]:
    """Yield the API address of a server that schedules, and let this process and those it starts use it.

    The one of PREFECT_API_URL; or one that runs on this machine already; or else one of our own, which ends with the context.

    Args:
        port: where on this machine.

    Raises:
        OrchestratorError: no server answers, and none can be started.
    """
    refuse_silent_server()
    if configured_url := PREFECT_API_URL.value():
        yield configured_url
        return
    url = f"http://127.0.0.1:{port}/api"
    server = None if _answers(url) else _start_scheduling(port, url)
    former = os.environ.get("PREFECT_API_URL")
    os.environ["PREFECT_API_URL"] = url  # for the processes that run flows
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        if former is not None:
            os.environ["PREFECT_API_URL"] = former
        if server is not None:
            server.stop()


@contextmanager
def server_of_flows() -> Iterator[None]:
    """Let flows of this process have a server: the one of PREFECT_API_URL, or else one of our own that is kept for later flows.

    Raises:
        OrchestratorError: there is none, and it cannot be started; or the one of PREFECT_API_URL does not answer.
    """
    refuse_silent_server()
    if PREFECT_API_URL.value():
        yield
        return
    with temporary_settings({PREFECT_API_URL: _own_server()}):
        yield


@dataclass
class _Server:
    """A server that this process has started."""

    process: subprocess.Popen[bytes]
    url: str
    output: IO[bytes]

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        """Return the last line that it printed."""
        self.output.seek(0)
        lines = self.output.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


_own: list[_Server] = []


def _own_server() -> str:
    """Return the address of this process's own server; it is started at the first call."""
    if _own and _own[0].process.poll() is None:
        return _own[0].url
    _refuse_closed_home()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    create = ["--app-dir", str(prefect.__module_path__.parent), "--factory", "prefect.server.api.server:create_app"]
    listen = ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    quiet = {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }  # as Prefect starts its own
    server = _start("uvicorn", [*create, *listen], f"http://127.0.0.1:{port}/api", env=quiet)
    _own[:] = [server]
    atexit.register(server.stop)
    return server.url


def _start_scheduling(port: int, url: str) -> _Server:
    installed = version("sqlalchemy")
    if tuple(map(int, installed.split(".")[:2])) >= (2, 1):  # seen with 2.1.9; only the server's own log shows the failure
        raise OrchestratorError(
            f"Prefect {version('prefect')} schedules nothing with SQLAlchemy {installed}: its server fails to write any "
            "scheduled run. Run: pip install 'sqlalchemy<2.1'"
        )
    _refuse_closed_home()
    return _start("prefect", ["server", "start", "--host", "127.0.0.1", "--port", str(port)], url, env={})


def _start(module: str, arguments: Sequence[str], url: str, *, env: dict[str, str]) -> _Server:
    """Start a server and wait until it answers; OrchestratorError, with its last line, if it ends or takes too long."""
    output = tempfile.TemporaryFile()  # noqa: SIM115  # is read when the server fails, and goes with this process
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    server = _Server(start_tied(module, arguments, env={**os.environ, **settings, **env}, output=output), url, output)
    with awaited("a Prefect server starts, which takes 10 s or more"):
        _await_answer(server)
    return server


def _await_answer(server: _Server) -> None:
    url, waited_from = server.url, time.monotonic()
    while not _answers(url):
        if (code := server.process.poll()) is not None or time.monotonic() - waited_from > STARTUP_S:
            server.stop()
            why = f"did not answer within {STARTUP_S:.0f} s" if code is None else f"ended at once with code {code}"
            port = url.removesuffix("/api").rpartition(":")[2]
            raise OrchestratorError(
                f"a Prefect server on port {port} {why}: {server.last_words()}. Run 'prefect server start --port {port}' to see "
                "why, choose another --port, set PREFECT_API_URL to a server that runs, or take --no-prefect in place of "
                "--prefect"
            )
        time.sleep(0.2)


def _refuse_closed_home() -> None:
    """Check that Prefect's folder can be written: its server would try for minutes and print a traceback each time."""
    if PREFECT_SERVER_DATABASE_CONNECTION_URL.value() not in (None, "") and "sqlite" not in str(
        PREFECT_SERVER_DATABASE_CONNECTION_URL.value()
    ):
        return
    home = Path(PREFECT_HOME.value())
    try:
        home.mkdir(parents=True, exist_ok=True)
        probe = home / f".depthmill-{uuid.uuid4().hex}"
        try:
            probe.write_bytes(b"x")
        finally:
            with suppress(OSError):
                probe.unlink()
    except OSError as error:
        raise OrchestratorError(
            f"Prefect cannot write in its folder '{home}': {error.strerror or error}. Set PREFECT_HOME to a folder that you may "
            "write, or take --no-prefect in place of --prefect"
        ) from error


def _answers(url: str) -> bool:
    return _status(f"{url}/health", timeout_s=2.0) == 200


def _status(url: str, *, timeout_s: float = 30.0) -> int | None:
    """Return the HTTP status that a URL answers with; None if it does not answer."""
    try:
        return httpx.get(url, timeout=timeout_s).status_code
    except httpx.HTTPError:
        return None
