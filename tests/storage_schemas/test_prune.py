"""What prune keeps: named by a manifest, named by a run that is going on, young."""

from __future__ import annotations

import datetime
import os
import threading
import time

import pytest

from pipeline.plan import make_plan
from pipeline.recipe import load_recipe
from pipeline.sources import open_source
from storage_schemas import jobs
from storage_schemas.errors import RecipeError, StoreError, UnitNotFoundError
from storage_schemas.files import UNFINISHED
from storage_schemas.jobs import Note, noted_prune, noted_run, notes
from storage_schemas.leftovers import find_leftovers
from storage_schemas.lineage import LINEAGE_FILE
from storage_schemas.manifest import open_manifest
from storage_schemas.prune import delete_prunable, find_prunable, parse_age
from storage_schemas.store import Store, UnitPath
from tests.flows.test_cli import BARE
from tests.storage_schemas.test_store import depth_data, identity

NOW = datetime.timedelta(0)


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    """A store with one unit that no manifest names."""
    store = Store(tmp_path / "s" if request.param == "local" else f"memory://{tmp_path.name}-{request.node.name}")
    store.write_unit(identity(), depth_data(), seconds=0, counts={})
    return store


UNIT = UnitPath.of(identity())


def test_unit_when_young_then_kept_and_when_old_enough_then_deleted(store):
    assert find_prunable(store).young == (UNIT,)
    assert delete_prunable(store).units == ()
    assert store.has(UNIT)
    told = []
    assert delete_prunable(store, older_than=NOW, on_unit=told.append).units == (UNIT,)
    assert told == [UNIT]
    assert store.files.keys("depth_single") == []
    assert notes(store, "prune") == []


def test_unit_when_a_run_that_goes_on_names_it_then_kept_and_said_whose_it_is(store):
    other = UnitPath.of(identity(scene="scene-0002"))
    with noted_run(store, [UNIT, other], relied_on=[UNIT]):
        found = delete_prunable(store, older_than=NOW)
        assert found.units == ()
        assert found.held[UNIT].who.startswith("run of process ")
        assert store.has(UNIT)
    assert delete_prunable(store, older_than=NOW).units == (UNIT,)


def test_run_when_a_unit_was_pruned_after_its_plan_then_says_so_before_it_works(store):
    gone = UnitPath.of(identity(scene="scene-0002"))
    with (
        pytest.raises(UnitNotFoundError, match=f"unit '{gone.key}' was deleted after the plan was made \\(1 of 2 units gone"),
        noted_run(store, [UNIT, gone], relied_on=[UNIT, gone]),
    ):
        raise AssertionError("it must not begin")
    assert notes(store, "run") == []


def test_run_when_a_prune_goes_on_then_waits_for_its_end(store):
    slept = []
    with noted_prune(store) as _:
        pruning = notes(store, "prune")[0]

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 3:
                for name in store.files.names(jobs.FOLDER):
                    if name.startswith("prune-"):
                        store.files.remove(f"{jobs.FOLDER}/{name}")

        with noted_run(store, [UNIT], relied_on=[UNIT], sleep=sleep):
            assert len(slept) == 3
    with (
        noted_prune(store),
        pytest.raises(StoreError, match=rf"is being pruned \(prune of process {pruning.pid} on .*\). Run the same command again"),
        noted_run(store, [UNIT], relied_on=[], sleep=lambda seconds: None),
    ):
        raise AssertionError("it must not begin")


def test_note_when_left_behind_by_a_killed_process_then_is_believed_for_a_week_and_damage_is_told(store):
    def leave(days: float) -> None:
        began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)
        note = Note(kind="run", host="h", pid=1, started_utc=began, units=(UNIT.key,))
        store.files.put(f"{jobs.FOLDER}/run-left.json", note.model_dump_json().encode())

    leave(6.9)
    assert delete_prunable(store, older_than=NOW).units == ()
    store.files.put(f"{jobs.FOLDER}/run-left.json", b"{")
    with pytest.raises(
        StoreError, match=r"run-left.json' is damaged: .*. Delete it if no run or prune is going on in this store"
    ):
        delete_prunable(store, older_than=NOW)
    assert store.has(UNIT)
    leave(7.1)
    assert delete_prunable(store, older_than=NOW).units == (UNIT,)


def test_prune_when_it_takes_longer_than_it_may_then_stops(store):
    times = iter([0.0, 3601.0])
    with pytest.raises(StoreError, match="0 of 1 units are deleted from .* Run the same command again for the rest"):
        delete_prunable(store, older_than=NOW, clock=lambda: next(times))
    assert store.has(UNIT)


def test_unit_when_its_lineage_is_damaged_then_kept(store):
    store.files.put(f"{UNIT.key}/{LINEAGE_FILE}", b"{")
    assert delete_prunable(store, older_than=NOW).unreadable == (UNIT,)
    assert store.marked("depth_single") == {UNIT}


def test_manifest_when_damaged_then_nothing_is_deleted(tiny_root, write_recipe, depthmill, tmp_path):
    recipe, store = write_recipe(tiny_root), Store(tmp_path / "store")
    depthmill("run", recipe, *BARE)
    path = open_manifest(store).path
    store.files.put(f"{path.key}/{LINEAGE_FILE}", b"{")
    before = store.files.keys("")
    code, text = depthmill("prune", recipe, "--delete", "--older-than", "0")
    assert code == 1
    assert f"{path.key}/{LINEAGE_FILE}' is damaged" in text
    assert store.files.keys("") == before


def test_prune_when_called_over_and_over_beside_a_run_then_run_is_whole(tiny_root, write_recipe, depthmill, tmp_path):
    """The whole protocol, without the grace period that usually covers for it."""
    path = write_recipe(tiny_root)
    recipe, store = load_recipe(path), Store(tmp_path / "store")
    plan = make_plan(recipe, open_source(recipe.source, tmp_path / "cache"), store)
    ended, deleted = threading.Event(), []

    def prune() -> None:
        while not ended.is_set():
            deleted.extend(delete_prunable(store, older_than=NOW).units)

    thread = threading.Thread(target=prune)
    with noted_run(store, [item.path for item in plan.items], relied_on=[]):
        thread.start()
        code, text = depthmill("run", path, *BARE)
    ended.set()
    thread.join()
    assert code == 0, text
    assert deleted == []
    assert depthmill("verify", path)[0] == 0
    assert depthmill("plan", path, "--check")[0] == 0


@pytest.mark.parametrize(("text", "hours"), [("0", 0), ("90m", 1.5), ("24h", 24), ("7d", 168)])
def test_age_when_read_then_is_a_duration(text, hours):
    assert parse_age(text) == datetime.timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "7", "-1h", "1 h", "1w", "h"])
def test_age_when_mistyped_then_says_what_is_expected(text):
    with pytest.raises(RecipeError, match=f"age '{text}' cannot be read; expected a number and m, h or d, e.g. 24h"):
        parse_age(text)


def test_leftover_when_its_time_is_far_ahead_then_it_is_of_a_wrong_clock_and_may_be_deleted(tmp_path):
    folder = tmp_path / "s" / UNFINISHED
    folder.mkdir(parents=True)
    for name, days in (("behind", -2), ("ahead", 2), ("now", 0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() + days * 86400,) * 2)
    found = find_leftovers(Store(tmp_path / "s"))
    assert (found.old, found.num_young) == ((f"{UNFINISHED}/ahead", f"{UNFINISHED}/behind"), 1)
