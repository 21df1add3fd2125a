"""What commit a7a46d7 made is found, read, measured and gone on with by the code of today, as if it had made it itself.

``former_code.py`` makes it: stores of every source, trainings of every family, an ablation, a round, an export and an import.
Then both codes answer the same commands on it, one after the other, and every exit code, text, table, figure and file is compared.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.compatibility.former_code import HERE, Former, make_with_former_code, python
from tests.compatibility.same import NEW_COORDINATES, differing, steady_answer, steady_folder, stored_values
from tests.compatibility.test_surface import planned_units, planning
from tests.compatibility.worlds import PLANNED, STORES, TRAINED
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

BARE = "--no-prefect"
CHECKPOINT_KEYS = [
    "format",
    "config",
    "manifest",
    "step",
    "model_state_dict",
    "optimizer",
    "loader",
    "best",
    "random",
    "provenance",
]


ROUNDS = ("retrain", "runs")
"""Commands whose answers differ by intent, see below."""


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Former:
    return make_with_former_code(tmp_path_factory.mktemp("former"))


@pytest.fixture(scope="module")
def answered(former: Former) -> dict[str, Any]:
    """The answers of both codes and the files that they wrote, by code."""
    found: dict[str, Any] = {}
    for name, code in (("former", former.code), ("today", REPOSITORY)):
        (former.folder / "out").mkdir()
        answers = former.ask(code, questions(former))
        found[name] = {
            "answers": answers,
            "files": steady_folder(former.folder / "out", without=("imported",)),
            "imported": stored_values(former.folder / "out" / "imported"),
        }
        shutil.move(former.folder / "out", former.folder / f"out-{name}")
    return found


@pytest.fixture(scope="module")
def trained(former: Former, answered: dict[str, Any]) -> dict[Path, str]:
    """What the code of today said when it trained, by folder: the trainings that were killed, and the same from the beginning."""
    folders = {
        former.folder / begun / family / former.training(family).name: former.recipes[family]
        for begun in ("killed", "never")
        for family in TRAINED
    }
    answers = former.ask(REPOSITORY, [["train", recipe, BARE, "--out", folder] for folder, recipe in folders.items()])
    assert {answer["code"] for answer in answers} == {0}, answers
    return {folder: answer["text"] for folder, answer in zip(folders, answers, strict=True)}


def questions(former: Former) -> list[list[Any]]:
    """Commands that read what is there, and write below ``out`` only."""
    recipes, out, simulated = former.recipes, former.folder / "out", former.store("simulated")
    semodepth, monoddle, mim4d = (former.training(family) for family in TRAINED)
    units = [sorted(kind.glob("*/*/*/lineage.json"))[0].parent for kind in sorted(simulated.iterdir()) if kind.name != "runs"]
    raw = former.folder / "raw"
    return [
        *([verb, recipes[name], *rest] for name in STORES for verb, *rest in (
            ["plan", "--check"], ["plan", "--check", "--json"], ["run", BARE, "--json"], ["status"], ["status", "--json"], ["verify"],
            ["verify", "--all", "--json"], ["inspect"], ["inspect", "--json"], ["report", "--out", out / f"{name}.html"],
        )),
        ["plan", recipes["simulated"], "--set", "stages.clean_horizon.near_m=25", "--check", "--units"],
        ["plan", recipes["simulated"], "--set", "stages.clean_horizn.near_m=25"],
        ["plan", former.folder / "nowhere.yaml"],
        *(["inspect", simulated, unit.relative_to(simulated)] for unit in units),
        *(["inspect", simulated, unit.relative_to(simulated), "--json"] for unit in units),
        ["prune", simulated, "--older-than", "0", "--json"],
        # what is complete is not trained again
        *([verb, recipes[family], BARE, *rest] for family in TRAINED for verb, *rest in (["train"], ["train", "--json"])),
        ["train", recipes["semodepth"], BARE, "--set", "train.netwrok.base_channels=8"],
        ["ablate", recipes["ablation"], BARE, "--plan"],
        ["ablate", recipes["ablation"], BARE, "--out", out / "ablation"],
        ["ablate", recipes["ablation"], BARE, "--json"],
        ["retrain", recipes["ablation"], BARE],
        ["retrain", recipes["mim4d"], BARE],
        ["runs", simulated, "--last", "1"],
        ["runs", simulated, "--last", "1", "--json"],
        # measured again, by folder and by file, on a recipe and on a store
        ["evaluate", semodepth, recipes["simulated"], "--split", "train", "--target", "depth_truth", "--out", out / "semodepth"],
        ["evaluate", semodepth / "best.pt", simulated, "--json", "--out", out / "semodepth-single"],
        ["evaluate", monoddle, recipes["kitti"], "--out", out / "monoddle"],
        ["evaluate", monoddle / "best.pt", former.store("kitti"), "--split", "train", "--json", "--out", out / "monoddle-train"],
        ["evaluate", mim4d, recipes["mim4d"], "--out", out / "mim4d"],
        ["evaluate", mim4d, recipes["mim4d"], "--split", "train", "--json", "--out", out / "mim4d-train"],
        ["evaluate", mim4d, recipes["mim4d"], "--max-depth", "80"],
        ["compare", semodepth, semodepth / "evaluation" / "without-mono"],
        ["compare", semodepth, semodepth / "evaluation" / "without-mono", "--metric", "rmse_mm", "--cap", "50", "--json"],
        ["compare", monoddle, out / "monoddle", "--json"],
        ["compare", mim4d, out / "mim4d"],
        ["compare", mim4d, out / "mim4d", "--json"],
        ["compare", mim4d, monoddle],
        ["predict", semodepth, recipes["simulated"], "--out", out / "predicted"],
        ["predict", monoddle, recipes["kitti"], "--split", "train", "--out", out / "objects"],
        ["predict", monoddle, raw / "kitti" / "training", "--no-pictures", "--json", "--out", out / "objects-of-files"],
        ["predict", mim4d, recipes["mim4d"], "--out", out / "nothing"],
        ["export", recipes["simulated"], "--out", out / "exported"],
        ["export", former.store("imported"), "--json", "--out", out / "exported-again"],
        ["export", recipes["kitti"], "--layout", "da3_depth_results", "--out", out / "maps"],
        ["import", former.folder / "exported", "--store", out / "imported", "--json"],
        *(["init", raw / name, "--out", out / f"{name}.yaml", "--store", former.store(name)] for name in ("nuscenes", "kitti", "zju")),
    ]  # fmt: skip


def test_plan_when_the_former_code_made_the_stores_then_nothing_is_to_do_and_all_is_whole(former, answered):
    recipes = {str(former.recipes[name]) for name in STORES}
    for command, words in (
        (["plan", "--check"], "nothing to do: all"),
        (["plan", "--check", "--json"], '"to_do": []'),
        (["run", BARE, "--json"], '"num_ok": 0'),
        (["verify"], "all whole"),
        (["verify", "--all", "--json"], '"faults": []'),
    ):
        found = [one for one in answered["today"]["answers"] if [one["command"][0], *one["command"][2:]] == command]
        assert {one["command"][1] for one in found} == recipes
        for one in found:
            assert (one["code"], words in one["text"]) == (0, True), one["text"]


def test_train_when_a_training_is_complete_then_found_under_its_name_and_not_trained_again(former, answered):
    for family in TRAINED:
        training = ["train", str(former.recipes[family])]
        said, told = (
            answer["text"] for answer in answered["today"]["answers"] if answer["command"][:2] == training and answer["code"] == 0
        )
        assert f"nothing to do: training {former.training(family).name} is complete" in said
        assert json.loads(told)["folder"] == str(former.training(family))
    rounds = [answer["text"] for answer in answered["today"]["answers"] if answer["command"][0] == "retrain"]
    assert rounds[0].startswith("nothing to do: all 127 units are up to date, and their training met the champion in round")
    plan = next(answer["text"] for answer in answered["today"]["answers"] if answer["command"][3:] == ["--plan"])
    assert "2 trainings on manifest" in plan and ": 2 complete" in plan


def test_answers_when_both_codes_are_asked_then_exit_codes_texts_and_json_are_the_same(answered):
    codes = [answer["code"] for answer in answered["former"]["answers"]]
    assert codes.count(0) > 80 and {1, 2, 3} <= set(codes) and -1 not in codes
    pairs = zip(answered["former"]["answers"], answered["today"]["answers"], strict=True)
    others = [pair for pair in pairs if steady_answer(pair[0]) != steady_answer(pair[1]) and pair[0]["command"][0] not in ROUNDS]
    assert others == []


def test_rounds_when_there_is_a_champion_of_the_former_code_then_its_line_has_it_and_other_families_have_their_own(
    former, answered
):
    """Every family has champions now, and there is one for each recipe and family: answers differ by intent."""
    said = [answer for answer in answered["today"]["answers"] if answer["command"][0] in ROUNDS]
    assert [answer["code"] for answer in said] == [0] * 4, said
    assert "promoted: its training was complete already; there was no champion" in said[1]["text"]
    assert f"champion of {former.recipes['ablation'].stem}.semodepth" in said[2]["text"]
    champions = json.loads(said[3]["text"])["champions"].values()
    assert "mae_mm" in {champion["metric"] for champion in champions}
    assert not (former.store("simulated") / "runs/champion.json").exists()


def test_files_when_both_codes_write_them_then_tables_figures_and_pictures_are_the_same(answered):
    before, after = answered["former"]["files"], answered["today"]["files"]
    assert len(before) > 400
    assert {Path(name).suffix for name in before} >= {".csv", ".md", ".html", ".png", ".jpg", ".parquet", ".npz"}
    assert differing(before, after) == []
    assert differing(answered["former"]["imported"], answered["today"]["imported"]) == []


@pytest.mark.parametrize("name", STORES)
def test_stores_when_made_anew_then_every_unit_has_the_name_and_the_values_that_it_had(former, name):
    again = former.folder / "again" / name
    (answer,) = former.ask(REPOSITORY, [["run", former.recipes[name], BARE, "--no-report", "--set", f"store={again}"]])
    assert answer["code"] == 0, answer["text"]
    before, after = stored_values(former.store(name)), stored_values(again)
    assert len(before) > 5
    assert differing(before, after) == []


@pytest.mark.parametrize("family", TRAINED)
@pytest.mark.parametrize("begun", ["killed", "never"])
def test_training_when_gone_on_with_or_begun_anew_then_ends_with_the_weights_and_tables_of_the_former_code(
    former, trained, family, begun
):
    complete = former.training(family)
    folder = former.folder / begun / family / complete.name
    assert f"{'going on with' if begun == 'killed' else 'training'} {folder}\n" in trained[folder]
    for name in ("best.pt", "last.pt"):
        before, after = (torch.load(one / name, weights_only=True) for one in (complete, folder))
        assert list(after) == list(before) == CHECKPOINT_KEYS
        assert json.loads(after["config"]) == json.loads(before["config"])
        assert set(json.loads(after["provenance"])) == set(json.loads(before["provenance"]))
        for key in CHECKPOINT_KEYS[:-1]:  # provenance has the commit and the host
            if key == "config":  # the same keys may be written in another order
                continue
            assert same_values(after[key], before[key]), key
    is_new = ("best.pt", "last.pt", "tensorboard", "written.json")
    before, after = (steady_folder(one, without=is_new) for one in (complete, folder))
    unfinished = [name for name in after if name.startswith(".last.pt")]  # left by the process that was killed
    assert len(unfinished) == (begun == "killed")
    assert len(before) > 5 and differing(before, {name: one for name, one in after.items() if name not in unfinished}) == []


def same_values(a: Any, b: Any) -> bool:
    """Say whether two nested values are equal, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same_values(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same_values, a, b))
    return bool(a == b)


