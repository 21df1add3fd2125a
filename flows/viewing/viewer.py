"""The Rerun viewer: a window of its own, or a page that a browser opens, also through an SSH tunnel."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from storage_schemas.awaited import awaited
from storage_schemas.errors import DepthmillError, RecipeError

ADDRESS = "127.0.0.1"
"""Nobody but this machine can reach the page."""

RERUN = (sys.executable, "-m", "rerun")
"""The viewer that came with the package, whatever else is in the PATH."""


def open_window(recording: Path) -> None:
    """Start the viewer in a window of its own and go on; it stays when the command has ended."""
    nowhere = subprocess.DEVNULL
    subprocess.Popen([*RERUN, str(recording)], start_new_session=True, stdin=nowhere, stdout=nowhere, stderr=nowhere)


def page_address(port: int) -> str:
    """Return the address of the served page, which says that its data comes from the next port."""
    return f"http://{ADDRESS}:{port}/?url=rerun%2Bhttp://{ADDRESS}:{port + 1}/proxy"


def refuse_taken_ports(port: int) -> None:
    """Check that the page's port and the next one are free; RecipeError names the one that is not."""
    for number in (port, port + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, number))
            except OSError as error:
                raise RecipeError(
                    f"--port {port}: port {number} of this machine cannot be used ({error.strerror}), perhaps because another "
                    "viewer has it. Choose another with --port"
                ) from error


def serve_page(recording: Path, *, port: int) -> None:
    """Serve the viewer as a page until Ctrl-C.

    Args:
        recording: file to show.
        port: of the page; the data comes from the next one.

    Raises:
        DepthmillError: the server ended by itself.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is how a server ends, and interrupts no work here
    ports = ["--port", str(port + 1), "--web-viewer-port", str(port)]
    command = [*RERUN, "--serve-web", "--bind", ADDRESS, *ports, str(recording)]
    server = subprocess.Popen(command, start_new_session=True)
    try:
        with awaited("the viewer is served as a page"):
            code = server.wait()
    except KeyboardInterrupt:
        return
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)  # the package starts a program of its own, which must not stay behind
    raise DepthmillError(
        f"the viewer's server ended by itself with code {code}; its own words stand above. The recording is kept: '{recording}'. "
        "Open it with --open, or copy it to a machine with a screen"
    )
