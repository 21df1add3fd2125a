"""A hub of Hugging Face in this process: what its client asks for when it makes a model, commits to it, and fetches it.

Files of more than ``SMALL`` bytes go by Git LFS, as weights do. Every request but a fetch needs the token; a private model needs it
for everything.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

TOKEN = "hf_madeup"
SMALL = 4096


@dataclass
class Model:
    is_private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    """Name and files of each commit, the newest last."""

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        known = {"main": self.commits[-1], **{name: (name, files) for name, files in self.commits}} if self.commits else {}
        return known.get(revision)


@dataclass
class Hub:
    url: str = ""
    models: dict[str, Model] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    """What came by Git LFS, by its SHA-256."""
    requests: list[str] = field(default_factory=list)
    fails: dict[str, int] = field(default_factory=dict)
    """Status of the answer to requests whose path holds the key."""


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlparse(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.requests.append(f"{self.command} {path}")
        if status := next((status for key, status in self.hub.fails.items() if key in path), None):
            return self._answer(status, {"error": "made to fail"})
        for pattern, answer in _ROUTES.items():
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                return answer(self, body, *found.groups())
        return self._answer(404, {"error": f"no such route: {path}"})

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def _may_write(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _missing(self, error: str) -> None:
        self._answer(404, {"error": error}, {"X-Error-Code": error})

    def create(self, body: bytes) -> None:
        asked = json.loads(body)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if not self._may_write:
            return self._answer(401, {"error": "Invalid username or password."})
        known = name in self.hub.models
        self.hub.models.setdefault(name, Model(asked.get("visibility") == "private"))
        return self._answer(409 if known else 200, {"url": f"{self.hub.url}/{name}"})

    def info(self, body: bytes, name: str, revision: str = "main") -> None:
        model = self.hub.models.get(name)
        if model is None or (model.is_private and not self._may_write):
            return self._missing("RepoNotFound")
        found = model.at(revision)
        if found is None and (model.commits or revision != "main"):
            return self._missing("RevisionNotFound")
        commit, files = found or ("0" * 40, {})
        siblings = [{"rfilename": file} for file in files]
        return self._answer(200, {"id": name, "private": model.is_private, "sha": commit, "siblings": siblings})

    def tree(self, body: bytes, name: str, revision: str) -> None:
        _, files = self.hub.models[name].at(revision)
        entries = [
            {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for file, data in files.items()
        ]
        return self._answer(200, entries)

    def validate(self, body: bytes) -> None:
        is_card = json.loads(body)["content"].startswith("---\n")
        return self._answer(200 if is_card else 400, {"errors": [] if is_card else [{"message": "no fields"}], "warnings": []})

    def preupload(self, body: bytes, name: str) -> None:
        files = json.loads(body)["files"]
        modes = [
            {"path": file["path"], "uploadMode": "lfs" if file["size"] > SMALL else "regular", "shouldIgnore": False, "oid": None}
            for file in files
        ]
        return self._answer(200, {"files": modes})

    def batch(self, body: bytes, name: str) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}} for one in json.loads(body)["objects"]
        ]
        return self._answer(200, {"transfer": "basic", "objects": objects})

    def put_object(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.objects[oid] = body
        return self._answer(200, {})

    def commit(self, body: bytes, name: str) -> None:
        if not self._may_write:
            return self._answer(403, {"error": "You have no write access to this model."})
        model = self.hub.models[name]
        files = dict(model.commits[-1][1]) if model.commits else {}
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            if entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.objects[entry["value"]["oid"]]
        oid = hashlib.sha1(body + str(len(model.commits)).encode()).hexdigest()
        model.commits.append((oid, files))
        return self._answer(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"})

    def resolve(self, body: bytes, name: str, revision: str, file: str) -> None:
        model = self.hub.models[name]
        if model.is_private and not self._may_write:
            return self._missing("RepoNotFound")
        commit, files = model.at(revision)
        data = files[file]
        return self._answer(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit})


_NAME = r"([\w.-]+/[\w.-]+)"
_ROUTES = {
    r"POST /api/repos/create": _Handler.create,
    r"POST /api/validate-yaml": _Handler.validate,
    rf"GET /api/models/{_NAME}": _Handler.info,
    rf"GET /api/models/{_NAME}/revision/([\w.-]+)": _Handler.info,
    rf"GET /api/models/{_NAME}/tree/([\w.-]+)": _Handler.tree,
    rf"POST /api/models/{_NAME}/preupload/main": _Handler.preupload,
    rf"POST /api/models/{_NAME}/commit/main": _Handler.commit,
    rf"POST /{_NAME}\.git/info/lfs/objects/batch": _Handler.batch,
    r"PUT /lfs/(\w+)": _Handler.put_object,
    rf"(?:GET|HEAD) /{_NAME}/resolve/([\w.-]+)/(.+)": _Handler.resolve,
}
