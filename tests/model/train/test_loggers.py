from __future__ import annotations

import importlib.util
import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model.families import FAMILIES, train
from model.train.config import Machine
from model.train.loggers import RUNS_FILE, Curves, LoggerError, refuse_missing_loggers
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.train.made_up_training import CPU, small_config, steps, train_until

needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed: pip install 'mlflow-skinny>=3.4'"
)
needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed: pip install wandb")


@pytest.fixture
def manifest(tiny_store):
    return open_manifest(Store(str(tiny_store)))


def drawn(folder):
    """Steps of every curve that TensorBoard has."""
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return {name: [event.step for event in board.Scalars(name)] for name in board.Tags()["scalars"]}


def test_loggers_when_chosen_then_no_name_of_a_training_changes_and_a_typo_is_refused():
    plain, tracked = small_config(), small_config(loggers=["tensorboard", "mlflow"])
    assert plain.loggers == ("tensorboard",)
    assert plain.fingerprint("m") == tracked.fingerprint("m")
    assert FAMILIES.read(tracked.model_dump_json()).loggers == ("tensorboard",)
    with pytest.raises(RecipeError, match=r"train.loggers.0 is 'tensorbord': Input should be 'tensorboard', 'mlflow' or 'wandb'"):
        FAMILIES.parse({"loggers": ["tensorbord"]}, where="a.yaml")


def test_logger_when_its_package_is_missing_then_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, extra in (("mlflow", "mlflow"), ("wandb", "wandb"), ("tensorboard", "train")):
        said = rf"train.loggers names {name}, and package {name} is not installed here. Run: pip install 'depthmill\[{extra}\]', or take"
        with pytest.raises(RecipeError, match=said):
            refuse_missing_loggers([name])


def test_training_when_resumed_then_tensorboard_and_mlflow_have_every_step_of_it(manifest, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'mlflow-skinny>=3.4'")
    from mlflow import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = small_config(loggers=["tensorboard", "mlflow"], max_steps=4)
    train_until(config, manifest, tmp_path / "a", step=4)
    note = json.loads((tmp_path / "a" / RUNS_FILE).read_text())["mlflow"]
    train(config, manifest, tmp_path / "a", machine=CPU)
    assert json.loads((tmp_path / "a" / RUNS_FILE).read_text())["mlflow"] == note

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("depthmill").experiment_id])
    assert (run.info.run_id, run.info.run_name, run.info.status) == (note["run"], "a", "FINISHED")
    assert run.data.params["manifest"] == manifest.path.fingerprint
    assert run.data.params["train.network.base_channels"] == "8"
    losses = {point.step: point.value for point in client.get_metric_history(run.info.run_id, "train/loss")}
    assert losses == pytest.approx({int(row["step"]): float(row["loss"]) for row in steps(tmp_path / "a")}, rel=1e-5)
    curves = drawn(tmp_path / "a")
    assert curves["train/loss"] == [1, 2, 3, 4]
    assert {name.replace("@", "_") for name in curves} == set(run.data.metrics)


@needs_mlflow
def test_mlflow_when_its_store_cannot_be_opened_then_refused_before_the_first_step(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(LoggerError, match=r"logger mlflow cannot be used: .*nonsense.* take mlflow out of train.loggers"):
        train(small_config(loggers=["mlflow"], max_steps=1), manifest, tmp_path / "a", machine=Machine("cpu"))


@needs_wandb
def test_wandb_when_offline_then_its_run_has_the_name_of_the_training(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    (tmp_path / "a").mkdir()
    curves = Curves(["wandb"], tmp_path / "a", step=0, about={"train.seed": 0})
    curves.add({"train/loss": 1.0}, step=1)
    curves.close()
    assert "train/loss 1" in capfd.readouterr().err
    run = json.loads((tmp_path / "a" / RUNS_FILE).read_text())["wandb"]["run"]
    (file,) = tmp_path.glob(f"wandb/offline-run-*-{run}/run-{run}.wandb")
    assert file.stat().st_size > 0


def test_tracker_when_it_fails_while_a_training_runs_then_said_once_and_the_others_go_on(tmp_path, capsys):
    curves = Curves(["tensorboard"], tmp_path, step=0, about={})

    class Broken:
        def log_metrics(self, values, step):
            raise ConnectionError("the server is gone\nmore")

    curves._loggers = {"mlflow": Broken(), **curves._loggers}
    for step in (1, 2):
        curves.add({"train/loss": 1.0}, step=step)
    curves.close()
    said = "WARNING: logger mlflow gets nothing of this training from step 1 on: the server is gone. steps.csv has every step\n"
    assert capsys.readouterr().err == said
    assert drawn(tmp_path) == {"train/loss": [1, 2]}
