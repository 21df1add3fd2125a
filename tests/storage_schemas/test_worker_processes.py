from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LEFT_OVER = """
from storage_schemas.processes import WorkerProcess

def answer(request, handles):
    return request

if __name__ == "__main__":
    worker = WorkerProcess(answer, preload=None, name="left over")
    worker.send("here")
    assert worker.receive() == "here"
    raise ValueError("a fault that nobody catches")
"""
HANG_S = 120
"""Only a hang takes so long; workers ignore SIGTERM, so an exit that sends it and waits never ends."""


def test_worker_when_an_error_leaves_it_behind_then_the_program_still_ends(tmp_path: Path):
    script = tmp_path / "left_over.py"
    script.write_text(LEFT_OVER)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: a fault that nobody catches\n")
