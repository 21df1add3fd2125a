"""Since when a user waits for a command, and the lines that say what for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from flows import waiting
from flows.waiting import awaited, begin_command, command_began_s, say_what_is_awaited
from tests.flows.test_cli import BARE


@pytest.fixture
def said(monkeypatch):
    """Lines on what is awaited, without patience."""
    lines: list[str] = []
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.0)
    monkeypatch.setattr(waiting, "_say", lines.append)
    return lines


def test_awaited_when_it_takes_longer_than_patience_then_a_line(said):
    with awaited("a server starts"):
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
    assert said == ["a server starts ..."]


def test_awaited_when_it_is_quick_or_nobody_listens_then_no_line_and_no_thread(said, monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE_S", 3600.0)
    with awaited("a server starts"):
        (timer,) = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    timer.join()
    say_what_is_awaited(None)
    with awaited("a server starts"):
        assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and thread is not timer]
    assert said == []


def test_command_when_it_is_the_first_of_its_process_then_its_clock_began_with_the_process(monkeypatch):
    code = "import time; before = time.monotonic()\nfrom flows import waiting\nwaiting.begin_command(); print(waiting.command_began_s() < before)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"
    monkeypatch.setattr(waiting, "_began_s", None)
    begin_command()
    assert command_began_s() <= waiting._IMPORTED_S
    before = time.monotonic()
    begin_command()  # a later command of the process
    assert command_began_s() >= before


def test_clock_when_the_system_does_not_say_then_begins_with_the_first_import(monkeypatch):
    monkeypatch.setattr(waiting.Path, "read_text", lambda *_: "nothing of use")
    assert waiting._process_start_s() == waiting._IMPORTED_S


def test_json_when_everything_is_awaited_then_stays_clean(write_recipe, tiny_root, depthmill, monkeypatch, copied_store):
    import json

    monkeypatch.setattr(waiting, "PATIENCE_S", 0.0)
    recipe = write_recipe(tiny_root, stages={"clean_horizon": {"near_m": 12.5}})
    for command in (("plan", recipe, "--json"), ("run", recipe, *BARE, "--json"), ("status", recipe, "--json")):
        code, text = depthmill(*command)
        assert code == 0 and json.loads(text), text


def test_lines_when_awaited_then_in_run_on_stdout_and_in_plan_only_on_a_terminal(
    write_recipe, tiny_root, depthmill, monkeypatch, copied_store
):
    recipe = write_recipe(tiny_root, stages={"clean_horizon": {"near_m": 12.5}})
    monkeypatch.setattr("flows.run.materialize.are_compiled", lambda: False)
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.0)
    plain = depthmill("plan", recipe)[1]
    assert "..." not in plain
    monkeypatch.setattr("flows.waiting.threading.Timer", _AtOnce)
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0
    for line in (
        "the index of the source is read, or made where there is none yet ...",
        "the source is looked through, and the store for what is there already ...",
        "workers start and make the first scenes, and compile the kernels of the stages, which takes up to a minute once on a machine ...",
    ):
        assert line in text.splitlines()


class _AtOnce:
    """A timer whose time is over at once."""

    def __init__(self, _seconds, call, arguments):
        self._call, self._arguments = call, arguments

    def start(self):
        self._call(*self._arguments)

    def cancel(self):
        pass
