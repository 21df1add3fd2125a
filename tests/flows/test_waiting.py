"""Since when a user waits for a command, and the lines that say what for."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from flows import waiting
from flows.cli import main
from flows.run.lines import CountedSteps
from flows.waiting import begin_command, command_began_s
from model.train.loop import Progress
from storage_schemas.awaited import Work, awaited, counted, going_on
from tests.flows.test_cli import BARE


@pytest.fixture
def look(monkeypatch):
    """Look at what goes on at a second of a command that began at 100 s; returns the lines that were said by then."""
    lines: list[str] = []
    for name, value in (
        ("PATIENCE_S", 0.8),
        ("BEAT_S", 10.0),
        ("_began_s", 100.0),
        ("_said_s", 100.0),
        ("_say", lines.append),
        ("_is_quiet", False),
    ):
        monkeypatch.setattr(waiting, name, value)
    monkeypatch.setattr(waiting, "said", lambda: setattr(waiting, "_said_s", clock[0]))
    clock, named = [100.0], []

    def at(now_s: float) -> list[str]:
        clock[0] = now_s
        waiting._look(named, now_s)
        return lines

    return at


class _Painted:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def paint(self, text: str) -> None:
        self.texts.append(text)


def test_work_when_it_takes_longer_than_patience_then_is_named_once_and_again_with_its_rate_after_a_while(look):
    with awaited("frames are measured", total=100) as work:
        work.began_s = 100.0
        assert look(100.7) == []
        assert look(100.9) == ["frames are measured ..."]
        work.done = 25
        assert len(look(110.8)) == 1
        assert look(111.0)[1:] == ["frames are measured: 25 of 100, 2.27 a second, 33.0 s left"]
        with awaited("pictures are drawn") as inner:
            inner.began_s = 111.0
            assert look(111.9)[2:] == ["pictures are drawn ..."]
            assert look(122.0)[3:] == ["pictures are drawn, 11.0 s; frames are measured: 25 of 100"]
        assert look(131.0)[4:] == []  # it was named before
        assert look(132.0)[4:] == ["frames are measured: 25 of 100, 1.3 s each, 96.0 s left"]
    assert len(look(200.0)) == 5  # nothing goes on


def test_work_when_lines_are_printed_meanwhile_then_is_not_named_between_them(look):
    with awaited("units are made", total=3):
        waiting._said_s = 100.5
        assert look(101.0) == []
        assert look(101.4) == ["units are made ..."]


def test_work_when_the_user_wants_quiet_or_json_then_nothing_is_said(look, monkeypatch):
    with awaited("units are made"):
        monkeypatch.setattr(waiting, "_is_quiet", True)
        assert look(150.0) == []
        monkeypatch.setattr(waiting, "_is_quiet", False)
        monkeypatch.setattr(waiting, "_say", None)
        assert look(150.0) == []


def test_work_when_there_is_a_terminal_then_painted_at_every_look_once_the_command_is_no_quick_one(look, monkeypatch):
    monkeypatch.setattr(waiting, "_line", line := _Painted())
    with awaited("units are made", total=4) as work:
        work.began_s, work.done = 100.0, 2
        assert look(100.3) == [] and line.texts == []
        assert look(101.0) == []
        assert look(101.2) == []
    assert line.texts == ["units are made: 2 of 4, 2 a second, 1.0 s left", "units are made: 2 of 4, 1.67 a second, 1.2 s left"]


def test_counted_when_items_are_taken_then_each_counts_and_the_work_ends_with_them_or_with_an_error():
    seen = []
    for _ in counted([7, 8, 9], "frames are measured"):
        (work,) = going_on()
        seen.append((work.done, work.total))
    assert seen == [(0, 3), (1, 3), (2, 3)]
    assert going_on() == ()
    with pytest.raises(ZeroDivisionError):
        for item in counted(iter([1, 0]), "divided"):
            assert going_on()[0].total is None
            1 // item
    assert going_on() == ()


def test_training_when_it_goes_on_then_its_rate_is_of_the_steps_of_this_process():
    work = Work("training a", began_s=0.0)
    told = []
    count = CountedSteps(work, told.append)
    for step in (501, 502):
        count(Progress(step, 1000, 0.25, "", None))
    assert (work.done, work.total, work.first, work.text, len(told)) == (502, 1000, 501, "loss 0.2500", 2)
    assert work.rate(work.began_s + 2.0) == 0.5
    assert pickle.loads(pickle.dumps(CountedSteps(work, None)))  # a training on several devices sends it to their processes


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


def test_json_when_everything_is_awaited_then_stays_clean(write_recipe, tiny_root, capfd, monkeypatch, copied_store):
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.0)
    monkeypatch.setattr(waiting, "LOOK_S", 0.001)
    recipe = write_recipe(tiny_root, stages={"clean_horizon": {"near_m": 12.5}})
    for command in (("plan", recipe, "--json"), ("run", recipe, *BARE, "--json"), ("status", recipe, "--json")):
        printed = _printed(capfd, monkeypatch, *command)
        assert json.loads(printed.out)
        assert " ...\n" not in printed.err


def test_lines_when_awaited_then_in_run_on_stdout_and_in_plan_beside_its_answer(
    write_recipe, tiny_root, capfd, monkeypatch, copied_store
):
    recipe = write_recipe(tiny_root, stages={"clean_horizon": {"near_m": 12.5}})
    monkeypatch.setattr("flows.run.materialize.are_compiled", lambda: False)
    for name, value in (("PATIENCE_S", 0.0), ("LOOK_S", 0.001)):
        monkeypatch.setattr(waiting, name, value)
    _hold(monkeypatch, "flows.run.opening.make_plan", "flows.run.opening.open_source")
    planned, made = _printed(capfd, monkeypatch, "plan", recipe), _printed(capfd, monkeypatch, "run", recipe, *BARE)
    for line in (
        "the index of the source is read, or made where there is none yet ...",
        "the source is looked through, and the store for what is there already ...",
    ):
        assert line in planned.err.splitlines() and line not in planned.out
        assert line in made.out.splitlines()


def _hold(monkeypatch, *names: str) -> None:
    """Let functions take until the work around them was named."""
    for name in names:
        module, function = name.rsplit(".", 1)
        own = getattr(importlib.import_module(module), function)

        def slow(*args, _own=own, **kwargs):
            (*_, work) = going_on()
            before, said = waiting._say, threading.Event()
            waiting._say = lambda line: (before(line), said.set() if line.startswith(work.what) else None)
            assert said.wait(60.0), "the work was not named"
            waiting._say = before
            return _own(*args, **kwargs)

        monkeypatch.setattr(name, slow)


def _printed(capfd, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["depthmill", *map(str, args)])
    capfd.readouterr()
    with suppress(SystemExit):
        main()
    return capfd.readouterr()
