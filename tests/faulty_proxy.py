"""A loopback HTTP proxy that fails on a seeded share of requests, as an object store on a bad day does; it also counts requests.

One client thread gives the same faults in the same order on every run; with several, the share is the same and the order is not.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FAULTS = ("500", "503", "reset", "lost", "cut", "late")
"""500, 503: an answer of S3; reset: the connection ends before the request is passed on; lost: it is passed on and done, then the
connection ends; cut: the connection ends in the middle of the answer; late: no answer within the client's time-out."""

ERROR_CODES = {"500": "InternalError", "503": "SlowDown", "507": "QuotaExceeded"}
_HOP_BY_HOP = {"connection", "transfer-encoding", "expect", "proxy-connection", "keep-alive"}

Rule = Callable[[str, str], str | None]
"""(method, path with query) -> fault, an HTTP status to answer with, or None to pass the request on."""


class FaultyProxy(ThreadingHTTPServer):
    """Stands in front of an S3 server.

    Attributes:
        rule: decides each request's fate; replace it to inject what a test needs.
        requests: counts by method of what arrived (also those that failed).
        faults: counts by fault.
        num_connections: connections that clients opened.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, target_port: int, *, late_s: float = 1.5) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target_port, self.late_s = target_port, late_s
        self.rule: Rule = lambda method, path: None
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.log: list[str] = []
        self.num_connections = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fail_share(self, share: float, *, seed: int, kinds: tuple[str, ...] = FAULTS) -> None:
        """Fail on a share of all requests, the kind drawn too."""
        rng = random.Random(seed)
        self.rule = lambda method, path: rng.choice(kinds) if rng.random() < share else None

    def decide(self, method: str, path: str) -> str | None:
        with self._lock:
            fault = self.rule(method, path)
            self.requests[_kind(method, path)] += 1
            self.log.append(f"{method} {path}")
            if fault is not None:
                self.faults[fault] += 1
            return fault

    def forget(self) -> None:
        """Count from nothing."""
        with self._lock:
            self.requests.clear()
            self.faults.clear()
            self.log.clear()
            self.num_connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        """Count a new connection."""
        with self._lock:
            self.num_connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away: that is what this server is for."""


def _kind(method: str, path: str) -> str:
    if method == "GET" and "list-type=2" in path:
        return "LIST"
    return "DELETE" if method == "POST" and "delete" in urlsplit(path).query else method


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FaultyProxy

    def _answer(self) -> None:
        body = self._body()
        fault = self.server.decide(self.command, self.path)
        if fault == "late":
            time.sleep(self.server.late_s)
            self._hang_up()
        elif fault == "reset":
            self._hang_up()
        elif fault is not None and fault.isdigit():
            self._refuse(int(fault), ERROR_CODES.get(fault, "AccessDenied"))
        elif fault is not None and ":" in fault:  # "403:InvalidAccessKeyId"
            status, code = fault.split(":")
            self._refuse(int(status), code)
        else:
            self._pass_on(body, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer  # noqa: N815

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _pass_on(self, body: bytes, fault: str | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.target_port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body=body or None, headers={**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if fault == "lost" or (fault == "cut" and not content):
            self._hang_up()
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in (*_HOP_BY_HOP, "content-length"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
        if fault == "cut":
            self.wfile.flush()
            self._hang_up()

    def _refuse(self, status: int, code: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>injected fault</Message></Error>" if status >= 400 else "<DeleteResult/>"
        content = b"" if self.command == "HEAD" else text.encode()
        self.send_response_only(status, code)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _hang_up(self) -> None:
        """Reset the connection: an unsent answer is thrown away, as when a machine on the way is restarted."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


@contextmanager
def faulty_proxy(target_port: int, **options: float) -> Iterator[FaultyProxy]:
    """Run a proxy in a thread of this process."""
    proxy = FaultyProxy(target_port, **options)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
