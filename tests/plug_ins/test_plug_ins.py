"""A package outside the tree brings a source, a stage and a family, and every command works with them or refuses in their words."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import xarray
import yaml
from PIL import Image

from model.train.known_families import Families
from storage_schemas.plug_ins import PlugIn
from storage_schemas.store import Store, UnitPath
from tests.conftest import REPOSITORY

TOY = Path(__file__).parent / "depthmill_toy"
RUN_COMMANDS = Path(__file__).parent / "run_commands.py"
HEIGHT, WIDTH = 12, 20


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    text: str


def install(folder: Path, project: Path = TOY) -> Path:
    """Install a package into a folder as pip would: its modules, and the metadata that names its entry points."""
    with open(project / "pyproject.toml", "rb") as stream:
        about = tomllib.load(stream)["project"]
    name, version = about["name"], about["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    groups = (
        "\n".join([f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())])
        for group, entries in about["entry-points"].items()
    )
    (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n", encoding="utf-8")
    module = name.replace("-", "_")
    (folder / module).symlink_to(project / module)
    return folder


def run_in(folder: Path, installed: Path | None, *commands: tuple[object, ...]) -> list[Said]:
    """Run commands in a process of their own, which sees the installed package, or does not."""
    paths = [str(REPOSITORY), *([str(installed)] if installed is not None else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    arguments = json.dumps([[str(one) for one in command] for command in commands])
    done = subprocess.run(
        [sys.executable, str(RUN_COMMANDS), arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [Said(**said) for said in json.loads(done.stdout.splitlines()[-1])]


def write_toy_folders(root: Path) -> None:
    """Write two scenes of three frames, whose depth grows from row to row."""
    random = np.random.default_rng(0)
    for number, scene in enumerate(("alley", "bridge")):
        (root / scene).mkdir(parents=True)
        for frame in range(3):
            steps = np.tile(256 * np.arange(5, 5 + HEIGHT, dtype=np.uint16)[:, None], (1, WIDTH))
            steps[random.random(steps.shape) < 0.5] = 0
            time_us = 1_000_000 * number + 500_000 * frame
            Image.fromarray(random.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(root / scene / f"{time_us}.png")
            Image.fromarray(steps).save(root / scene / f"{time_us}.depth.png")
    (root / "toy.json").write_text(json.dumps({"alley": "train", "bridge": "val"}), encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed in."""
    return install(tmp_path_factory.mktemp("site-packages"))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Path:
    """A folder with toy data, and a recipe that init wrote and a person completed."""
    folder = tmp_path_factory.mktemp("work")
    write_toy_folders(folder / "drives")
    (said,) = run_in(folder, installed, ("init", "drives", "--out", "first.yaml"))
    assert said.code == 0, said.text
    recipe = yaml.safe_load((folder / "first.yaml").read_text(encoding="utf-8"))
    recipe["stages"] = {"measure_rows": {"min_pixels": 2}}
    recipe["train"] = {"family": "row_depth", "learning_rate": 0.1, "max_steps": 6}
    recipe["ablation"] = {"seeds": [0], "variants": {"slow": {"learning_rate": 0.01}, "fast": {"learning_rate": 0.1}}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def said(work: Path, installed: Path) -> Callable[[str], Said]:
    """What each command said, in the order in which a person would type them; all in one process."""
    bare = ("--no-prefect",)
    commands: dict[str, tuple[object, ...]] = {
        "doctor": ("doctor",),
        "plan": ("plan", "recipe.yaml", "--units"),
        "run": ("run", "recipe.yaml", *bare),
        "plan again": ("plan", "recipe.yaml", "--check"),
        "verify": ("verify", "recipe.yaml"),
        "report": ("report", "recipe.yaml", "--out", "store.html"),
        "train": ("train", "recipe.yaml", "--out", "training", *bare),
        "train again": ("train", "recipe.yaml", "--out", "training", *bare),
        "evaluate": ("evaluate", "training", "recipe.yaml", "--split", "train", "--out", "measured", "--json"),
        "evaluate with an option of depth": ("evaluate", "training", "recipe.yaml", "--target", "depth_single"),
        "compare": ("compare", "training", "measured"),
        "compare itself": ("compare", "training", "training", "--json"),
        "predict": ("predict", "training", "recipe.yaml", "--out", "predicted"),
        "ablate": ("ablate", "recipe.yaml", *bare),
        "retrain": ("retrain", "recipe.yaml", *bare),
        "prune": ("prune", "recipe.yaml", "--older-than", "0"),
        "typo in the family": ("train", "recipe.yaml", "--set", "train.family=row_dept", *bare),
        "typo in the stage": ("plan", "recipe.yaml", "--set", "stages.measure_row.min_pixels=2"),
        "typo in a key": ("train", "recipe.yaml", "--set", "train.network.start=3", *bare),
    }
    answers = dict(zip(commands, run_in(work, installed, *commands.values()), strict=True))
    return answers.__getitem__


def test_init_when_a_plug_in_knows_the_folder_then_it_writes_the_recipe(work: Path) -> None:
    text = (work / "first.yaml").read_text(encoding="utf-8")
    assert "kind: toy_folders" in text
    assert "2 scenes" in text


@pytest.mark.slow
def test_doctor_when_a_package_brings_plug_ins_then_each_is_listed(said: Callable[[str], Said]) -> None:
    for name in ("toy_folders", "measure_rows", "row_depth"):
        line = next(line for line in said("doctor").text.splitlines() if name in line)
        assert line.startswith("ok") and "depthmill-toy 1.2.0" in line


def test_plan_when_a_stage_is_brought_then_its_units_are_listed_with_the_reason(said: Callable[[str], Said]) -> None:
    assert said("plan").code == 0
    assert "row_depth/bridge/CAM_TOY/" in said("plan").text
    assert "measure_rows" in said("plan").text


def test_run_when_source_and_stage_are_brought_then_every_unit_is_made_and_up_to_date(said: Callable[[str], Said]) -> None:
    assert said("run").code == 0, said("run").text
    assert re.search(r"measure_rows +alley CAM_TOY +OK", said("run").text)
    assert said("plan again").code == 0, said("plan again").text
    assert said("verify").code == 0, said("verify").text


def test_unit_when_a_stage_is_brought_then_xarray_opens_it_and_its_lineage_names_the_package(
    work: Path, said: Callable[[str], Said]
) -> None:
    said("run")
    store = Store(work / "store")
    (name,) = store.files.names("row_depth/alley/CAM_TOY")
    opened = xarray.open_zarr(store.files.path(f"row_depth/alley/CAM_TOY/{name}"), consolidated=False)
    np.testing.assert_allclose(opened["median_m"][0], np.arange(5, 5 + HEIGHT), atol=0.01)
    lineage = store.lineage(UnitPath("row_depth", "alley", "CAM_TOY", name))
    assert lineage.identity.params["plug_in"] == "depthmill-toy"
    index = store.lineage(UnitPath("frames", "alley", "all", store.files.names("frames/alley/all")[0]))
    assert "depthmill-toy" in index.model_dump_json()


def test_report_when_a_store_is_brought_then_the_page_is_written(work: Path, said: Callable[[str], Said]) -> None:
    assert said("report").code == 0, said("report").text
    assert "alley" in (work / "store.html").read_text(encoding="utf-8")


def test_train_when_the_family_is_brought_then_table_report_and_record_are_there(work: Path, said: Callable[[str], Said]) -> None:
    assert said("train").code == 0, said("train").text
    assert "validation MAE" in said("train").text
    record = json.loads((work / "training" / "training.json").read_text(encoding="utf-8"))
    assert record["versions"]["depthmill-toy"] == "1.2.0"
    assert record["val_frames"] == 3
    assert "row_depth" in (work / "training" / "report.html").read_text(encoding="utf-8")
    assert "is complete" in said("train again").text


def test_training_when_the_family_is_brought_then_its_package_is_part_of_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOY))
    family = importlib.import_module("depthmill_toy.family").FAMILY
    entry = EntryPoint("row_depth", "depthmill_toy.family:FAMILY", "depthmill.families")
    brought = Families(
        [family], packages={"row_depth": PlugIn("depthmill.families", "row_depth", "depthmill-toy", "1.2.0", entry)}
    )
    config = brought.parse({"family": "row_depth"}, where="recipe.yaml")
    assert brought.training_name(config, "m") == config.fingerprint("m", package="depthmill-toy")
    assert brought.training_name(config, "m") != Families([family]).training_name(config, "m") == config.fingerprint("m")


