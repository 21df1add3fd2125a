from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from model.errors import CheckpointError
from model.families import evaluate_training, load_checkpoint, load_network, train
from model.semodepth import family as semodepth_family
from model.semodepth.loss import composite_loss
from model.semodepth.summary import summarise
from model.train.checkpoint import save_checkpoint
from model.train.config import Machine
from model.train.loop import TrainingError, is_complete, read_training
from model.train.repeatable import NotRepeatableError, repeatable
from storage_schemas.errors import ManifestError, StoreError
from storage_schemas.evaluation import read_evaluation
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.conftest import REPOSITORY
from tests.model.train.made_up_training import CPU, check_equal_on_any_machine, check_resumed, same, small_config, table, weights


@pytest.fixture
def manifest(tiny_store):
    return open_manifest(Store(str(tiny_store)))


@pytest.mark.parametrize(
    "stop_at",
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)],
)
def test_training_when_stopped_and_resumed_with_another_number_of_workers_then_the_same_weights(manifest, tmp_path, stop_at):
    config = small_config(data={"augment": {"flip_probability": 0.5}})
    assert check_resumed(config, manifest, tmp_path, stop_at=stop_at)[0] == stop_at // 3 * 3 + 1


@pytest.mark.slow
def test_training_when_the_machine_has_other_cores_or_it_was_stopped_then_the_same_bits(manifest, tmp_path):
    config = small_config(data={"augment": {"flip_probability": 0.5, "scale_probability": 0.5}, "batch_size": 2})
    check_equal_on_any_machine(config, manifest, tmp_path)


def test_training_on_a_gpu_when_an_operation_cannot_repeat_itself_then_said(monkeypatch):
    config = small_config(deterministic=True)
    said = (
        r"train.deterministic is true, and on cuda grid_sampler_2d_backward_cuda has no form .* Set train.deterministic to false"
    )
    with pytest.raises(NotRepeatableError, match=said), repeatable(config, "cuda"):
        assert torch.are_deterministic_algorithms_enabled()
        raise RuntimeError("grid_sampler_2d_backward_cuda does not have a deterministic implementation, but you set ...")
    assert not torch.are_deterministic_algorithms_enabled()
    assert config.fingerprint("m") != small_config().fingerprint("m") == small_config(deterministic=False).fingerprint("m")


@pytest.mark.slow  # quick: a stop after a signal (test_stopped_training.py), and at a step as by a crash (each family's training)
def test_training_when_killed_at_a_random_step_then_resumes_to_the_same_weights(manifest, tmp_path):
    config = small_config()
    train(config, manifest, tmp_path / "whole", machine=CPU)
    code = (
        "import sys; from pathlib import Path; from model.train.config import Machine; from model.semodepth.config import *; from model.families import train;"
        "from storage_schemas.manifest import open_manifest; from storage_schemas.store import Store;"
        "config = SemoDepthTrainConfig.model_validate_json(sys.argv[1]);"
        "train(config, open_manifest(Store(sys.argv[2])), Path(sys.argv[3]), machine=Machine('cpu'),"
        " on_progress=lambda p: print('step', p.step, flush=True))"
    )
    command = [sys.executable, "-c", code, config.model_dump_json(), manifest.store.root, str(tmp_path / "killed")]
    kill_at = int(np.random.default_rng().integers(1, 7))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    for line in process.stdout:
        if line.strip() == f"step {kill_at}":
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, kill_at
    train(config, manifest, tmp_path / "killed", machine=CPU)
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole")), kill_at


def test_training_when_run_again_after_the_last_step_then_does_nothing(manifest, tmp_path):
    config = small_config(max_steps=2)
    train(config, manifest, tmp_path, machine=CPU)
    before = (tmp_path / "last.pt").stat().st_mtime_ns
    train(config, manifest, tmp_path, machine=CPU, on_progress=lambda progress: pytest.fail("no step is left"))
    assert (tmp_path / "last.pt").stat().st_mtime_ns == before


def test_training_when_evaluated_then_tables_pictures_and_a_record_of_its_data(manifest, tmp_path):
    config = small_config(max_steps=3)
    train(config, manifest, tmp_path, machine=CPU)
    assert not is_complete(tmp_path)
    evaluate_training(config, manifest, tmp_path, machine=CPU)
    rows = summarise(read_evaluation(str(tmp_path / "evaluation"))[0])
    assert {(row.radar, row.cap_m) for row in rows} == {(radar, cap) for radar in ("on", "off") for cap in (50.0, 70.0, 80.0)}
    frames, _ = read_evaluation(str(tmp_path / "evaluation"))
    assert len(set(frames["frame_key"])) == 2
    with np.load(tmp_path / "evaluation" / "strips.npz") as strips:
        assert strips["image_u8"].shape == (2, 36, 64, 3)
        assert strips["with_radar_m"].max() > 0.5
    record = read_training(tmp_path)
    assert record["manifest"] == manifest.path.fingerprint
    assert record["num_steps"] == 3
    assert record["config"]["network"]["base_channels"] == 8
    assert "MAE" in (tmp_path / "evaluation" / "table.md").read_text()
    assert r"\toprule" in (tmp_path / "evaluation" / "table.tex").read_text()
    network = load_network(tmp_path / "best.pt")
    assert network.config == config.network
    assert not network.training


