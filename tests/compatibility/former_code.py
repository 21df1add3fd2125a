"""The code of commit a7a46d7 in a folder of its own, and what it makes there: stores, trainings, tables, exports, answers.

How    git archive a7a46d7 | tar x          the code, without touching this checkout
       PYTHONPATH=<that folder> python tests/compatibility/commands.py        its commands, in a process of their own
Needs  a clone that holds the commit; a shallow one and an unpacked archive do not
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.worlds import STORES, TRAINED, write_worlds
from tests.conftest import REPOSITORY

COMMIT = "a7a46d7"
HERE = Path(__file__).parent
KILLED = -signal.SIGKILL
"""Return code of a process that was killed."""


def extract_former_code(folder: Path) -> Path:
    """Write the tree of the commit into a folder that is made; skips the test where the clone does not hold the commit."""
    archive = subprocess.run(["git", "archive", "--format=tar", COMMIT], cwd=REPOSITORY, capture_output=True)
    if archive.returncode:
        pytest.skip(f"commit {COMMIT} is not in this clone (shallow, or no clone at all): {archive.stderr.decode().strip()}")
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def python(code: Path, folder: Path, *arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script of this folder with the code of another one, on one core and one loader, with its caches in ``folder``."""
    settings = {
        "PYTHONPATH": str(code),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "DEPTHMILL_CACHE_DIR": str(folder / "cache"),
        "DEPTHMILL_WORKERS": "1",
        "DEPTHMILL_LOADER_WORKERS": "0",
        "DEPTHMILL_DEVICE": "cpu",
    }
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=folder, env={**os.environ, **settings})


@dataclass(frozen=True)
class Former:
    """What the former code made, and both codes to ask about it.

    Attributes:
        code: folder of the former code.
        folder: of everything that it made: raw/, stores/, exported/, and killed/<family>/<name> of trainings cut off.
        recipes: recipe files by name, as ``worlds.write_worlds`` says.
        made: what its commands answered while they made it.
    """

    code: Path
    folder: Path
    recipes: dict[str, Path]
    made: list[dict[str, Any]]

    def store(self, name: str) -> Path:
        """Return the folder of a store."""
        return self.folder / "stores" / name

    def training(self, name: str) -> Path:
        """Return the folder of a complete training by the name of its recipe, as the former code named it."""
        answer = next(one for one in self.made if one["command"][:2] == ["train", str(self.recipes[name])])
        return Path(json.loads(answer["text"])["folder"])

    def ask(self, code: Path, commands: list[list[Any]], *, saves: int | None = None) -> list[dict[str, Any]]:
        """Run commands with one of the codes; return command, exit code and text of each.

        With ``saves`` the process is killed just before a training saves for that time, and nothing is returned.
        """
        answers = self.folder / "answers.json"
        given = json.dumps([[str(argument) for argument in command] for command in commands])
        process = python(code, self.folder, HERE / "commands.py", answers, *([] if saves is None else [saves]), stdin=given)
        if saves is not None:
            assert process.returncode == KILLED, process.stderr
            return []
        assert process.returncode == 0, process.stderr
        found = json.loads(answers.read_text())
        assert found["code"] == str(code), "the code of another folder ran"
        return found["answers"]


def make_with_former_code(folder: Path) -> Former:
    """Make a store of every source, a training of every family, an interrupted one of each, an ablation, a round, an export."""
    code = extract_former_code(folder / "code")
    work = folder / "work"
    work.mkdir()
    former = Former(code, work, write_worlds(work), [])
    recipes, bare = former.recipes, "--no-prefect"
    commands: list[list[Any]] = [["run", recipes[name], bare] for name in STORES]
    commands += [["train", recipes[family], bare, "--json"] for family in TRAINED]
    commands += [
        ["ablate", recipes["ablation"], bare],
        ["retrain", recipes["ablation"], bare],
        ["export", recipes["simulated"], "--out", work / "exported"],
        ["import", work / "exported", "--store", former.store("imported")],
    ]
    former.made.extend(former.ask(code, commands))
    for answer in former.made:
        assert answer["code"] == 0, answer
    for family in TRAINED:
        folder_killed = work / "killed" / family / former.training(family).name
        former.ask(code, [["train", recipes[family], bare, "--out", folder_killed]], saves=2)
    return former
