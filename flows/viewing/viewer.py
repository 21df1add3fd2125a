"""The Rerun viewer: a window of its own, or a page that a browser opens, also through an SSH tunnel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from storage_schemas.errors import DepthmillError

WEB_PORT, DATA_PORT = 9090, 9876
"""Rerun's own ports: of the page, and of the data that the page fetches."""


def open_window(recording: Path) -> None:
    """Start the viewer in a window of its own and go on; it stays when the command has ended."""
    subprocess.Popen(
        [sys.executable, "-m", "rerun", str(recording)],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def serve_page(recording: Path, *, web_port: int = WEB_PORT, data_port: int = DATA_PORT) -> None:
    """Serve the viewer as a page of this machine until Ctrl-C; nobody else can reach it.

    Raises:
        DepthmillError: the server could not start, e.g. because a port is taken.
    """
    command = [sys.executable, "-m", "rerun", "--serve-web", "--bind", "127.0.0.1", "--port", str(data_port)]
    code = subprocess.run([*command, "--web-viewer-port", str(web_port), str(recording)], check=False).returncode
    if code not in (0, -2, 130):
        raise DepthmillError(
            f"the viewer's server ended with code {code}. If a port is taken, choose others with --port; the recording is at "
            f"'{recording}'"
        )


def page_address(web_port: int = WEB_PORT, data_port: int = DATA_PORT) -> str:
    """Return the address of the served page, which says where the data is."""
    return f"http://127.0.0.1:{web_port}/?url=rerun%2Bhttp://127.0.0.1:{data_port}/proxy"
