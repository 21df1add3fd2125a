from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storage_schemas.processes import WorkerDiedError

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
UNGUARDED = """
import logging, sys
from storage_schemas.processes import WorkerProcess

print("begins")
worker = WorkerProcess(logging.getLevelName, preload=%r, name="unguarded")
worker.end()
print("ends", __file__ == sys.argv[0])
"""
HANG_S = 120
"""Only a hang takes so long; workers ignore SIGTERM, so an exit that sends it and waits never ends."""


def test_worker_when_an_error_leaves_it_behind_then_the_program_still_ends(tmp_path: Path):
    script = tmp_path / "left_over.py"
    script.write_text(LEFT_OVER)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: a fault that nobody catches\n")


@pytest.mark.parametrize("preload", [None, "storage_schemas.layout"])
def test_worker_when_a_script_has_no_guard_then_it_runs_once(tmp_path: Path, preload: str | None):
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED % (preload,))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=HANG_S, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "begins\nends True\n", "")


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (-9, "was ended by signal 9 (SIGKILL)), probably killed for lack of memory. Run with fewer workers, then run the same"),
        (None, "is gone), probably killed for lack of memory"),
        (
            -11,
            "was ended by signal 11 (SIGSEGV)), probably by a fault in compiled code. Report it with the lines above, then run",
        ),
        (1, "ended with exit code 1), and what it said stands above. Mend that, then run the same command again"),
    ],
)
def test_death_when_told_then_its_cause_follows_from_how_it_ended(exit_code: int | None, words: str):
    assert words in str(WorkerDiedError(7, exit_code))
