"""The Rerun viewer: a window of its own, or a page that a browser opens, also through an SSH tunnel."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from storage_schemas.errors import DepthmillError

RERUN = (sys.executable, "-m", "rerun")
"""The viewer that came with the package, whatever else is in the PATH."""

STOPPED = (0, -signal.SIGINT, 128 + signal.SIGINT)
"""Codes of a server that Ctrl-C ended."""


def open_window(recording: Path) -> None:
    """Start the viewer in a window of its own and go on; it stays when the command has ended."""
    nowhere = subprocess.DEVNULL
    subprocess.Popen([*RERUN, str(recording)], start_new_session=True, stdin=nowhere, stdout=nowhere, stderr=nowhere)


def page_address(port: int) -> str:
    """Return the address of the served page, which says that its data comes from the next port."""
    return f"http://127.0.0.1:{port}/?url=rerun%2Bhttp://127.0.0.1:{port + 1}/proxy"


def serve_page(recording: Path, *, port: int) -> None:
    """Serve the viewer as a page until Ctrl-C, on this machine's own address only, so that nobody else can reach it.

    Args:
        recording: file to show.
        port: of the page; the data comes from the next one.

    Raises:
        DepthmillError: the server could not start, e.g. because a port is taken.
    """
    ports = ["--port", str(port + 1), "--web-viewer-port", str(port)]
    code = subprocess.run([*RERUN, "--serve-web", "--bind", "127.0.0.1", *ports, str(recording)], check=False).returncode
    if code not in STOPPED:
        raise DepthmillError(
            f"the viewer's server ended with code {code}; its own words stand above. If port {port} or {port + 1} is taken, choose "
            f"another with --port. The recording is kept: '{recording}'"
        )
