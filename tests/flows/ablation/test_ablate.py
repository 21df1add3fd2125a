from __future__ import annotations

import csv
import json
import shutil
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from flows.ablation.ablation import Run, laid_over, read_ablation
from flows.ablation.table import TABLE_FILE, difference_of, results_of, spread_of, table_text, write_ablation
from flows.commands.ablate import plan_text
from flows.run.opening import open_recipe
from flows.run.orchestrator import Series
from flows.settings import Settings
from model.families import parse_train_config
from model.monoddle.evaluation import DetectionEvaluation, write_detection_folder
from model.monoddle.precision.average_precision import ApRow
from model.semodepth.metrics import METRICS
from pipeline.recipe import load_recipe
from storage_schemas.errors import DepthmillError, RecipeError, StoreError
from storage_schemas.evaluation import write_evaluation
from tests.conftest import REPOSITORY
from tests.tiny_kitti import write_tiny_kitti

SMALL = {
    "network": {"base_channels": 8},
    "max_steps": 2,
    "data": {"batch_size": 1},
    "evaluation": {"num_strips": 0, "without_radar": False},
}
SLOWER = {"learning_rate": 3e-5}
PAIR = {"baseline": {}, "+ slower": SLOWER}


pytestmark = pytest.mark.usefixtures("one_process")


@pytest.fixture
def recipe(tiny_root, tiny_store, write_recipe, tmp_path):
    shutil.copytree(tiny_store, tmp_path / "store")

    def write(variants=PAIR, *, train=SMALL, **choices):
        path = write_recipe(tiny_root, train=train)
        data = {**yaml.safe_load(path.read_text()), "ablation": {"variants": variants, **choices}}
        path.write_text(yaml.safe_dump(data, sort_keys=False))  # the first variant is what the others are compared with
        return path

    return write


def opened_of(recipe: Path):
    return open_recipe(load_recipe(recipe), Settings(workers=1))


def ablation_of(recipe: Path):
    return read_ablation(opened_of(recipe), where="r.yaml", manifest=None, out=None)


def measured(run: Run, *, mae_mm: float | None, delta1: float = 0.5, **facts: object) -> None:
    """Make a training's folder what it is when the training is complete, measured on one frame."""
    row = dict.fromkeys(METRICS, 1.0) | {"mae_mm": mae_mm, "delta1": delta1}
    if mae_mm is None:
        row = dict.fromkeys(METRICS)
    frame = {"frame_key": "s/c/1", "is_night": False, "radar": "on", "cap_m": 80.0, "num_pixels": int(mae_mm is not None), **row}
    ranges = {"frame_key": [], "is_night": [], "radar": [], "low_m": [], "high_m": [], "num_pixels": [], "sum_error_m": []}
    write_evaluation(str(run.folder / "evaluation"), {name: [value] for name, value in frame.items()}, ranges)
    mark_complete(run, **facts)


def mark_complete(run: Run, **facts: object) -> None:
    record = {
        "num_steps": 2,
        "train_frames": 2,
        "val_frames": 2,
        "seconds": 60.0,
        "commit": "c0ffee",
        "is_dirty": "false",
        **facts,
    }
    (run.folder / "training.json").write_text(json.dumps(record))


# --- the plan ---


def test_plan_when_read_then_each_variant_and_seed_is_a_training_named_by_its_fingerprint(recipe):
    ablation = ablation_of(recipe({"baseline": None, "+ slower": SLOWER}, seeds=[3, 4]))
    assert [run.title for run in ablation.trainings] == [
        "baseline, seed 3", "+ slower, seed 3", "baseline, seed 4", "+ slower, seed 4",
    ]  # fmt: skip
    config = ablation.runs["+ slower"][4].config
    assert (config.learning_rate, config.seed, config.data.seed, config.max_steps) == (3e-5, 4, 4, 2)
    by_hand = parse_train_config({**SMALL, "data": {"batch_size": 1, "seed": 4}, **SLOWER, "seed": 4}, where="r")
    assert ablation.runs["+ slower"][4].folder.name == by_hand.fingerprint(ablation.manifest)
    assert ablation.name.startswith("r-")
    assert ablation.folder.parent.name == "ablations"


