"""One setting says where units are made, for every command and every deployed flow: --dask, or DEPTHMILL_DASK."""

from __future__ import annotations

import inspect

import pytest

from flows.settings import settings_of_machine
from flows.workers import dask_pool
from flows.workers.choice import pool_of
from storage_schemas.errors import DepthmillError, RecipeError
from tests.flows.retrain.test_retrain import SMALL

pytest.importorskip("distributed", reason="needs the extra dask: pip install 'depthmill[dask]'")

NOBODY = "tcp://127.0.0.1:9"
TRAIN = {"train": SMALL, "ablation": {"seeds": [0], "variants": {"as it is": {}}}}


@pytest.fixture
def recipe(tiny_root, write_recipe):
    return write_recipe(tiny_root, **TRAIN)


@pytest.mark.parametrize("by", ["option", "environment"])
@pytest.mark.parametrize("command", ["run", "train", "retrain", "ablate", "deploy"])
def test_command_when_the_scheduler_is_not_there_then_said_before_any_work(
    recipe, depthmill, monkeypatch, tmp_path, command, by, one_process
):
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "CRITICAL")  # deploy sets it if it is not set
    options = ["--dask", NOBODY] if by == "option" else []
    if by == "environment":
        monkeypatch.setenv("DEPTHMILL_DASK", NOBODY)
    bare = ["--serve"] if command == "deploy" else ["--no-prefect"]
    code, text = depthmill(command, recipe, *options, *bare)
    assert code == 1
    assert f"the Dask scheduler '{NOBODY}' does not answer (Connection refused). Start it (dask scheduler --port 9)" in text
    assert not list((tmp_path / "store").glob("frames*"))


def test_commands_that_only_read_when_the_scheduler_is_not_there_then_work(recipe, depthmill, monkeypatch):
    monkeypatch.setenv("DEPTHMILL_DASK", NOBODY)
    assert depthmill("plan", recipe)[0] == 0


def test_setting_when_option_and_environment_are_given_then_the_option_counts(monkeypatch):
    monkeypatch.setenv("DEPTHMILL_DASK", NOBODY)
    assert settings_of_machine().dask == NOBODY
    assert settings_of_machine(dask="local:2").dask == "local:2"
    monkeypatch.setenv("DEPTHMILL_DASK", "")  # an empty variable is one that is not set
    assert pool_of(settings_of_machine(3)).num_threads == 3
    monkeypatch.setenv("DEPTHMILL_DASK", "kubernetes")
    with pytest.raises(RecipeError, match=r"--dask \(or DEPTHMILL_DASK\) is 'kubernetes', expected local:<workers>"):
        pool_of(settings_of_machine())


@pytest.mark.slow
def test_training_when_a_cluster_is_set_then_its_units_come_from_there(recipe, depthmill, monkeypatch, one_process):
    scenes = []
    wait = dask_pool.DaskScenes._wait

    def noting(self, future):
        scenes.append(future.key.split("-")[2])
        return wait(self, future)

    monkeypatch.setattr(dask_pool.DaskScenes, "_wait", noting)
    monkeypatch.setenv("DEPTHMILL_DASK", "local:1")
    code, text = depthmill("train", recipe, "--no-prefect")
    assert code == 0, text
    assert sorted(scenes) == ["0061", "0103"]


def test_deployed_flows_when_a_cluster_is_their_parameter_then_it_is_where_units_are_made(recipe):
    pytest.importorskip("prefect")
    from flows.prefect import deployments
    from flows.prefect.deploy import deployments as deployments_of

    for deployment in deployments_of(recipe, name="tiny", schedule=None, parameters={}, dask=NOBODY):
        assert deployment.parameters["dask"] == NOBODY
    for flow in (
        deployments.materialize,
        deployments.reclean,
        deployments.pretrain,
        deployments.train_and_evaluate,
        deployments.retrain_and_evaluate,
    ):
        assert "dask" in inspect.signature(flow.fn).parameters
    opened = deployments._open(str(recipe), (), None, NOBODY)
    with pytest.raises(DepthmillError, match="does not answer"):
        _ = opened.pool
    assert deployments._open(str(recipe), (), 2, "").pool.num_threads == 2  # an empty field of the form
