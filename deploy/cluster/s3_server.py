"""moto's S3 server with its objects in one SQLite file, so that they outlive it: for a laboratory bench, not for a laboratory.

Why    moto keeps objects in memory. A store whose objects go with a killed process cannot show that nothing is lost
How    Requests that change something are answered one after the other, each after its object has been written to the file
Limit  Objects, without versions, tags and access rules. Nothing checks credentials, so it listens on this machine only

Arguments: the file, host, port, and buckets to create.
"""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class KeptObjects:
    """The objects of every bucket, in moto's memory and in a file."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(path, check_same_thread=False)
        self._file.execute("pragma journal_mode = wal")
        self._file.execute("pragma synchronous = off")  # only a power cut may lose the last objects, no killed process
        self._file.execute("create table if not exists object (bucket text, key text, content blob, primary key (bucket, key))")
        self._file.execute("create table if not exists bucket (name text primary key)")
        self._memory = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def load(self, buckets: Iterable[str]) -> int:
        """Bring what the file has into moto's memory, create buckets, and return the number of objects."""
        with self._file:
            self._file.executemany("insert or ignore into bucket values (?)", [(name,) for name in buckets])
        for (name,) in self._file.execute("select name from bucket"):
            self._memory.create_bucket(name, "us-east-1")
        count = 0
        for bucket, key, content in self._file.execute("select bucket, key, content from object"):
            self._memory.put_object(bucket, key, content)
            count += 1
        return count

    def keep(self, bucket: str, keys: Iterable[str] | None) -> None:
        """Write to the file what moto's memory has of a bucket now.

        Args:
            bucket: its name.
            keys: the objects that may have changed; None for all that the bucket has.
        """
        with self._file:
            if bucket not in self._memory.buckets:
                self._file.execute("delete from bucket where name = ?", (bucket,))
                self._file.execute("delete from object where bucket = ?", (bucket,))
                return
            self._file.execute("insert or ignore into bucket values (?)", (bucket,))
            objects = self._memory.buckets[bucket].keys
            if keys is None:
                kept = {key for (key,) in self._file.execute("select key from object where bucket = ?", (bucket,))}
                keys = kept - set(objects)  # a request that deletes several objects adds none
            for key in keys:
                if (stored := objects.get(key)) is None:
                    self._file.execute("delete from object where bucket = ? and key = ?", (bucket, key))
                else:
                    self._file.execute("insert or replace into object values (?, ?, ?)", (bucket, key, stored.value))


class KeepingServer:
    """A WSGI application around moto's: what a request changed is in the file before the request is answered."""

    def __init__(self, app: App, objects: KeptObjects) -> None:
        self._app, self._objects, self._lock = app, objects, threading.Lock()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._app(environ, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)  # read before the lock: a slow client must not hold the others back
        if "chunked" not in environ.get("HTTP_TRANSFER_ENCODING", ""):
            environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(length))
        bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
        with self._lock:
            answer = list(self._app(environ, start_response))
            # moto names an object by the bytes of the path, or by their text, as the client has quoted them
            self._objects.keep(bucket, {key, key.encode("latin-1").decode()} if key else None)
        return answer


class _Quiet(MotoRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as other S3 servers keep them

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing of each request."""


def main() -> None:
    """Serve until the process is ended."""
    path, host, port, *buckets = sys.argv[1:]
    objects = KeptObjects(path)
    print(f"{objects.load(buckets)} objects in {path}", flush=True)
    app = KeepingServer(DomainDispatcherApplication(create_backend_app), objects)
    make_server(host, int(port), app, threaded=True, request_handler=_Quiet).serve_forever()


if __name__ == "__main__":
    main()