def test_evaluate_when_the_family_is_brought_then_it_measures_the_split_asked_for(
    work: Path, said: Callable[[str], Said]
) -> None:
    assert said("evaluate").code == 0, said("evaluate").text
    found = json.loads(said("evaluate").text)
    assert [row["split"] for row in found["rows"]] == ["train"]
    assert "| split | mae_m |" in (work / "measured" / "table.md").read_text(encoding="utf-8")


def test_evaluate_when_an_option_is_of_depth_networks_then_refused_in_the_familys_words(said: Callable[[str], Said]) -> None:
    answer = said("evaluate with an option of depth")
    assert answer.code == 2
    assert "--target is of depth networks, and a row network has none: checkpoint 'training' is one. Leave it out" in answer.text


def test_compare_when_rows_are_of_the_same_split_then_their_difference(said: Callable[[str], Said]) -> None:
    (row,) = json.loads(said("compare itself").text)
    assert row["measure"] == "mae_m" and row["difference"] == 0 and row["row"] == "val"
    assert said("compare").code == 1
    assert "have no measure in common" in said("compare").text


def test_predict_when_the_family_has_nothing_to_predict_then_its_own_sentence(work: Path, said: Callable[[str], Said]) -> None:
    assert said("predict").code == 2
    assert "checkpoint 'training' knows rows only, and one picture of rows is like another" in said("predict").text
    assert not (work / "predicted").exists()


