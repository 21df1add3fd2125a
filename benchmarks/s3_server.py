"""An S3 server (moto) in a process of its own, filled past its protocol, that lets every request wait as a distant one would."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BUCKET = "benchmark"

_SERVER = """
import json, sys, threading, time
from pathlib import Path
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

backend = s3_backends["123456789012"]["aws"]
backend.create_bucket(sys.argv[2], "us-east-1")
moto, latency = DomainDispatcherApplication(create_backend_app), 0.0
counts = {}

def app(environ, start_response):
    counts[environ["REQUEST_METHOD"]] = counts.get(environ["REQUEST_METHOD"], 0) + 1
    time.sleep(latency)
    return moto(environ, start_response)

class Quiet(MotoRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as those of S3 do
    def log_request(self, *args): pass

server = make_server("127.0.0.1", int(sys.argv[1]), app, True, request_handler=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
for line in sys.stdin:  # ends with the process that started this one
    order = json.loads(line)
    latency = order.get("latency_s", latency)
    num = 0
    if "folder" in order:
        root = Path(order["folder"])
        for path in sorted(root.rglob("*")):
            if path.is_file():
                backend.put_object(sys.argv[2], order["prefix"] + path.relative_to(root).as_posix(), path.read_bytes())
                num += 1
    print(json.dumps({"num": num, "counts": counts}), flush=True)
    counts.clear()
"""


class S3Server:
    """The running server; its environment variables are set in this process, for those that it starts too."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def upload(self, folder: Path, key: str) -> str:
        """Put all files of a folder below a key; return their URL."""
        self._order(folder=str(folder), prefix=f"{key}/")
        return f"s3://{BUCKET}/{key}"

    def wait_each(self, latency_s: float) -> None:
        """Let every request wait from now on."""
        self._order(latency_s=latency_s)

    def requests(self) -> dict[str, int]:
        """Return how many requests of each method there were since the last order."""
        counts: dict[str, int] = self._order()["counts"]
        return counts

    def _order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextlib.contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start the server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-c", _SERVER, str(port), BUCKET]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_EC2_METADATA_DISABLED="true",
    )
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
                break
            if process.poll() is not None:
                raise RuntimeError("the S3 server ended; pip install 'depthmill[dev]' has moto")
            time.sleep(0.1)
        yield S3Server(process)
    finally:
        process.kill()
        process.wait()
