"""Many processes on one store for a long time: commands drawn at random, a part of them killed at a random moment.

Four cleaning rules of one recipe share the raw data, so that runs of different rules need some of the same units. Beside them the
store is pruned without a grace period, verified, read, trained on and exported. Every command either succeeds, was killed by us, or
says in words that the same command must be given again, because a prune took a unit after its plan.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import REPOSITORY

RULES = ("5", "12.5", "25", "40")
"""Values of ``clean_horizon.near_m``."""

BARE = ("--no-prefect", "--workers", "1", "--no-report")

SMALL = (
    "--set", "train.network.base_channels=8", "--set", "train.max_steps=6", "--set", "train.data.batch_size=1",
    "--set", "train.evaluation.num_strips=1",
)  # fmt: skip

AGAIN = (
    "Run the same command again",
    "was deleted after the plan was made",
    "is missing: its unit was pruned",
    "it was pruned after",
)
"""What a command may fail with while the store is pruned beside it."""

LIMIT_S = 600.0
"""A command that takes longer waits for something that will not come."""


@dataclass
class Soak:
    """What happened.

    Attributes:
        recipe: recipe file; its store is the shared one.
        folder: for trainings, exports and the commands' output.
        counts: (command, outcome) -> how often.
        faults: what must not happen, in words.
    """

    recipe: Path
    folder: Path
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def commands(self, rng: random.Random) -> Mapping[str, Callable[[], list[str]]]:
        """Return what can be drawn: a name and the arguments."""
        rule = rng.choice(RULES)
        change = ("--set", f"stages.clean_horizon.near_m={rule}")
        store = str(self.recipe.parent / "store")
        return {
            "run": lambda: ["run", str(self.recipe), *BARE, *change],
            "prune": lambda: ["prune", store, "--delete", "--older-than", "0"],
            "verify": lambda: ["verify", str(self.recipe), "--all"],
            "status": lambda: ["status", str(self.recipe), *change],
            "train": lambda: [
                "train",
                str(self.recipe),
                *BARE[:3],
                "--out",
                str(self.folder / f"training-{rule}"),
                *SMALL,
                *change,
            ],
            "export": lambda: ["export", str(self.recipe), "--out", str(self.folder / f"export-{rng.random():.9f}"), *change],
        }

    def work(self, *, minutes: float, num_processes: int, seed: int) -> None:
        """Keep so many commands going until the time is over, then wait for those that still go on."""
        rng, end = random.Random(seed), time.monotonic() + 60 * minutes
        going: list[_Going] = []
        while time.monotonic() < end or going:
            while len(going) < num_processes and time.monotonic() < end:
                going.append(self._start(rng))
            time.sleep(0.02)
            for one in [one for one in going if self._is_over(one)]:
                going.remove(one)

    def _start(self, rng: random.Random) -> _Going:
        name = rng.choices(["run", "prune", "verify", "status", "train", "export"], weights=[6, 2, 1, 1, 3, 2])[0]
        arguments = self.commands(rng)[name]()
        kill_after = rng.uniform(0.2, 12.0) if rng.random() < 0.5 and name != "status" else None
        number = sum(self.counts.values()) + rng.randrange(10**9)
        return _Going(name, arguments, self.folder / f"said-{number}.txt", kill_after)

    def _is_over(self, one: _Going) -> bool:
        seconds = time.monotonic() - one.began
        if one.process.poll() is None:
            if one.kill_after is not None and seconds > one.kill_after:
                one.process.send_signal(signal.SIGKILL)
                one.process.wait()
                self.counts[one.name, "killed"] += 1
                return True
            if seconds > LIMIT_S:
                one.process.send_signal(signal.SIGKILL)
                one.process.wait()
                self.faults.append(f"{one.arguments} did not end in {LIMIT_S:.0f} s")
                return True
            return False
        text = one.said.read_text(errors="replace")
        if one.process.returncode == 0:
            self.counts[one.name, "done"] += 1
            one.said.unlink()
        elif any(words in text for words in AGAIN) and "Traceback" not in text:
            self.counts[one.name, "asked to be given again"] += 1
        elif "is in use: " in text and "Traceback" not in text:
            self.counts[one.name, "another one works on it"] += 1
        else:
            self.faults.append(f"{' '.join(one.arguments)} ended with {one.process.returncode}: {text[-3000:]}")
        return True


class _Going:
    """A command that goes on."""

    def __init__(self, name: str, arguments: list[str], said: Path, kill_after: float | None) -> None:
        self.name, self.arguments, self.said, self.kill_after = name, arguments, said, kill_after
        self.began = time.monotonic()
        with open(said, "wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
                cwd=REPOSITORY,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, "DEPTHMILL_LOADER_WORKERS": "1", "DEPTHMILL_DEVICE": "cpu"},
            )


def processes_about(folder: Path) -> list[str]:
    """Return the command lines of processes that name a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in line:
                found.append(line)
    return found