def test_ablate_when_the_family_is_brought_then_the_table_shows_its_measure(said: Callable[[str], Said]) -> None:
    assert said("ablate").code == 0, said("ablate").text
    assert "mae_m" in said("ablate").text
    assert "(1 of 1)" in said("ablate").text  # the faster one is better in the one seed


def test_retrain_when_the_family_has_no_champions_then_its_own_sentence(said: Callable[[str], Said]) -> None:
    assert said("retrain").code == 2
    assert "train.family is 'row_depth', and rows are not worth a champion" in said("retrain").text


def test_prune_when_a_manifest_names_the_brought_units_then_they_stay(said: Callable[[str], Said]) -> None:
    assert said("prune").code == 0, said("prune").text
    assert "row_depth/" not in said("prune").text


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("typo in the family", "train.family is 'row_dept'; did you mean 'row_depth'?"),
        ("typo in the stage", "unknown key 'stages.measure_row'; did you mean 'measure_rows'?"),
        ("typo in a key", "unknown key 'train.network.start'; did you mean 'start_m'?"),
    ],
)
def test_recipe_when_a_name_of_a_plug_in_is_misspelt_then_the_likely_one(
    said: Callable[[str], Said], command: str, text: str
) -> None:
    assert said(command).code == 2
    assert text in said(command).text


@pytest.mark.slow
def test_store_when_the_package_is_gone_then_it_is_read_and_what_is_missing_is_named(
    work: Path, said: Callable[[str], Said]
) -> None:
    said("train")
    inspect, plan, evaluate = run_in(
        work, None, ("inspect", "store"), ("plan", "recipe.yaml"), ("evaluate", "training", "store", "--split", "val")
    )
    assert inspect.code == 0, inspect.text
    assert plan.code == 2 and "toy_folders" in plan.text
    assert evaluate.code == 1 and "train.family is 'row_depth'; this depthmill knows semodepth, monoddle, mim4d" in evaluate.text