def test_plan_when_printed_then_tells_what_is_there_and_which_variants_are_one(recipe):
    path = recipe({**PAIR, "also slower": {"learning_rate": 0.00003}, "as it is": {"epochs": 50}}, seeds=[0, 1])
    ablation = ablation_of(path)
    measured(ablation.runs["baseline"][0], mae_mm=1.0)
    begun = ablation.runs["+ slower"][1].folder
    begun.mkdir(parents=True)
    (begun / "last.pt").touch()
    lines = plan_text(ablation).splitlines()
    assert [line.split("  ")[0] for line in lines[:-1]] == ["variant", "baseline", "+ slower", "also slower", "as it is"]
    assert lines[0].split() == ["variant", "seed", "0", "seed", "1", "changes"]
    assert lines[1].split() == ["baseline", "complete", "to", "do", "nothing"]
    assert "to do     begun" in lines[2]
    assert lines[3].endswith("learning_rate: 3e-05 (the same training as + slower)")
    assert lines[4].endswith("epochs: 50 (the same training as baseline)")
    assert lines[-1] == (
        f"4 trainings on manifest {ablation.manifest}: 1 complete, 1 begun, 2 to do, about 3 min (from the complete ones)"
    )


def test_groups_and_dotted_keys_when_mixed_then_the_last_word_counts(recipe):
    changes = {"data.batch_size": 2, "data": {"batch_size": 1, "mono": False}, "network": {"base_channels": 16}}
    ablation = ablation_of(recipe({"both": changes}, seeds=[0]))
    assert ablation.variants["both"] == {"data.batch_size": 1, "data.mono": False, "network.base_channels": 16}
    assert ablation.runs["both"][0].config.network.base_channels == 16


def test_laid_over_when_a_key_lies_in_a_value_then_names_it_and_the_group_is_left_as_it_was():
    train = {"data": {"batch_size": 1}, "loss": 3}
    assert laid_over(train, {"data.mono": True}, where="r") == {"data": {"batch_size": 1, "mono": True}, "loss": 3}
    assert train == {"data": {"batch_size": 1}, "loss": 3}
    with pytest.raises(RecipeError, match=r"recipe 'r': 'loss.x' cannot be set, for train.loss is 3, expected a group of keys"):
        laid_over(train, {"loss.x": 1}, where="r")


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ({}, "has no ablation.variants, so there is nothing to compare. Add e.g. ablation: {seeds: [0, 1, 2]"),
        ({"a": {}, "b": {"data.batch_sise": 2}}, "variant 'b' of recipe 'r.yaml': unknown key 'train.data.batch_sise'; did you mean 'batch_size'?"),
        ({"a": {}, "b": {"epochs": 0}}, "variant 'b' of recipe 'r.yaml': train.epochs is 0: Input should be greater than or equal to 1"),
        ({"a": {"family": "monodle"}, "b": {}}, "variant 'a' of recipe 'r.yaml': train.family is 'monodle'; did you mean 'monoddle'?"),
        ({"a": {"seed": 1}}, "variant 'a' of recipe 'r.yaml': seed is set by ablation.seeds, the same for every variant. Leave it out, or"),
        ({"a": {"data": {"seed": 1}}}, "data.seed is set by ablation.seeds"),
        ({"a": {"train.epochs": 1}}, "'train.epochs' begins with train, where all keys of a variant are; write 'epochs'"),
        ({"a": {"max_steps.x": 1}, "b": {}}, "variant 'a' of recipe 'r.yaml': 'max_steps.x' cannot be set, for train.max_steps is 2, expected a group"),
    ],
)  # fmt: skip
def test_variant_when_wrong_then_it_and_the_key_are_named(recipe, variants, message):
    with pytest.raises(RecipeError) as caught:
        ablation_of(recipe(variants))
    assert message in str(caught.value)


