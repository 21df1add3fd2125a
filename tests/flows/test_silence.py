"""No command is silent on a terminal: the output of each is watched on a pseudo-terminal.

A busy machine makes a process wait, and that is no silence of the command. So silence is measured in CPU time of the process: how much
it works between two outputs. Torch takes 3 to 4 s of CPU time to load, and a command that says nothing meanwhile fails here. The
seconds on the wall come from benchmarks/silence.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import silence
from flows.cli import COMMANDS
from tests.terminal import watch

MOST_CPU_S = 2.0
"""On a quiet machine a process that works uses as much CPU time as passes on the wall."""


def test_list_when_a_command_is_added_then_is_watched_or_said_why_not():
    names = {command.__name__.rstrip("_") for command in COMMANDS}
    assert names == {arguments[0] for arguments in silence.CALLS} | silence.NOT_WATCHED.keys()


def test_plan_when_watched_then_speaks_soon_and_its_line_is_gone_at_the_end(tiny_root, write_recipe, tmp_path):
    recipe = write_recipe(tiny_root)
    watched = watch(("plan", recipe), cwd=tmp_path)
    assert watched.code == 0 and "13 units to do" in watched.text
    painted, _, answer = watched.text.rpartition("\x1b[2K")
    assert answer.lstrip().startswith("stage") and "..." not in answer
    assert "depthmill plan" in painted or "is looked through" in painted or "is read" in painted
    assert watched.first_cpu_s < MOST_CPU_S and watched.longest_silence_cpu_s < MOST_CPU_S
    assert not watch(("plan", recipe, "--quiet"), cwd=tmp_path).text.startswith(("\r", "\x1b"))


@pytest.mark.slow
def test_commands_when_watched_then_none_is_silent(tmp_path: Path):
    silent = []
    for arguments, watched in silence.watch_all(tmp_path):
        assert watched.code == 0, (arguments, watched.text[-3000:])
        if watched.longest_silence_cpu_s > MOST_CPU_S:
            silent.append((arguments, watched.longest_silence_cpu_s, [(one.cpu_s, one.text) for one in watched.heard][-5:]))
    assert not silent
