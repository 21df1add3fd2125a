from __future__ import annotations

import inspect
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

import pytest
import yaml

from flows.retrain.record import history_folder
from flows.run.runs import Runs
from pipeline.stages.clean_horizon import Params as CleanHorizonParams
from storage_schemas.errors import RecipeError
from storage_schemas.folder_lock import locked_folder
from storage_schemas.run_history import Round, read_history
from tests.conftest import REPOSITORY
from tests.flows.retrain.test_retrain import SMALL
from tests.tiny_nuscenes import write_tiny_nuscenes

FIRING_S = 30  # on a busy machine a round takes longer; the firings that come too early end Cancelled


@pytest.fixture(autouse=True)
def _one_process(monkeypatch, tmp_path):
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "0")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")
    monkeypatch.setenv("DEPTHMILL_WORKERS", "1")
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "CRITICAL")
    monkeypatch.setattr("flows.run.lasting.temporary_folder", lambda: tmp_path / "temporary")  # the stores of tests may last
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # Prefect makes the last folder only


@pytest.fixture
def recipe(tiny_root, copied_store, write_recipe):
    return write_recipe(tiny_root, train=SMALL)


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def served(recipe: Path, folder: Path, *, port: int) -> Iterator[None]:
    """``depthmill deploy --serve`` with its own server and Prefect home, interrupted at the end as by Ctrl-C."""
    env = {**os.environ, "PREFECT_HOME": str(folder / "prefect"), "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    env.pop("PREFECT_API_URL", None)
    arguments = ("deploy", str(recipe), "--serve", "--interval", str(FIRING_S), "--port", str(port), "--name", "tiny")
    with open(folder / "serve.txt", "w") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
            env=env, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            yield
            assert child.poll() is None, (folder / "serve.txt").read_text()
        finally:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait_for(found: Callable[[list[Round]], object], history: str, log: Path, *, seconds: float) -> list[Round]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        rows = read_history(history)
        if found(rows):
            return rows
        assert "error: " not in log.read_text(), log.read_text()
        time.sleep(0.3)
    raise AssertionError(f"{[row.outcome for row in rows]} after {seconds} s\n{log.read_text()}")


@pytest.mark.slow  # 65 to 95 s
def test_schedule_when_it_fires_three_times_then_works_does_nothing_and_recleans(write_recipe, tmp_path):
    recipe = write_recipe(write_tiny_nuscenes(tmp_path / "data"), train=SMALL)
    store, port, log = tmp_path / "store", free_port(), tmp_path / "serve.txt"
    history = history_folder(Runs(str(store / "runs"), tmp_path))
    with served(recipe, tmp_path, port=port):
        wait_for(lambda rows: [row.outcome for row in rows[:2]] == ["promoted", "nothing to do"], history, log, seconds=900)
        units = {path: path.stat().st_mtime_ns for path in store.glob("*/*/*/*/lineage.json")}
        trainings = {path.name for path in (store / "runs/trainings").iterdir()}
        data = yaml.safe_load(recipe.read_text())
        recipe.write_text(yaml.safe_dump({**data, "stages": {"clean_horizon": {"near_m": 12.5}}}))
        rows = wait_for(lambda rows: rows[-1].num_units == 3, history, log, seconds=900)
    first, last = rows[0], rows[-1]
    assert first.num_units == 13
    assert rows[1].reason == f"all 13 units are up to date, and their training met the champion in round {first.name}"
    assert {row.outcome for row in rows[1:-1]} == {"nothing to do"}
    assert last.outcome in ("kept", "promoted")
    assert last.reason == "clean_horizon: params near_m: 20.0 -> 12.5 (scene-0061, scene-0103)"
    now = {path: path.stat().st_mtime_ns for path in store.glob("*/*/*/*/lineage.json")}
    assert {path: now[path] for path in units} == units  # nothing was made again
    assert sorted(path.parts[-5] for path in now.keys() - units.keys()) == ["depth_clean", "depth_clean", "manifest"]
    assert {path.name for path in (store / "runs/trainings").iterdir()} - trainings == {Path(last.training).name}
    with closing(sqlite3.connect(tmp_path / "prefect/prefect.db")) as database:
        query = (
            "select s.message from flow_run r join flow f on f.id = r.flow_id join flow_run_state s on s.flow_run_id = r.id "
            "where f.name = 'retrain_and_evaluate' and r.auto_scheduled and s.type = 'COMPLETED' order by s.timestamp"
        )
        messages = [message for (message,) in database.execute(query)]
        artifacts = {key for (key,) in database.execute("select key from artifact")}
    assert messages[0].startswith("promoted: there was no champion")
    assert messages[1] == f"nothing to do: {rows[1].reason}"
    assert {"retrain-round", "retrain-report", "materialize-summary", "train-table"} <= artifacts
    with closing(socket.socket()) as one:
        assert one.connect_ex(("127.0.0.1", port)) != 0  # the server went with the process


@pytest.mark.slow  # 25 s
def test_work_pool_when_deployed_to_then_holds_the_four_flows(recipe, depthmill, tmp_path, monkeypatch):
    from flows.prefect.server import scheduling_server  # isort: skip
    import httpx

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("DEPTHMILL_RECIPE", str(recipe))
    with scheduling_server(free_port()) as url:
        code, text = depthmill("deploy", recipe, "--cron", "0 3 * * *", "--margin", 5, "--set", "train.seed=3")
        assert code == 0, text
        assert "registered retrain_and_evaluate/recipe" in text
        assert text.endswith("Next, where the flows shall run: prefect worker start --pool depthmill\n")
        deploy_all = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        done = subprocess.run(deploy_all, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        for name in ("recipe", "default"):
            for flow in ("materialize", "reclean", "train_and_evaluate", "retrain_and_evaluate"):
                found = httpx.get(f"{url}/deployments/name/{flow}/{name}").json()
                assert found["work_pool_name"] == "depthmill"
                assert found["entrypoint"] == f"flows.prefect.deployments.{flow}"
                assert found["parameters"]["recipe"] == str(recipe)
                schedules = [one["schedule"]["cron"] for one in found["schedules"]]
                assert schedules == (["0 3 * * *"] if flow == "retrain_and_evaluate" else [])
            assert found["concurrency_options"] is None  # whoever comes too early is refused by the lock of the store's runs
            margin = found["parameter_openapi_schema"]["properties"]["margin"]
            number, nothing = margin["anyOf"]
            assert (number["type"], number["minimum"], nothing["type"]) == ("number", 0, "null")
            assert margin["description"].startswith("Improvement of the mean that a training must reach")


def test_parameters_when_shown_in_prefects_pages_then_each_has_type_and_description():
    from flows.prefect import deployments
    from prefect.utilities.callables import parameter_schema  # isort: skip

    reclean = deployments.reclean
    by_hand = (deployments.materialize, reclean, deployments.pretrain, deployments.train_and_evaluate, deployments.ablate)
    for flow in (*by_hand, deployments.retrain_and_evaluate):
        shown = parameter_schema(flow.fn)
        assert shown.required == ["recipe"]
        for name, one in shown.properties.items():
            assert one["description"], f"{flow.name}: {name}"
            assert "type" in one or "anyOf" in one
    rule = set(inspect.signature(reclean.fn).parameters) - {"recipe", "overrides", "workers", "dask"}
    assert rule == set(CleanHorizonParams.model_fields) - {"occluded"}  # a group of keys, which the recipe sets


@pytest.mark.parametrize(("family", "training"), [("mim4d", "pretrain"), ("monoddle", "train_and_evaluate")])
def test_deployments_when_the_family_pretrains_then_its_flow_is_pretrain(write_recipe, tiny_root, family, training):
    from flows.prefect.deploy import deployments  # isort: skip

    recipe = write_recipe(tiny_root, train={"family": family})
    found = deployments(recipe, name="n", schedule=None, parameters={})
    assert [one.flow_name for one in found] == ["materialize", "reclean", training, "retrain_and_evaluate"]
    assert {one.name for one in found} == {"n"}


def test_deployments_when_the_recipe_has_variants_then_ablate_is_one_and_rules_are_checked_now(write_recipe, tiny_root):
    from flows.prefect.deploy import deployments, schedule_of  # isort: skip

    variants = {"variants": {"baseline": {}, "slower": {"learning_rate": 1e-5}}}
    recipe = write_recipe(tiny_root, train=SMALL, ablation=variants, retrain={"margin": 3})
    found = deployments(recipe, name="n", schedule=None, parameters={"metric": "rmse_mm"})
    assert [one.flow_name for one in found] == [
        "materialize", "reclean", "train_and_evaluate", "ablate", "retrain_and_evaluate",
    ]  # fmt: skip
    assert found[-1].parameters == {"recipe": str(recipe), "metric": "rmse_mm"}  # the margin is read at every firing
    with pytest.raises(RecipeError, match="retrain.metric is 'rmse', expected one of: .*; did you mean 'rmse_mm'"):
        deployments(recipe, name="n", schedule=None, parameters={"metric": "rmse"})
    recipe = write_recipe(tiny_root, train={"family": "monoddle"}, retrain={"cap_m": 80})
    with pytest.raises(RecipeError, match="retrain.cap_m is 80.0, which means nothing for a detector"):
        deployments(recipe, name="n", schedule=schedule_of(cron="0 3 * * *", interval_s=None), parameters={})


def test_deployments_when_the_family_has_no_champions_then_no_schedule_and_said_why(write_recipe, tiny_root, monkeypatch):
    from flows.prefect.deploy import deployments, schedule_of  # isort: skip
    from model.mim4d.family import Mim4dFamily

    monkeypatch.setattr(Mim4dFamily, "retrain_refusal", "clips are not worth a champion")
    recipe = write_recipe(tiny_root, train={"family": "mim4d"})
    found = deployments(recipe, name="n", schedule=None, parameters={})
    assert [one.flow_name for one in found] == ["materialize", "reclean", "pretrain"]
    text = "train.family is 'mim4d', and clips are not worth a champion. Leave --cron and --interval out"
    with pytest.raises(RecipeError, match=text):
        deployments(recipe, name="n", schedule=schedule_of(cron="0 3 * * *", interval_s=None), parameters={})


@pytest.mark.slow
def test_ablate_when_run_as_a_flow_then_every_variant_is_trained_and_the_table_is_named(recipe, tmp_path):
    from flows.prefect.deployments import ablate  # isort: skip

    state = ablate(str(recipe), return_state=True)
    assert state.is_failed() and "has no ablation.variants, so there is nothing to compare" in state.message
    options = ("ablation.seeds=[0]", "ablation.variants={baseline: {}, slower: {learning_rate: 0.00001}}", "train.max_steps=1")
    state = ablate(str(recipe), overrides=options, return_state=True)
    assert state.is_completed(), state.message
    assert state.message.startswith(f"2 trainings are in the table {tmp_path / 'store/runs/ablations'}")
    assert tasks_of(state.state_details.flow_run_id, 2) == ["baseline, seed 0", "slower, seed 0"]
    table = next((tmp_path / "store/runs/ablations").iterdir()) / "table.md"
    assert "slower" in table.read_text()


def test_pretrain_when_the_family_is_another_then_said_and_what_to_run(recipe):
    from flows.prefect.deployments import pretrain  # isort: skip

    state = pretrain(str(recipe), return_state=True)
    assert state.is_failed()
    assert "has train.family semodepth, the flow pretrain takes mim4d. Run train_and_evaluate" in state.message


def tasks_of(flow_run_id: UUID, num_expected: int) -> list[str]:
    """Names of the tasks of a flow run; a flow inside it counts as one. Prefect's server notes them a little later."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

    until = time.monotonic() + 600
    with get_client(sync_client=True) as client:
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        while len(names := [task.name for task in client.read_task_runs(flow_run_filter=chosen)]) < num_expected:
            assert time.monotonic() < until, names
            time.sleep(0.1)
    return sorted(names)


def writes_to_closed_file(handler: logging.Handler) -> bool:
    """Say whether a handler of Prefect was made while an earlier test captured the output, and has outlived its file."""
    return bool(getattr(getattr(getattr(handler, "console", None), "file", None), "closed", False))


def test_deployments_when_run_then_work_in_their_own_flow_run_and_tell_its_log(recipe, caplog, monkeypatch):
    from flows.prefect.deployments import materialize, train_and_evaluate

    caplog.set_level(logging.INFO, logger="prefect.flow_runs")  # what Prefect's pages show
    for name in ("", *logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "handlers", [one for one in logger.handlers if not writes_to_closed_file(one)])
    logger = logging.getLogger("prefect.flow_runs")
    monkeypatch.setattr(logger, "handlers", [*logger.handlers, caplog.handler])  # Prefect may keep its lines from the root logger
    state = materialize(str(recipe), overrides=("stages.clean_horizon.near_m=12.5",), return_state=True)
    assert state.message == "3 units made"
    assert tasks_of(state.state_details.flow_run_id, 2) == ["scene-0061", "scene-0103"]
    assert any(line.startswith("3/3 build_manifest") for line in caplog.messages)
    assert any(line.startswith("done: 3 ok in ") for line in caplog.messages)
    caplog.clear()
    state = train_and_evaluate(str(recipe), return_state=True)
    assert state.is_completed(), state.message
    names = tasks_of(state.state_details.flow_run_id, 2)
    assert [name.split("-")[0] for name in names] == ["evaluate", "train"]
    assert any(line.startswith("training ") for line in caplog.messages)
    assert any("trained 2 steps in" in line for line in caplog.messages)


@pytest.mark.slow
def test_flows_when_run_then_end_with_their_own_words(recipe, depthmill, tmp_path):
    from flows.prefect.deployments import materialize, reclean, retrain_and_evaluate

    state = materialize(str(tmp_path / "nowhere.yaml"), return_state=True)
    assert (state.name, state.message.split(". ")[0]) == ("Failed", f"recipe '{tmp_path / 'nowhere.yaml'}' does not exist")
    state = reclean(str(recipe), near_m=12.5, window_px=8, return_state=True)
    assert state.is_failed()
    assert "stages.clean_horizon.window_px is 8: window_px must be odd" in state.message
    state = reclean(str(recipe), near_m=12.5, return_state=True)
    assert (state.name, state.message) == ("Completed", "3 units made")
    state = retrain_and_evaluate(str(recipe), overrides=("train.netwrok.base_channels=8",), return_state=True)
    assert (state.name, "did you mean 'network'?" in state.message) == ("Failed", True)
    code, text = depthmill("retrain", recipe, "--prefect")
    assert code == 0, text
    assert "# promoted" in text
    state = retrain_and_evaluate(str(recipe), return_state=True)
    assert state.message.startswith("nothing to do: all 13 units are up to date")


def test_flow_when_another_process_does_its_work_then_is_cancelled_and_says_who(tmp_path):
    from flows.prefect.deployments import _ended

    def work() -> str:
        with locked_folder(tmp_path, doing="a round", if_denied=""):
            return "done"

    with locked_folder(tmp_path, doing="depthmill retrain other.yaml", if_denied=""):
        state = _ended(work)
    assert state.is_cancelled(), state.message
    assert "is in use: depthmill retrain other.yaml" in state.message
    assert _ended(work).is_completed()


def test_prefect_server_when_unreachable_then_says_so_at_once(recipe, depthmill):
    from flows.prefect import server as prefect_server  # noqa: F401  # isort: skip  (sets Prefect's environment)
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = f"http://127.0.0.1:{free_port()}/api"
    with temporary_settings({PREFECT_API_URL: url}):
        for command in (("retrain", recipe, "--prefect"), ("deploy", recipe), ("deploy", recipe, "--serve")):
            code, text = depthmill(*command)
            assert code == 1
            assert f"error: the Prefect server of PREFECT_API_URL={url} does not answer: " in text
            assert "Start it (prefect server start), correct the address, or unset PREFECT_API_URL" in text
        assert depthmill("retrain", recipe, "--no-prefect")[0] == 0
    code, text = depthmill("deploy", recipe)
    assert code == 1
    assert (
        "a work pool needs a Prefect server that stays, and PREFECT_API_URL is not set. Run 'prefect server start', set" in text
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--cron", "often"), "--cron 'often' with --timezone 'UTC' is no schedule: Invalid cron string"),
        (("--cron", "0 3 * * *", "--timezone", "Mars/Base"), "No time zone found with key Mars/Base"),
        (("--cron", "0 3 * * *", "--interval", 60), "--cron and --interval are two schedules, expected one of them"),
        (("--interval", 0), "an interval is 1 s or more"),
        (("--name", "a/b"), "--name is 'a/b', expected letters, digits"),
        (("--metric", "mae"), "retrain.metric is 'mae', expected one of: mae_mm, rmse_mm"),
        (("--cap", 75.5), "retrain.cap_m is 75.5, expected one of: 50.0, 70.0, 80.0"),
    ],
)
def test_deploy_when_arguments_are_wrong_then_says_what_is_expected(recipe, depthmill, arguments, text):
    code, printed = depthmill("deploy", recipe, *arguments)
    assert code == 2
    assert text in printed
