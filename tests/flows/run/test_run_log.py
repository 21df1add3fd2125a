from __future__ import annotations

import json

import pytest

from flows.run.run_log import RunLog, last_summary
from flows.run.runs import Runs
from pipeline.types import ItemResult
from storage_schemas.errors import StoreError

RESULT = ItemResult("clean_horizon", "scene-0001", "CAM_FRONT", "ab", "OK", 1.0, "fine", {"frames": 2.0})


def test_two_logs_when_started_in_the_same_millisecond_then_have_folders_of_their_own(tmp_path, monkeypatch):
    class Frozen:
        UTC = None

        @staticmethod
        def now(zone):
            return Frozen()

        def strftime(self, form):
            return "2026-01-01T00-00-00-123456"

    monkeypatch.setattr("flows.run.run_log.datetime", type("module", (), {"datetime": Frozen, "UTC": None}))
    assert [RunLog(Runs(str(tmp_path), tmp_path)).folder.name for _ in range(3)] == [
        f"2026-01-01T00-00-00-123{tail}" for tail in ("", "-2", "-3")
    ]


def test_log_when_read_back_then_last_summary_is_the_newest_that_did_work(tmp_path):
    for num_ok in (3, 5, 0):
        log = RunLog(Runs(str(tmp_path), tmp_path))
        log.add(RESULT)
        log.finish({"num_ok": num_ok})
    assert last_summary(Runs(str(tmp_path), tmp_path).files)["num_ok"] == 5
    assert json.loads(log.events.read_text())["unit"] == "ab"


def test_log_when_disk_is_full_then_warns_once_and_goes_on(tmp_path, capsys):
    log = RunLog(Runs(str(tmp_path), tmp_path))
    log.folder = log.folder / "gone"
    log.add(RESULT)
    log.add(RESULT)
    log.finish({})
    assert capsys.readouterr().err.count("warning: cannot write the run log") == 1


def test_log_when_folder_cannot_be_made_then_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot make the run folder .* or set DEPTHMILL_RUNS_DIR"):
        RunLog(Runs(str(tmp_path / "file" / "runs"), tmp_path))
