from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.leftover_processes import MARK
from tests.process_tree import descendants, is_alive, wait_until, wait_until_gone

REPOSITORY = Path(__file__).resolve().parents[1]

STARTS_AND_WAITS = """
import subprocess, sys, threading

def test_that_starts_processes():
    sleeper = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(900)'])"
    def start(**options):
        subprocess.Popen([sys.executable, "-c", sleeper], **options)
    start()
    start(start_new_session=True)  # no signal to the group reaches it
    thread = threading.Thread(target=start)  # a signal at its parent thread's end would come too early
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", "import time; time.sleep(900)"])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_what_tests_have_started_ends_with_a_killed_pytest(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "test_waits.py").write_text(STARTS_AND_WAITS)
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    environment["PYTHONPATH"] = str(REPOSITORY)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", str(tmp_path)]
    command = ["env", "--default-signal", *command]  # below nohup the signal of a closed terminal is ignored, and inherited so
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: sum("time.sleep" in line for line in descendants(process.pid).values()) == 7, "seven processes start")
        started = descendants(process.pid)
        process.send_signal(number)
        process.wait()
        wait_until_gone(started)
    finally:
        process.kill()
        for pid in descendants(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert not any(map(is_alive, started))
