"""Two trainings on one machine share its cores: threads of OpenMP sleep while they wait, whatever the entry, unless the user chose."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
ENTRIES = ("import model.families", "import model.data.dataset", "import depthmill; depthmill.load_model; import model.families")

STOP_AT_TORCH = f"""
import os, sys

class StopAtTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(*(os.environ.get(name, "-") for name in {NAMES}), flush=True)
            os._exit(0)

sys.meta_path.insert(0, StopAtTorch())
"""


def waiting(entry: str, **chosen: str) -> list[str]:
    """Return what the environment says when torch is looked for: what it reads while it is loaded. It is not loaded: that takes 3 s."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | chosen
    command = [sys.executable, "-c", f"{STOP_AT_TORCH}\n{entry}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("entry", ENTRIES)
def test_threads_when_torch_is_loaded_then_they_sleep_while_they_wait(entry):
    assert waiting(entry) == ["PASSIVE", "0", "0"]


def test_threads_when_the_user_chose_then_they_wait_as_chosen():
    assert waiting(ENTRIES[0], OMP_WAIT_POLICY="ACTIVE") == ["ACTIVE", "-", "-"]
