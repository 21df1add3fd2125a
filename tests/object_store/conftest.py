"""A real S3 protocol server (moto) in a process of its own, behind a proxy that can fail."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faulty_proxy import FaultyProxy, faulty_proxy
from tests.process_tree import wait_until

_SERVER = """
import sys, threading
from moto.server import ThreadedMotoServer
ThreadedMotoServer(port=int(sys.argv[1]), verbose=False).start()
sys.stdin.read()  # ends with the process that started this one
"""


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """Port of the server."""
    pytest.importorskip("moto", reason="pip install 'depthmill[dev]'")
    pytest.importorskip("s3fs", reason="pip install 'depthmill[s3]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: is_listening(port), "the S3 server listens")
        yield port
    finally:
        server.terminate()
        server.wait()


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
        return True
    return False


@pytest.fixture(scope="session")
def _proxy(s3_port: int) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3_port, late_s=0.8) as proxy:
        yield proxy


@pytest.fixture
def proxy(_proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The proxy, failing nothing yet; the environment points to it, and nothing else in the environment counts."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "DEPTHMILL_STORE_"))]:
        monkeypatch.delenv(name)
    settings = {
        "AWS_ENDPOINT_URL": _proxy.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "DEPTHMILL_STORE_FIRST_WAIT_S": "0.01",
        "DEPTHMILL_STORE_TIMEOUT_S": "60",
        "DEPTHMILL_LOADER_WORKERS": "0",
        "DEPTHMILL_DEVICE": "cpu",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    _proxy.rule = lambda method, path: None
    _proxy.forget()
    yield _proxy
    _proxy.rule = lambda method, path: None


@pytest.fixture
def bucket(s3_port: int, proxy: FaultyProxy) -> str:
    """A new bucket; its name."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{s3_port}/{name}", method="PUT")):  # past the proxy
        return name


@pytest.fixture
def fresh_clients() -> Iterator[Callable[[], None]]:
    """Forget opened file systems, which keep the credentials and the endpoint that they were opened with."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    yield S3FileSystem.clear_instance_cache
    S3FileSystem.clear_instance_cache()