def test_variants_when_several_are_wrong_then_all_mistakes_are_told_and_a_common_one_once(recipe):
    with pytest.raises(RecipeError) as caught:
        ablation_of(recipe({"a": {"epochs": 0}, "b": {}, "c": {"dat": {"mono": True}, "max_steps": 0}}))
    lines = str(caught.value).splitlines()
    assert [line.split(" of ")[0] for line in lines] == ["variant 'a'", "variant 'c'", "variant 'c'"]
    with pytest.raises(RecipeError) as caught:
        ablation_of(recipe(PAIR, train={"epocs": 3}))
    assert str(caught.value) == "recipe 'r.yaml': unknown key 'train.epocs'; did you mean 'epochs'?"


def test_families_when_mixed_then_refused(recipe):
    with pytest.raises(RecipeError, match="variant 'b' is of family monoddle, 'a' of semodepth: no measure is common to them"):
        ablation_of(recipe({"a": {}, "b": {"family": "monoddle"}}, train={}))


def test_group_when_wrong_then_said_before_anything(recipe, depthmill):
    code, text = depthmill("ablate", recipe(seeds=[0, 1, 0]), "--no-prefect")
    assert (code, "ablation.seeds is [0, 1, 0]: 0 is there more than once; name each once" in text) == (2, True)
    code, text = depthmill("ablate", recipe(seeds=[0, -1]), "--no-prefect")
    assert (code, "ablation.seeds is [0, -1]: -1 is negative; a seed is 0 or more" in text) == (2, True)
    code, text = depthmill("ablate", recipe(), "--set", "ablation.seed=[1]", "--no-prefect")
    assert (code, "unknown key 'ablation.seed'; did you mean 'seeds'?" in text) == (2, True)
    code, text = depthmill("ablate", recipe(metrics=["mae_mm@60"]), "--no-prefect")
    assert code == 2
    assert "ablation.metrics has 'mae_mm@60', by which not every variant is measured; did you mean 'mae_mm@" in text
    code, text = depthmill("ablate", recipe(metrics=["mae_mm@80/off"]), "--no-prefect")  # SMALL measures with radar only
    assert "ablation.metrics has 'mae_mm@80/off', by which not every variant is measured" in text


# --- the table ---


def test_spread_and_difference_when_computed_then_are_those_by_hand():
    assert spread_of([]) is None
    assert spread_of([4.0]) == (4.0, None, 1)
    assert spread_of([1.0, 2.0, 6.0]) == (3.0, pytest.approx(7.0**0.5), 3)  # squares 4 + 1 + 9, by n - 1
    first, other = {0: 10.0, 1: 20.0, 2: 30.0, 5: 7.0}, {0: 11.0, 1: 20.0, 2: 33.0, 9: 1.0}
    higher = difference_of(first, other, is_higher_better=True)
    assert higher.spread == (pytest.approx(4 / 3), pytest.approx((7 / 3) ** 0.5), 3)
    assert higher.num_better == 2  # equal is not better
    assert difference_of(first, other, is_higher_better=False).num_better == 0
    assert difference_of({0: 1.0}, {1: 1.0}, is_higher_better=True) is None


