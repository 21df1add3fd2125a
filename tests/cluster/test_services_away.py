"""What is said where a service of a cluster is away: its name, and the command that starts it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from flows.doctor import diagnose
from flows.workers.dask_cluster import parse_target
from flows.workers.dask_pool import DaskScenes
from storage_schemas.errors import StoreAccessError
from storage_schemas.files import StoreFiles

Answer = Callable[[str], tuple[int, object]]


@pytest.fixture
def prefect_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], str]]:
    """Start something that answers as a Prefect server does, and set PREFECT_API_URL."""
    started: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, content = answer(self.path.removeprefix("/api"))
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        started.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        monkeypatch.setenv("PREFECT_API_URL", url)
        return url

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def findings() -> dict[str, tuple[bool, str]]:
    return {one.about: (one.is_ok, one.says) for one in diagnose()}


def test_doctor_when_the_pool_has_no_worker_then_says_how_to_start_one(prefect_server):
    prefect_server(lambda path: (200, {"status": "NOT_READY"}))
    assert findings()["work pool depthmill"] == (
        False, "no worker polls it, so nothing is run. Run: prefect worker start --pool depthmill",
    )  # fmt: skip


def test_doctor_when_the_pool_has_a_worker_or_is_not_there_then_nothing_fails(prefect_server):
    prefect_server(lambda path: (200, {"status": "READY"}))
    assert findings()["work pool depthmill"] == (True, "has a worker")
    prefect_server(lambda path: (404, {}) if "work_pools" in path else (200, True))
    found = findings()
    assert "work pool depthmill" not in found
    assert found["prefect server"][0]


def test_doctor_when_the_database_is_away_then_says_how_to_start_it(prefect_server):
    url = prefect_server(lambda path: (500, {}) if "work_pools" in path else (200, True))
    found = findings()
    assert found["prefect server"] == (True, f"{url} answers")
    says = f"{url} answers, its database does not. On its machine, for PostgreSQL: systemctl start postgresql"
    assert found["prefect database"] == (False, says)


def test_command_when_the_database_of_prefect_is_away_then_says_how_to_start_it(prefect_server):
    from flows.prefect.guard import OrchestratorError, explained  # isort: skip
    from flows.prefect.server import refuse_silent_server  # isort: skip
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = prefect_server(lambda path: (503, {}) if path == "/ready" else (200, True))
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(OrchestratorError) as refused:
        refuse_silent_server()
    assert f"the Prefect server of PREFECT_API_URL={url} answers, but its database does not" in str(refused.value)
    assert "Start it on the server's machine (PostgreSQL: systemctl start postgresql), then run the same command" in str(
        refused.value
    )
    answer = httpx.Response(500, request=httpx.Request("GET", url))
    with pytest.raises(OrchestratorError) as failed, explained("finish the round", "Then run the same command"):
        answer.raise_for_status()
    assert "its server failed (500), as it does while its database is away. Start it on the server's machine" in str(failed.value)


def test_store_when_no_s3_server_listens_then_says_how_to_start_it(monkeypatch):
    pytest.importorskip("s3fs", reason="pip install 'depthmill[s3]'")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "1")
    with pytest.raises(StoreAccessError) as failed:
        StoreFiles("s3://away/store").get("key")
    assert (
        "The S3 server AWS_ENDPOINT_URL=http://127.0.0.1:9 does not answer: start it (where `make cluster` runs: supervisorctl -c "
        "cluster/supervisord.conf start s3)"
    ) in str(failed.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:10")  # as in a notebook, after that error
    with pytest.raises(StoreAccessError, match='endpoint URL: "http://127.0.0.1:10/'):
        StoreFiles("s3://away/store").get("key")


def test_scenes_when_the_scheduler_has_no_worker_then_says_how_to_start_one(capsys):
    class Client:
        status = "running"

        def scheduler_info(self, **_: object) -> dict[str, object]:
            return {"workers": {}}

    DaskScenes(Client(), parse_target("tcp://head:8786"))._say_if_no_workers()
    assert (
        "the Dask scheduler 'tcp://head:8786' has no worker left; the run goes on when one comes. Start one: dask worker "
        "tcp://head:8786 --nthreads 1. Ctrl-C is safe"
    ) in capsys.readouterr().err
