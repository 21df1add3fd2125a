"""Checkpoints beside the last and the best one: how many are left, what a kill does to them, and what each measures."""

from __future__ import annotations

import shutil

import pytest

from model.errors import CheckpointError
from model.families import FAMILIES, evaluate_training, extra_parts, load_checkpoint, train
from model.train import loop
from model.train.kept_checkpoints import kept_steps
from model.train.pace import Pace
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.monoddle.made_up_detection_training import small_detection_config
from tests.model.train.made_up_training import CPU, StopHereError, same, train_until

KEPT = {"checkpoint_every_epochs": 1.0, "keep_checkpoints": 3}  # an epoch has two batches: after steps 2, 4, 6, and the last, 7


def small_config(**changes):
    """Return a training of a family whose steps and evaluations are quick."""
    settings = {"max_steps": 7, "evaluate_every_epochs": 1.5, "evaluation": {"num_pictures": 0}, **changes}
    return small_detection_config(**settings)


@pytest.fixture(scope="module")
def manifest(tiny_kitti_store):
    return open_manifest(Store(str(tiny_kitti_store)))


@pytest.fixture(scope="module")
def whole(manifest, tmp_path_factory):
    """A training that was never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    train(small_config(**KEPT), manifest, folder, machine=CPU)
    return folder


def steps_in(folder, manifest) -> list[int]:
    return kept_steps(small_config(), manifest.path.fingerprint, folder, FAMILIES)


def check_like(folder, whole, manifest):
    assert steps_in(folder, manifest) == steps_in(whole, manifest) == [4, 6, 7]
    for step in (4, 6, 7):
        one, other = (load_checkpoint(place / "checkpoints" / f"step_000000{step}.pt") for place in (folder, whole))
        assert one.step == step and same(one.model, other.model)


def test_checkpoints_when_more_than_wanted_then_the_newest_are_left_and_foreign_files_too(manifest, whole, tmp_path):
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == [f"step_000000{step}.pt" for step in (4, 6, 7)]
    assert same(load_checkpoint(whole / "checkpoints/step_0000007.pt").model, load_checkpoint(whole / "last.pt").model)
    folder = tmp_path / "training"
    train_until(small_config(**KEPT), manifest, folder, step=5)
    assert steps_in(folder, manifest) == [2, 4]
    (folder / "checkpoints" / "notes.txt").write_text("mine")
    (folder / "checkpoints" / "step_2.pt").write_text("mine")
    (folder / "checkpoints" / "step_0000001.pt").symlink_to(folder / "best.pt")
    with pytest.raises(
        CheckpointError, match=r"checkpoints/step_0000001.pt' is not a checkpoint of this training, which would .*Move"
    ):
        train(small_config(**KEPT), manifest, folder, machine=CPU)
    (folder / "checkpoints" / "step_0000001.pt").unlink()
    train(small_config(**KEPT), manifest, folder, machine=CPU)
    check_like(folder, whole, manifest)
    assert [(folder / "checkpoints" / name).read_text() for name in ("notes.txt", "step_2.pt")] == ["mine", "mine"]


def test_checkpoints_when_of_another_training_then_named_and_nothing_is_changed(manifest, whole, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(whole / "checkpoints/step_0000004.pt", tmp_path / "checkpoints")
    with pytest.raises(CheckpointError, match=r"step_0000004.pt' is not a checkpoint of this training"):
        train(small_config(**KEPT, max_steps=6), manifest, tmp_path, machine=CPU)
    assert [path.name for path in tmp_path.rglob("*")] == ["checkpoints", "step_0000004.pt"]


def test_checkpoints_when_killed_while_one_is_kept_then_the_same_are_left(manifest, whole, tmp_path, monkeypatch):
    """last.pt has step 3 then; the kept checkpoint of step 6 is there already."""
    config, save = small_config(**KEPT), loop.save_checkpoint

    def killed_instead(checkpoint, *paths):
        if checkpoint.step == 6:
            raise StopHereError
        save(checkpoint, *paths)

    with monkeypatch.context() as patched, pytest.raises(StopHereError):
        patched.setattr(loop, "save_checkpoint", killed_instead)
        train(config, manifest, tmp_path, machine=CPU)
    assert load_checkpoint(tmp_path / "last.pt").step == 3 and steps_in(tmp_path, manifest) == [2, 4, 6]
    train(config, manifest, tmp_path, machine=CPU)
    check_like(tmp_path, whole, manifest)


@pytest.mark.slow
def test_checkpoints_when_asked_for_on_the_way_then_the_training_goes_on_and_has_the_later_ones(manifest, whole, tmp_path):
    train_until(small_config(), manifest, tmp_path, step=5)
    train(small_config(**KEPT), manifest, tmp_path, machine=CPU)
    check_like(tmp_path, whole, manifest)  # it went on from step 3


def test_kept_checkpoints_when_measured_then_each_once_and_after_a_stop_the_rest(manifest, whole, tmp_path, monkeypatch):
    folder = tmp_path / "training"
    shutil.copytree(whole, folder)
    config = small_config(**KEPT, evaluate_checkpoints=True)
    evaluate_training(config, manifest, folder, machine=CPU)
    part = extra_parts(config)["evaluate_checkpoints"]
    family, measured = FAMILIES.of(config), []
    evaluate = type(family).evaluate

    def noted(self, *args, folder):
        measured.append(folder.name)
        if len(measured) == 2:
            raise StopHereError
        return evaluate(self, *args, folder=folder)

    monkeypatch.setattr(type(family), "evaluate", noted)
    assert part.is_due(config, folder)
    with pytest.raises(StopHereError):
        part.run(config, manifest, folder, CPU)
    assert part.is_due(config, folder)
    part.run(config, manifest, folder, CPU)
    assert measured == ["step_0000004", "step_0000006", "step_0000006", "step_0000007"]
    assert not part.is_due(config, folder)
    rows = part.results(folder)["checkpoints"]
    assert [row["step"] for row in rows] == [4, 6, 7]
    last = {name: value for name, value in rows[-1].items() if name not in ("file", "step")}
    assert last == family.read_measures(folder)  # the last is the result
    text = (folder / "checkpoints" / "table.md").read_text()
    assert text.startswith("### Checkpoints of training on val of manifest ") and len(text.splitlines()) == 2 + 2 + 3


def test_kept_checkpoints_when_none_was_kept_then_said(manifest, tmp_path):
    config = small_config(max_steps=1)
    train(config, manifest, tmp_path, machine=CPU)
    asked = small_config(**KEPT, max_steps=1, evaluate_checkpoints=True)
    with pytest.raises(
        CheckpointError, match=r"has kept no checkpoint that could be measured: it ran without train.checkpoint_ev"
    ):
        extra_parts(asked)["evaluate_checkpoints"].run(asked, manifest, tmp_path, CPU)
    assert extra_parts(config) == {}


def test_pace_when_checkpoints_are_kept_then_every_so_many_batches_and_after_the_last_step():
    pace = Pace.of(small_config(checkpoint_every_epochs=1.5, accumulate=2, epochs=4, max_steps=None), 4)
    assert [step for step in range(1, pace.num_steps + 1) if pace.is_kept(step)] == [3, 6, 8]
    assert not any(Pace.of(small_config(), 4).is_kept(step) for step in range(1, 8))
