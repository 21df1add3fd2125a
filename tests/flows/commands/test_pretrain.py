"""``depthmill train`` of family mim4d: train, evaluate, probe; each of them goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest

from model.mim4d.probes.probe_files import read_probes
from storage_schemas.errors import DepthmillError
from tests.model.mim4d.made_up_clips import small_network

pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def recipe(tiny_root, tiny_store, write_recipe, tmp_path):
    """Two drives of two cameras, a window of two key frames each."""
    shutil.copytree(tiny_store, tmp_path / "store")
    train = {
        "family": "mim4d",
        "max_steps": 1,
        "network": small_network(num_frames=2).model_dump(mode="json"),
        "data": {"held_out_share": 0.3},
        "evaluation": {"rays_per_camera": 8, "num_pictures": 0, "flight_frames": 0},
        "probe": {"steps": 20},
    }
    stages = {"index_windows": {"enabled": True, "num_frames": 2}, "build_manifest": {"drop_last_keyframe": False}}
    return write_recipe(tiny_root, stages=stages, train=train)


@pytest.mark.slow
def test_pretraining_when_run_again_then_only_what_is_left_or_changed_is_done(recipe, depthmill, tmp_path):
    training = tmp_path / "training"
    run = ("train", recipe, "--no-prefect", "--workers", 1, "--out", training)
    code, text = depthmill(*run)
    assert code == 0, text
    assert "probes of training" in text and "| trained |" in text and "| voxel_frequency |" in text
    found = read_probes(training)
    assert found.about.settings["steps"] == 20 and found.about.num_train_clips == 2 and found.about.num_clips == 2
    assert "Probes of the frozen backbone" in (training / "report.html").read_text()
    weights, table = (training / "best.pt").stat().st_mtime_ns, (training / "evaluation/table.md").stat().st_mtime_ns

    code, text = depthmill(*run, "--json")  # nothing to do
    assert json.loads(text)["probes"]["depth"][0]["abs_rel"] == found.depth[0].abs_rel

    code, text = depthmill(*run, "--set", "train.probe.steps=10")  # the probes alone
    assert code == 0, text
    again = read_probes(training)
    assert again.about.settings["steps"] == 10 and again.depth[0].abs_rel != found.depth[0].abs_rel
    assert (training / "best.pt").stat().st_mtime_ns == weights
    assert (training / "evaluation/table.md").stat().st_mtime_ns == table

    shutil.rmtree(training / "probe")  # as if it had been stopped there, and by Prefect from there
    code, text = depthmill("train", recipe, "--prefect", "--out", training)
    assert code == 0, text
    assert read_probes(training) == found and (training / "best.pt").stat().st_mtime_ns == weights

    shutil.rmtree(training / "probe")
    code, text = depthmill(*run, "--set", "train.probe.steps=0")
    assert "nothing to do: training training is complete" in text and "probes of" not in text


def test_flow_when_a_training_has_parts_then_a_task_each_and_none_after_one_that_fails(tmp_path):
    from flows.prefect.orchestrator import PrefectOrchestrator  # isort: skip
    from prefect.runtime import flow_run, task_run

    seen: list[tuple[str, str]] = []

    def part(error: str = ""):
        def work() -> None:
            seen.append((flow_run.flow_name, task_run.task_name))
            if error:
                raise DepthmillError(error)

        return work

    manifest = SimpleNamespace(path=SimpleNamespace(fingerprint="f"))
    parts = {"train": part(), "evaluate": part("no clips. Choose another split"), "probe": part()}
    training = SimpleNamespace(folder=tmp_path, flow_name="pretrain", manifest=manifest, parts=lambda on_progress: parts)
    with pytest.raises(DepthmillError, match="no clips. Choose another split"):
        PrefectOrchestrator().train(training, None)
    assert seen == [("pretrain", "train"), ("pretrain", "evaluate")]
    parts["evaluate"] = part()
    PrefectOrchestrator().train(training, None)
    assert [name for _, name in seen[2:]] == ["train", "evaluate", "probe"]