def test_table_when_three_seeds_are_measured_then_shows_mean_spread_and_paired_difference(recipe):
    ablation = ablation_of(recipe())
    for seed, (mae_mm, delta1) in enumerate([(1000, 0.9), (1100, 0.8), (1300, 0.7)]):
        measured(ablation.runs["baseline"][seed], mae_mm=mae_mm, delta1=delta1)
    for seed, (mae_mm, delta1) in enumerate([(900, 0.95), (1000, 0.8), (1400, 0.75)]):
        measured(ablation.runs["+ slower"][seed], mae_mm=mae_mm, delta1=delta1)
    results = results_of(ablation, {})
    lines = table_text(ablation, results, is_whole=True).splitlines()
    rows = {tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in lines if line.startswith("|")}
    assert ("variant", "MAE [mm] up to 80 m", "RMSE [mm] up to 80 m", "delta1 up to 80 m", "trained") in rows
    assert ("baseline", "1133 ± 153", "1 ± 0", "0.8000 ± 0.1000", "3 of 3") in rows
    assert ("+ slower", "1100 ± 265", "1 ± 0", "0.8333 ± 0.1041", "3 of 3") in rows
    assert ("+ slower", "-33 ± 115 (2 of 3)", "+0 ± 0 (0 of 3)", "+0.0333 ± 0.0289 (2 of 3)") in rows
    assert ("+ slower", "learning_rate: 3e-05") in rows
    assert f"manifest {ablation.manifest} in store" in lines[2]
    assert not [line for line in lines if line.startswith("- ")]  # nothing that a reader must be warned of
    write_ablation(ablation, results)
    with open(ablation.folder / "results.csv", newline="") as stream:
        written = list(csv.DictReader(stream))
    assert [(row["variant"], row["seed"], row["mae_mm@80"]) for row in written][3] == ("+ slower", "0", "900.0")
    assert {row["manifest"] for row in written} == {ablation.manifest}
    assert Path(written[3]["training"]) == ablation.runs["+ slower"][0].folder


def test_table_when_trainings_are_few_or_unlike_then_says_so(recipe):
    path = recipe({**PAIR, "again": {}, "by truth": {"evaluation.target": "depth_clean"}}, seeds=[0])
    ablation = ablation_of(path)
    measured(ablation.runs["baseline"][0], mae_mm=1000.0)
    measured(ablation.runs["+ slower"][0], mae_mm=None, val_frames=1, commit="bad")
    failed = ablation.runs["by truth"][0]
    results = results_of(ablation, {failed.folder: "no such unit\nwith\ndetails"})
    text = table_text(ablation, results, is_whole=False)
    notes = [line[2:] for line in text.splitlines() if line.startswith("- ")]
    assert "again is the same training as baseline" in notes
    assert "one seed: there is no spread, and a difference may be chance" in notes
    assert "by truth, seed 0: failed: no such unit" in notes
    assert "nothing to measure mae_mm@80 on: + slower, seed 0" in notes
    assert "the trainings were measured on different numbers of frames: 1, 2" in notes
    assert "the trainings are of different commits: bad, c0ffee" in notes
    assert (
        "the variants are not measured alike, evaluation.target differs: baseline depth_single, + slower depth_single, again "
        "depth_single, by truth depth_clean"
    ) in notes
    assert "±" not in text.split("seed 0.")[1]
    assert [line.split("|")[2].strip() for line in text.splitlines() if line.startswith("| by truth")] == ["-", "-"]


def test_table_when_the_family_is_a_detector_then_shows_published_columns(recipe):
    train = {"family": "monoddle", "network": {"train_classes": ["Car", "Pedestrian"]}, "data": {"mono": True}}
    variants = {"baseline": {"data.mono": False}, "+ depth": {"distill.form": "l1"}}
    ablation = ablation_of(recipe(variants, train=train, seeds=[0, 1]))
    for (name, seed), r40 in {("baseline", 0): 10.0, ("baseline", 1): 12.0, ("+ depth", 0): 14.0, ("+ depth", 1): 13.5}.items():
        rows = [
            ApRow(category, metric, "strict", overlap, difficulty, r40 + 10 * (category != "Car") + plus, 0.0, 50, 50)
            for category, overlap in (("Car", 0.7), ("Pedestrian", 0.5))
            for metric, plus in (("3d", 0.0), ("bev", 1.0))
            for difficulty in ("easy", "moderate", "hard")
        ]
        rows += [ApRow("Car", "3d", "loose", 0.5, "moderate", 99.0, 0.0, 50, 50)]
        run = ablation.runs[name][seed]
        write_detection_folder(run.folder / "evaluation", DetectionEvaluation(rows, {}, {}), title="made up")
        mark_complete(run)
    text = table_text(ablation, results_of(ablation, {}), is_whole=True)
    rows = {tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in text.splitlines() if line.startswith("|")}
    heads = [f"Car {metric}@{overlap} moderate [%]" for overlap in (0.7, 0.5) for metric in ("3D", "BEV")]
    assert ("variant", *heads, "trained") in rows
    assert ("+ depth", "13.75 ± 0.35", "14.75 ± 0.35", "99.00 ± 0.00", "-", "2 of 2") in rows
    assert ("+ depth", "+2.75 ± 1.77 (2 of 2)", "+2.75 ± 1.77 (2 of 2)", "+0.00 ± 0.00 (0 of 2)", "-") in rows
    assert "## Car BEV@0.7, AP_R40" in text
    assert "nothing to measure Car/bev@0.5/moderate on: baseline, seed 0; baseline, seed 1; + depth, seed 0" in text
    chosen = ablation_of(recipe(variants, train=train, seeds=[0, 1], metrics=["Pedestrian/3d@0.5/hard"]))
    assert "21.00 ± 1.41 |" in table_text(chosen, results_of(chosen, {}), is_whole=True)


