"""The Prefect server: whether it answers, and one of our own where there is none.

Why    A server that Prefect embeds in a run schedules nothing; a schedule needs one that stays. ``depthmill deploy --serve``
       shall need no second terminal, so it starts one beside itself and takes it away again
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.prefect.guard import OrchestratorError

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
    if url is None:
        return
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise OrchestratorError(
            f"the Prefect server of PREFECT_API_URL={url} does not answer: {str(error) or type(error).__name__}. Start it "
            "(prefect server start), correct the address, or unset PREFECT_API_URL"
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
    if (configured_url := PREFECT_API_URL.value()) is not None:
        yield configured_url
        return
    url = f"http://127.0.0.1:{port}/api"
    server = None if _answers(url) else _start(port, url)
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
            _stop(server)


def _start(port: int, url: str) -> subprocess.Popen[bytes]:
    installed = version("sqlalchemy")
    if tuple(map(int, installed.split(".")[:2])) >= (2, 1):  # seen with 2.1.9; only the server's own log shows the failure
        raise OrchestratorError(
            f"Prefect {version('prefect')} schedules nothing with SQLAlchemy {installed}: its server fails to write any "
            "scheduled run. Run: pip install 'sqlalchemy<2.1'"
        )
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    # a session of its own: Ctrl-C must end the flows first and the server after them
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    waited_from = time.monotonic()
    while not _answers(url):
        if (code := server.poll()) is not None or time.monotonic() - waited_from > STARTUP_S:
            _stop(server)
            why = f"did not answer within {STARTUP_S:.0f} s" if code is None else f"ended at once with code {code}"
            raise OrchestratorError(
                f"a Prefect server on port {port} {why}. Run 'prefect server start --port {port}' to see why, choose another "
                "--port, or set PREFECT_API_URL to a server that runs"
            )
        time.sleep(0.2)
    return server


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(timeout=10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False
