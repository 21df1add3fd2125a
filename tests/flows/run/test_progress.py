"""What goes on in a store's runs, as another process sees it; and the lines and texts that are made of it."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from flows.run import progress
from flows.run.bare_loop import BareLoop
from flows.run.making import make_units
from flows.run.opening import open_with_settings
from flows.run.progress import GoingOn, NotedSteps, RunProgress, going_on, noted_steps
from flows.run.runs import Runs
from flows.run.watch import WatchLines, line_of, looks, seconds_left, text_of
from flows.text import size
from pipeline.types import ItemResult
from tests.process_tree import wait_until

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
RUN = GoingOn.model_validate(
    {
        "kind": "run", "name": "2026-11-30T11-58", "doing": "depthmill run recipe.yaml", "host": "elsewhere", "pid": 7, "machine": "x",
        "started_utc": NOW - timedelta(seconds=120), "written_utc": NOW - timedelta(seconds=3),
        "stages": {"index_frames": {"to_do": 4, "ok": 2}, "clean_horizon": {"to_do": 4, "ok": 1, "errors": 1}},
        "running": {"scene-0003": NOW - timedelta(seconds=30)}, "errors": ["clean_horizon scene-0002 CAM_FRONT: it is cut short"],
        "num_bytes": 2_500_000,
    }
)  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    return Runs(str(tmp_path / "runs"), tmp_path / "cache")


@pytest.fixture
def plan():
    return SimpleNamespace(to_do=[SimpleNamespace(stage="index_frames"), SimpleNamespace(stage="clean_horizon")])


def result(stage, scene, status="OK", message=""):
    return ItemResult(stage, scene, "all", "0" * 16, status, 1.0, message, num_bytes=1000)


def test_progress_when_a_run_goes_on_then_another_sees_it_and_its_end(runs, plan, monkeypatch):
    monkeypatch.setattr(progress, "LOCAL_S", 0.01)
    tells = RunProgress(runs, plan)
    with tells.shown("one"):
        wait_until(lambda: going_on(runs.files), "the run is seen")
        tells.scene_begins("scene-0001")
        wait_until(lambda: going_on(runs.files)[0].running, "its scene is seen")
        tells.add(result("index_frames", "scene-0001"))
        tells.add(result("clean_horizon", "scene-0001", "ERROR", "it is cut short\nTraceback"))
        wait_until(lambda: going_on(runs.files)[0].done == 2, "its units are seen")
        (one,) = going_on(runs.files)
    assert going_on(runs.files) == []
    assert (one.kind, one.name, one.to_do, one.num_bytes, one.running) == ("run", "one", 2, 2000, {})
    assert (one.stages["index_frames"].ok, one.stages["clean_horizon"].errors) == (1, 1)
    assert one.errors == ("clean_horizon scene-0001: it is cut short",)
    assert one.ended_unseen(datetime.now(UTC)) == ""


def test_progress_when_the_store_cannot_be_written_then_the_run_goes_on(tmp_path, plan):
    (tmp_path / "runs").write_text("a file")
    with RunProgress(Runs(str(tmp_path / "runs"), tmp_path / "cache"), plan).shown("one"):
        pass


def test_progress_when_its_process_was_killed_then_is_known_and_forgotten_by_the_next_run(runs, plan):
    code = (
        "import os, signal, sys; from types import SimpleNamespace; from flows.run.progress import *; from flows.run.progress import _about, _put, _key\n"
        "runs = Runs(sys.argv[1], Path('cache')); _put(runs.files, _key('dead'), _about('run', 'dead', datetime.now(UTC)))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, runs.root], timeout=300)
    (dead,) = going_on(runs.files)
    assert re.fullmatch(
        rf"process {dead.pid} on .* was killed; the same command does what is left", dead.ended_unseen(datetime.now(UTC))
    )
    assert [[one.name for one in found] for found in looks(runs.files, sleep=pytest.fail)] == [["dead"]]  # nothing to wait for
    with RunProgress(runs, plan).shown("next"):
        wait_until(lambda: [one.name for one in going_on(runs.files)] == ["next"], "the dead one is forgotten")


def test_training_when_it_steps_then_is_seen_until_its_end(runs, monkeypatch):
    monkeypatch.setattr(progress, "LOCAL_S", 0.0)
    passed_on = []
    step = SimpleNamespace(step=3, num_steps=10, loss=0.5)
    with noted_steps(runs, "aabbcc", passed_on.append) as tell:
        tell(step)
        tell.wait()
        (one,) = going_on(runs.files)
    assert (one.kind, one.name, one.done, one.to_do, one.text) == ("training", "aabbcc", 3, 10, "loss 0.5000")
    assert passed_on == [step] and going_on(runs.files) == []


def test_steps_when_sent_to_the_process_of_a_device_then_pickle(runs):
    assert isinstance(pickle.loads(pickle.dumps(NotedSteps(runs, "aabbcc", None))), NotedSteps)


def test_files_of_another_version_when_read_then_are_passed_over(runs):
    runs.files.put("going-on/progress-odd.json", b'{"kind": "party"}')
    runs.files.put("going-on/run-20261130T120000-aa.json", b"{}")  # a note for prune
    assert going_on(runs.files) == []


def test_line_and_text_when_shown_then_say_how_far_how_fast_and_what_is_left():
    assert line_of(RUN, NOW) == (
        "run 2026-11-30T11-58: 4 of 8 units, 1 error, 0.033 units a second, 2 min left, 2.5 MB written, process 7 on elsewhere "
        "since 11:58:00 UTC"
    )
    assert text_of([RUN], NOW).splitlines()[1:] == [
        "  depthmill run recipe.yaml",
        "  stage            done   to do  errors",
        "  index_frames        2       2",
        "  clean_horizon       2       2       1",
        "  running: scene-0003 for 30.0 s",
        "  ERROR clean_horizon scene-0002 CAM_FRONT: it is cut short",
    ]
    assert text_of([], NOW) == "nothing is going on"
    silent = RUN.model_copy(update={"written_utc": NOW - timedelta(seconds=200)})
    assert line_of(silent, NOW) == (
        "run 2026-11-30T11-58: 4 of 8 units, 1 error, process 7 on elsewhere has given no sign for 200 s, so it was killed or cut off"
    )
    begun = RUN.model_copy(update={"stages": {}})
    assert seconds_left(begun, NOW) is None


def test_plain_lines_when_looked_again_then_only_what_is_new():
    said: list[str] = []
    lines = WatchLines(said.append)
    lines.look([], NOW)
    lines.look([RUN], NOW)
    lines.look([RUN], NOW)
    more = RUN.model_copy(update={"errors": (*RUN.errors, "pack_images scene-0004: no such file"), "running": {}})
    lines.look([more], NOW)
    lines.look([], NOW)
    kinds = [re.sub(r"^\d\d:\d\d:\d\d UTC ", "", line)[:60] for line in said]
    assert kinds == [
        "nothing is going on",
        "run 2026-11-30T11-58: 4 of 8 units, 1 error, 0.033 units a s"[:60],
        "ERROR clean_horizon scene-0002 CAM_FRONT: it is cut short",
        kinds[3],
        "ERROR pack_images scene-0004: no such file",
        "run 2026-11-30T11-58 has ended",
    ]
    assert kinds[3].startswith("run 2026-11-30T11-58: 4 of 8 units")


def test_size_when_said_then_has_three_digits():
    assert [size(number) for number in (0, 999, 1000, 1_234_567, 999_600_000)] == ["0 B", "999 B", "1 kB", "1.23 MB", "1 GB"]


class Paused(BareLoop):
    """A bare loop that waits after the first scene until the test lets it go on."""

    def __init__(self):
        self.has_begun, self.goes_on = threading.Event(), threading.Event()

    def make(self, plan, pool, work):
        def paused(run_scenes):
            def scenes(requests):
                for results in run_scenes(requests):
                    yield results
                    self.has_begun.set()
                    assert self.goes_on.wait(120)

            return work(scenes)

        return super().make(plan, pool, paused)


def test_status_when_watched_then_shows_a_run_of_another_process_until_it_ends(
    write_recipe, tiny_root, depthmill, monkeypatch, copied_store
):
    monkeypatch.setattr(progress, "LOCAL_S", 0.01)
    monkeypatch.setattr("flows.run.watch.LOOK_S", 0.01)
    recipe = write_recipe(tiny_root, stages={"clean_horizon": {"near_m": 12.5}})
    opened, loop = open_with_settings(recipe, None), Paused()
    run = threading.Thread(target=make_units, args=(opened, loop), kwargs={"report": False})
    run.start()
    try:
        assert loop.has_begun.wait(120)
        wait_until(lambda: [one.done for one in going_on(opened.runs.files)] == [1], "the first unit is seen")
        code, text = depthmill("status", recipe)
        assert code == 0 and re.search(r"(?m)^now       run [\d-]+T[\d-]+: 1 of 3 units, .* left, ", text), text
        assert [one["name"] for one in json.loads(depthmill("status", recipe, "--json")[1])["going_on"]] == [
            going_on(opened.runs.files)[0].name
        ]
        monkeypatch.setattr("flows.run.watch.looks.__kwdefaults__", {"sleep": lambda _: loop.goes_on.set()})
        code, text = depthmill("status", recipe, "--watch", "--runs", 5)
    finally:
        loop.goes_on.set()
        run.join()
    lines = text.splitlines()
    assert code == 0
    assert re.match(r"\d\d:\d\d:\d\d UTC run [\d-]+T[\d-]+: 1 of 3 units, ", lines[0]), text
    assert any(re.match(r"\d\d:\d\d:\d\d UTC run [\d-]+T[\d-]+ has ended$", line) for line in lines), text
    assert "units     13 of 13 up to date" in lines
    assert re.match(r"started \(UTC\) +ok  errors  skipped +took +written  workers  details$", lines[-3]), text
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +3 +0 +0 +.* [kM]B +1  .*store/runs/", lines[-1]), text


def test_runs_when_one_was_killed_then_the_list_says_so(write_recipe, tiny_root, depthmill, copied_store, tmp_path):
    killed = tmp_path / "store/runs/2026-11-30T12-00-00-000"
    killed.mkdir(parents=True)
    (killed / "events.jsonl").write_text("")
    code, text = depthmill("status", write_recipe(tiny_root), "--runs", 3)
    assert code == 0
    assert re.search(rf"(?m)^2026-11-30 12:00:00 +killed +{re.escape(str(killed))}$", text), text
    listed = json.loads(depthmill("status", write_recipe(tiny_root), "--runs", 3, "--json")[1])["runs"]
    assert {"folder": str(killed)} in listed and len(listed) == 2


def test_log_when_json_then_each_unit_is_a_line_on_standard_error_as_in_the_events(
    write_recipe, tiny_root, copied_store, tmp_path, monkeypatch, capfd
):
    recipe = write_recipe(tiny_root, stages={"clean_horizon": {"near_m": 12.5}})
    monkeypatch.setenv("DEPTHMILL_LOG", "json")
    make_units(open_with_settings(recipe, None), BareLoop(), report=False)
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("warning")]
    (events,) = [path for path in (tmp_path / "store/runs").glob("*/events.jsonl") if len(path.read_text().splitlines()) == 3]
    assert lines == events.read_text().splitlines()
    assert {json.loads(line)["status"] for line in lines} == {"OK"} and all(json.loads(line)["num_bytes"] for line in lines)


def test_log_when_it_is_no_known_kind_then_an_error_names_it(write_recipe, tiny_root, depthmill):
    code, text = depthmill("run", write_recipe(tiny_root), "--log", "xml")
    assert code == 2
    assert "setting DEPTHMILL_LOG (or its option) is 'xml': Input should be 'text' or 'json'" in text