def test_loss_when_not_a_number_then_stops_with_the_frames_and_keeps_the_last_checkpoint(manifest, tmp_path, monkeypatch):
    calls = []

    def sometimes_nan(*args, **kwargs):
        losses = composite_loss(*args, **kwargs)
        calls.append(1)
        return losses._replace(loss=losses.loss * float("nan")) if len(calls) == 5 else losses

    monkeypatch.setattr(semodepth_family, "composite_loss", sometimes_nan)
    with pytest.raises(
        TrainingError, match=r"the loss is nan on frames scene-0061/CAM_FRONT/\d+. Nothing was saved from this step: look at"
    ):
        train(small_config(), manifest, tmp_path, machine=CPU)
    assert load_checkpoint(tmp_path / "last.pt").step == 3


def test_folder_when_it_holds_another_training_then_names_the_difference(manifest, tmp_path):
    train(small_config(max_steps=1), manifest, tmp_path, machine=CPU)
    with pytest.raises(
        CheckpointError, match=r"was trained with train.data.batch_size = 1, the recipe says 2. Change it back, choose"
    ):
        train(small_config(max_steps=1, data={"batch_size": 2}), manifest, tmp_path, machine=CPU)
    checkpoint = load_checkpoint(tmp_path / "last.pt")
    checkpoint.manifest = "0123456789abcdef"
    save_checkpoint(checkpoint, tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match=rf"on manifest 0123456789abcdef, this training reads {manifest.path.fingerprint}"):
        train(small_config(max_steps=1), manifest, tmp_path, machine=CPU)


def test_checkpoint_when_the_disk_is_full_then_the_former_one_stays(manifest, tmp_path, monkeypatch):
    train(small_config(max_steps=1), manifest, tmp_path, machine=CPU)
    before = (tmp_path / "last.pt").read_bytes()
    checkpoint = load_checkpoint(tmp_path / "last.pt")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match=r"cannot write checkpoint '.*last.pt': no space left on the device. Free some space"):
        save_checkpoint(checkpoint, tmp_path / "last.pt")
    assert (tmp_path / "last.pt").read_bytes() == before
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_checkpoint_when_foreign_or_newer_then_said(manifest, tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match=r"foreign.pt' is not a checkpoint of depthmill \(keys: weight, ...\)"):
        load_checkpoint(tmp_path / "foreign.pt")
    torch.save({"format": 99, "config": "{}"}, tmp_path / "newer.pt")
    with pytest.raises(CheckpointError, match=r"newer.pt' has format 99, this depthmill reads 1. Update depthmill"):
        load_checkpoint(tmp_path / "newer.pt")


def test_split_when_empty_then_said(manifest, tmp_path):
    with pytest.raises(ManifestError, match="test"):
        train(small_config(data={"split": "test"}), manifest, tmp_path, machine=CPU)


def test_schedule_when_epochs_pass_then_falls_to_the_floor():
    config = small_config()
    assert [config.learning_rate_factor(epoch) for epoch in (0, 9.9, 10, 35, 50, 90)] == pytest.approx([1, 1, 0.9, 0.7, 0.5, 0.5])


def test_gradients_when_accumulated_then_as_many_samples_a_step(manifest, tmp_path):
    train(small_config(max_steps=2, accumulate=2, evaluate_every_epochs=1), manifest, tmp_path, machine=CPU)
    rows = table(tmp_path / "steps.csv")
    assert [row["samples"] for row in rows] == ["2", "2"]
    assert json.loads(load_checkpoint(tmp_path / "last.pt").config.model_dump_json())["accumulate"] == 2


def test_network_when_trained_without_radar_then_runs(manifest, tmp_path):
    train(small_config(max_steps=1, data={"radar": False}), manifest, tmp_path, machine=CPU)
    assert load_checkpoint(tmp_path / "last.pt").step == 1


@pytest.mark.slow
def test_two_processes_when_training_together_then_one_checkpoint_after_as_many_steps(manifest, tmp_path):
    train(small_config(max_steps=3), manifest, tmp_path, machine=Machine("cpu", num_devices=2))
    checkpoint = load_checkpoint(tmp_path / "last.pt")
    assert checkpoint.step == 3
    rows = table(tmp_path / "steps.csv")
    assert [row["samples"] for row in rows] == ["2", "2", "2"]