def test_open_dataset_and_xarray_when_opening_the_stores_then_see_what_the_former_code_saw(former):
    stores = [former.store(name) for name in ("simulated", "zju", "nuscenes", "kitti", "imported")]
    before, after = (python(code, former.folder, HERE / "datasets.py", *stores) for code in (former.code, REPOSITORY))
    assert (before.returncode, after.returncode) == (0, 0), before.stderr + after.stderr
    found = json.loads(after.stdout)
    for opened in (opened for store in found.values() for opened in store.values()):
        for name in NEW_COORDINATES & opened.keys():
            del opened[name]
    assert found == json.loads(before.stdout)
    depth = {f"depth_{kind}_m" for kind in ("single", "accumulated", "clean", "interpolated", "mono", "truth")}
    assert {"image", "radar_m", *depth} <= found["simulated"]["open_dataset"].keys()
    assert sum(map(len, found.values())) > 25


def test_frozen_files_when_the_former_code_makes_them_again_then_are_the_same(former):
    process = python(former.code, former.folder, HERE / "surface.py", "names_a7a46d7")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == json.loads((HERE / "surface_of_a7a46d7.json").read_text())
    answers = former.ask(former.code, [planning(former.recipes[name], former.folder / "empty") for name in PLANNED])
    units = {name: planned_units(answer["text"]) for name, answer in zip(PLANNED, answers, strict=True)}
    assert units == json.loads((HERE / "units_of_a7a46d7.json").read_text())