@pytest.mark.slow
def test_plug_in_when_broken_then_only_what_names_it_is_refused(tmp_path: Path, work: Path) -> None:
    package = tmp_path / "broken" / "depthmill_broken"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import a_module_that_is_not_there\n", encoding="utf-8")
    (package.parent / "pyproject.toml").write_text(
        '[project]\nname = "depthmill-broken"\nversion = "0.1"\n'
        '[project.entry-points."depthmill.families"]\nlost = "depthmill_broken:FAMILY"\n'
        '[project.entry-points."depthmill.sources"]\nlost_drives = "depthmill_broken:SPEC"\n'
        '[project.entry-points."depthmill.stages"]\nlose_depth = "depthmill_broken:STAGE"\n',
        encoding="utf-8",
    )
    site = install(install(tmp_path / "site"), package.parent)
    doctor, plan, family, source, stage = run_in(
        work,
        site,
        ("doctor",),
        ("plan", "recipe.yaml"),
        ("train", "recipe.yaml", "--no-prefect", "--set", "train={family: lost}"),
        ("plan", "recipe.yaml", "--set", "source={kind: lost_drives}"),
        ("plan", "recipe.yaml", "--set", "stages.lose_depth={}"),
    )
    assert doctor.code == 1 and "FAIL" in next(line for line in doctor.text.splitlines() if "lose_depth" in line)
    assert plan.code == 0, plan.text
    for answer in (family, source, stage):
        assert answer.code == 2
        assert "of package depthmill-broken 0.1 cannot be loaded: ModuleNotFoundError" in answer.text


BAD_FAMILIES = {
    "not_one": ("FAMILY = {}", "it is {}, expected an instance of a class derived from Family"),
    "a_class": ("from depthmill_toy.family import RowFamily as FAMILY", "expected an instance of a class derived from Family"),
    "other": (
        "from depthmill_toy.family import FAMILY",
        "its family is called 'row_depth', expected 'other', the name of its entry point",
    ),
    "thief": (
        "from depthmill_toy.family import RowFamily\nclass Thief(RowFamily):\n    name = 'semodepth'\nFAMILY = Thief()",
        "its family is called 'semodepth', expected 'thief', the name of its entry point",
    ),
    "no_key": (
        "from depthmill_toy.family import RowFamily\nfrom model.train.config import CommonConfig\n"
        "class NoKey(RowFamily):\n    name = 'no_key'\n    config = CommonConfig\nFAMILY = NoKey()",
        "CommonConfig must have the key family: Literal['no_key'] with that default",
    ),
    "leaves": ("import sys\nsys.exit(0)", "cannot be loaded: SystemExit: 0"),
}


@pytest.mark.slow
def test_family_when_it_cannot_be_used_then_doctor_and_who_names_it_say_why_and_others_train(tmp_path: Path, work: Path) -> None:
    package = tmp_path / "bad" / "depthmill_bad"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    entries = []
    for name, (code, _) in BAD_FAMILIES.items():
        (package / f"{name}.py").write_text(code + "\n", encoding="utf-8")
        entries.append(f'{name} = "depthmill_bad.{name}:FAMILY"')
    (package.parent / "pyproject.toml").write_text(
        '[project]\nname = "depthmill-bad"\nversion = "3.0"\n[project.entry-points."depthmill.families"]\n'
        + "\n".join(entries)
        + "\n",
        encoding="utf-8",
    )
    site = install(install(tmp_path / "site"), package.parent)
    named = [("train", "recipe.yaml", "--no-prefect", "--set", f"train={{family: {name}}}") for name in BAD_FAMILIES]
    doctor, trained, *refused = run_in(
        work, site, ("doctor",), ("train", "recipe.yaml", "--no-prefect", "--out", "beside bad ones"), *named
    )
    assert trained.code == 0, trained.text
    for (name, (_, reason)), answer in zip(BAD_FAMILIES.items(), refused, strict=True):
        assert answer.code == 2, answer.text
        assert f"train.family is '{name}': plug-in '{name}' (depthmill.families) of package depthmill-bad 3.0" in answer.text
        assert reason in answer.text
        line = next(line for line in doctor.text.splitlines() if f"plug-in {name} " in line)
        assert line.startswith("FAIL") and reason in line