def test_class_without_overlap_when_shown_then_refused_before_training(recipe):
    network = {"classes": ["Tram"], "train_classes": ["Tram"]}
    with pytest.raises(RecipeError, match="train.evaluation.category is 'Tram', which cannot be measured: KITTI"):
        ablation_of(recipe({"a": {}}, train={"family": "monoddle", "network": network, "evaluation": {"category": "Tram"}}))


def test_training_when_damaged_then_says_which_and_what_to_do(recipe, depthmill):
    path = recipe(seeds=[0])
    ablation = ablation_of(path)
    run = ablation.runs["+ slower"][0]
    measured(run, mae_mm=1.0)
    (run.folder / "evaluation" / "frames.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=rf"\+ slower, seed 0 is damaged: .*Or delete '{run.folder}' and run the same command"):
        results_of(ablation, {})
    code, text = depthmill("ablate", path, "--no-prefect")
    assert (code, "is damaged" in text) == (1, True)
    assert not (ablation.runs["baseline"][0].folder).exists()


# --- the command ---


@pytest.mark.slow
def test_ablate_when_run_again_then_trains_what_is_new_only_and_json_says_the_same(recipe, depthmill, tmp_path):
    path = recipe(seeds=[0])
    code, text = depthmill("ablate", path, "--no-prefect")
    assert code == 0, text
    assert "training 2 of 2: + slower, seed 0" in text
    assert "| baseline |" in text
    trainings = tmp_path / "store/runs/trainings"
    times = {folder.name: (folder / "training.json").stat().st_mtime_ns for folder in trainings.iterdir()}
    assert len(times) == 2
    code, text = depthmill("ablate", path, "--no-prefect", "--json", "--set", "ablation.variants.again.epochs=50")
    assert code == 0, text
    found = json.loads(text)
    assert [one["status"] for one in found["trainings"]] == ["complete"] * 3
    assert found["variants"][2]["same_as"] == "baseline"
    first, second = (found["variants"][i]["measures"]["mae_mm@80"] for i in (0, 1))
    assert second["difference"]["mean"] == pytest.approx(second["mean"] - first["mean"])
    assert {folder.name: (folder / "training.json").stat().st_mtime_ns for folder in trainings.iterdir()} == times


def test_ablate_when_only_the_plan_is_asked_for_then_nothing_is_made(tiny_root, write_recipe, depthmill, tmp_path):
    path = write_recipe(tiny_root, train=SMALL, ablation={"variants": PAIR})
    code, text = depthmill("ablate", path, "--plan")
    assert code == 0, text
    assert "6 to do" in text
    assert [one["status"] for one in json.loads(depthmill("ablate", path, "--plan", "--json")[1])["trainings"]] == ["to do"] * 6
    assert not (tmp_path / "store" / "manifest").exists()
    assert not (tmp_path / "store" / "runs").exists()


def test_ablate_when_one_fails_then_the_others_go_on_and_the_table_says_so(recipe, depthmill, tmp_path):
    variants = {"baseline": {"data.batch_size": 5}, "+ slower": SLOWER}
    out = tmp_path / "table"
    code, text = depthmill("ablate", recipe(variants, seeds=[0]), "--no-prefect", "--out", out)
    assert code == 1, text
    assert "FAILED baseline, seed 0: split 'train' has 2 frames" in text
    table = (out / "table.md").read_text()
    assert "- baseline, seed 0: failed: split 'train' has 2 frames" in table
    assert [line.split("|")[-2].strip() for line in table.splitlines()[8:10]] == ["0 of 1", "1 of 1"]


def test_ablate_when_stopped_then_the_same_command_goes_on(recipe, depthmill, monkeypatch, tmp_path):
    from model.train import loop

    path, done = recipe(seeds=[0]), []

    def cut(*args, **kwargs):
        if done:
            raise KeyboardInterrupt
        done.append(whole(*args, **kwargs))

    whole = loop.evaluate_training
    monkeypatch.setattr(loop, "evaluate_training", cut)
    assert depthmill("ablate", path, "--no-prefect")[0] == 130  # as a shell says of Ctrl-C
    monkeypatch.setattr(loop, "evaluate_training", whole)
    ablation = ablation_of(path)
    assert [run.state for run in ablation.trainings] == ["complete", "begun"]
    assert "  1 of 1 |" in (ablation_folder(tmp_path) / "table.md").read_text()  # what was there is in the table already
    code, text = depthmill("ablate", path, "--no-prefect")
    assert code == 0, text
    assert "going on with 2 of 2: + slower, seed 0" in text
    assert "training 1 of 2" not in text
    assert [run.state for run in ablation.trainings] == ["complete", "complete"]


def test_folder_when_it_holds_another_table_then_is_refused_before_training(recipe, depthmill, tmp_path):
    (tmp_path / "table.md").write_text("# My thesis\n")
    code, text = depthmill("ablate", recipe(), "--no-prefect", "--out", tmp_path)
    assert (code, "table.md' is there and is not of an ablation, so it is not replaced. Choose another folder" in text) == (
        1,
        True,
    )
    assert (tmp_path / "table.md").read_text() == "# My thesis\n"


def test_ablate_when_units_fail_then_nothing_is_trained(tiny_root, write_recipe, depthmill, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(tiny_root, root)
    sorted((root / "sweeps/LIDAR_TOP").glob("tiny-scene-0103*"))[2].write_bytes(b"")
    path = write_recipe(root, train=SMALL, ablation={"variants": PAIR})
    code, text = depthmill("ablate", path, "--no-prefect", "--workers", 1)
    assert (code, "1 units failed, so nothing was trained. Fix what the newest folder in" in text) == (1, True)
    assert not (tmp_path / "store/runs/trainings").exists()


@pytest.mark.slow
def test_flow_when_a_training_fails_then_it_and_the_flow_end_failed_and_the_others_are_done(recipe):
    from flows.prefect.orchestrator import PrefectOrchestrator  # isort: skip
    from prefect.client.orchestration import get_client

    ablation = ablation_of(recipe(seeds=[0, 1]))
    done: list[tuple[str, str | None]] = []

    def train(run: Run) -> str | None:
        if run.title == "baseline, seed 0":
            return "no such unit"
        if run.title == "+ slower, seed 0":
            raise MemoryError("of the device")  # what ``train_variants`` cannot catch, Prefect does
        return None

    def on_done(title: str, error: str | None) -> None:
        done.append((title, error))
        write_ablation(ablation, results_of(ablation, {}))

    trainings = {run.title: partial(train, run) for run in ablation.trainings}
    series = Series(ablation.name, ablation.manifest, trainings, on_done, ablation.folder / TABLE_FILE)
    PrefectOrchestrator().train_series(series)
    assert [title for title, _ in done] == [run.title for run in ablation.trainings]
    assert [error is None for _, error in done] == [False, False, True, True]
    assert "of the device" in done[1][1]
    with get_client(sync_client=True) as client:
        run = next(run for run in client.read_flow_runs() if run.name == ablation.name)
        until = time.monotonic() + 20  # Prefect's server notes the states of tasks a little later
        while len(states := task_states(client, run.id)) < 4 and time.monotonic() < until:
            time.sleep(0.1)
    assert states == {one.title: "Failed" if one.seed == 0 else "Completed" for one in ablation.trainings}
    assert run.state.is_failed()
    assert run.state.message == "2 of 4 trainings failed: baseline, seed 0; + slower, seed 0"

    def full(title: str, error: str | None) -> None:
        raise DepthmillError("the disk is full")

    with pytest.raises(DepthmillError, match="the disk is full"):
        PrefectOrchestrator().train_series(
            replace(series, trainings={"one": partial(train, ablation.trainings[0])}, on_done=full)
        )


def task_states(client, flow_run_id) -> dict[str, str]:
    """States in which the tasks of a flow run ended."""
    return {
        one.name: one.state_name for one in client.read_task_runs() if one.flow_run_id == flow_run_id and one.state.is_final()
    }


@pytest.mark.slow
def test_ablate_when_run_by_prefect_then_the_same_table(recipe, depthmill, tmp_path):
    path = recipe({"baseline": {}}, seeds=[0])
    code, text = depthmill("ablate", path, "--prefect")
    assert code == 0, text
    folder = ablation_folder(tmp_path)
    table = (folder / "table.md").read_text()
    shutil.rmtree(tmp_path / "store/runs")
    assert depthmill("ablate", path, "--no-prefect")[0] == 0
    assert (folder / "table.md").read_text() == table


def ablation_folder(tmp_path: Path) -> Path:
    return next((tmp_path / "store/runs/ablations").iterdir())


def test_detector_when_ablated_on_a_tiny_set_then_the_table_is_there(depthmill, tmp_path):
    root = write_tiny_kitti(tmp_path / "kitti")
    network = {"dla_widths": [4, 4, 4, 4, 8, 8], "head_width": 4, "input_px": [32, 96], "max_objects": 8}
    train = {
        "family": "monoddle", "network": network, "max_steps": 1, "data": {"batch_size": 2, "mono": True},
        "evaluation": {"num_pictures": 0},
    }  # fmt: skip
    recipe = {
        "source": {"kind": "kitti_object", "root": str(root), "splits": ["train", "val"]},
        "store": str(tmp_path / "store"),
        "stages": {"predict_mono_depth": {"teacher": "plane_and_boxes"}, "align_mono_depth": {"method": "as_is", "sky": "none"}},
        "train": train,
        "ablation": {
            "seeds": [0],
            "variants": {"baseline": {}, "+ uncertainty": {"distill.form": "laplace", "network.uncertainty": True}},
        },
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    code, text = depthmill("ablate", path, "--no-prefect", "--workers", 1)
    assert code == 0, text
    assert "Car 3D@0.7 moderate [%]" in text
    assert "| + uncertainty |" in text
    assert "## Car 3D@0.5, AP_R40" in (ablation_folder(tmp_path) / "table.md").read_text()


def test_ready_recipe_when_read_then_is_the_published_ablation(tmp_path):
    path = REPOSITORY / "flows" / "recipes" / "kitti_ablation.yaml"
    weights = tmp_path / "dla34.pth"
    weights.touch()
    recipe = load_recipe(path, overrides=[f"train.imagenet_weights={weights}"])
    configs = {
        name: parse_train_config(laid_over(recipe.train, changes, where="r"), where="r")
        for name, changes in recipe.ablation.variants.items()
    }
    assert recipe.ablation.seeds == (0, 1, 2)
    assert {name: (one.distill.form, one.distill.weight, one.data.mono) for name, one in configs.items()} == {
        "baseline": ("none", 0.5, False),
        "+ depth": ("l1", 0.5, True),
        "+ uncertainty (gauss)": ("gauss", 0.5, True),
        "+ uncertainty (laplace)": ("laplace", 0.5, True),
    }
    for one in configs.values():
        assert (one.epochs, one.data.batch_size, one.schedule, one.keep, one.learning_rate) == (
            140,
            16,
            "compat",
            "last",
            1.25e-3,
        )
