"""A source that another package brings is used as if it stood in this repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.conftest import REPOSITORY

TOY = REPOSITORY / "tests" / "plug_ins" / "toy_source"


@pytest.fixture
def drives(tmp_path):
    """Two toy drives of three images with depth maps."""
    root = tmp_path / "drives"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (32, 24), (50 * number, 0, 0)).save(root / name / f"{number}.image.png")
            Image.fromarray(np.full((24, 32), 256 * (number + 1), np.uint16)).save(root / name / f"{number}.depth.png")
    (root / "toy.txt").write_text("a\nb\n")
    return root


@pytest.fixture
def depthmill_with(depthmill_process):
    """Run the command line in a process that finds the packages of a folder."""

    def run(folder, *args):
        path = os.pathsep.join([str(REPOSITORY), str(folder)])
        done = depthmill_process(*args, env={**os.environ, "PYTHONPATH": path})
        return done.returncode, done.stdout + done.stderr

    return run


def run_with(folder, program: str) -> str:
    """Run a Python program that finds the packages of a folder; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(folder)])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def findings_with(folder) -> list[list[object]]:
    """Return what the doctor says of plug-ins, without the rest of it, which takes seconds."""
    return json.loads(run_with(folder, "import json; from flows.doctor import _plug_ins; print(json.dumps(_plug_ins()))"))


def write_package(folder, name: str, target: str, *, version: str = "1.0") -> None:
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(f"[depthmill.sources]\n{target}\n")


def test_plug_in_source_when_used_then_init_plan_and_run_know_it_and_units_name_its_package(drives, depthmill_with, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    code, text = depthmill_with(TOY, "init", drives, "--out", recipe)
    assert (code, text) == (0, f"toy drives: 2 drives\nwrote {recipe}\nNext: depthmill plan {recipe}\n")
    assert "(toy)" in recipe.read_text()
    assert yaml.safe_load(recipe.read_text())["source"] == {"kind": "toy", "root": str(drives)}

    code, text = depthmill_with(TOY, "run", recipe, "--no-prefect")
    assert code == 0, text
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "store").rglob("lineage.json"))]
    stages = sorted({record["identity"]["stage"] for record in records})
    assert stages == ["build_manifest", "index_frames", "pack_depth", "pack_images"]
    for record in records:
        made_from = record["identity"]["source"]
        assert (made_from or {}).get("package") == ("toy-drives" if record["identity"]["stage"] == "index_frames" else None)
        assert record["provenance"]["toy-drives"] == "0.3.0"

    code, text = depthmill_with(TOY, "plan", recipe, "--check")
    assert code == 0, text
    assert "nothing to do: all 7 units are up to date" in text


def test_plug_in_source_when_the_folder_is_unknown_or_a_version_is_asked_for_then_it_is_named_as_the_others(
    drives, depthmill_with, tmp_path
):
    (tmp_path / "none").mkdir()
    code, text = depthmill_with(TOY, "init", tmp_path / "none", "--out", tmp_path / "r.yaml")
    assert code == 2
    assert "with ImageSets/) or toy drives (toy.txt). The folder is empty" in text
    code, text = depthmill_with(TOY, "init", drives, "--out", tmp_path / "r.yaml", "--version", "v1.0-mini")
    assert (code, text) == (2, f"error: --version is of nuScenes-format data, '{drives}' is toy. Leave it out\n")


def test_plug_in_source_when_its_module_is_imported_first_then_it_is_in_the_list_all_the_same():
    program = (
        "import toy_drives; from pipeline.recipe import parse_recipe; from pipeline.sources import source_specs; "
        "parse_recipe({'source': {'kind': 'toy', 'root': 'r'}, 'store': 's'}, where='test'); print(list(source_specs())[-1])"
    )
    assert run_with(TOY, program) == "toy\n"


def test_doctor_when_there_are_plug_ins_then_lists_them_with_package_and_version(depthmill_with):
    code, text = depthmill_with(TOY, "doctor")
    assert code == 0, text
    assert "ok    plug-in toy            depthmill.sources, of package toy-drives 0.3.0" in text


def test_recipe_when_its_plug_in_is_broken_then_says_why_and_other_recipes_still_load(
    tiny_root, write_recipe, depthmill_with, tmp_path
):
    write_package(tmp_path / "site", "lost-drives", "lost = no_such_module_of_drives:SPEC")
    reason = (
        "plug-in 'lost' (depthmill.sources) of package lost-drives 1.0 cannot be loaded: ModuleNotFoundError: No module named "
        "'no_such_module_of_drives'. Repair the package, or remove it with pip uninstall lost-drives"
    )
    assert depthmill_with(tmp_path / "site", "plan", write_recipe(tiny_root))[0] == 0
    recipe = write_recipe(tiny_root, source={"kind": "lost"})
    assert depthmill_with(tmp_path / "site", "plan", recipe) == (
        2,
        f"error: recipe '{recipe}': source.kind is 'lost', but {reason}\n",
    )
    assert findings_with(tmp_path / "site") == [["plug-in lost", False, reason]]


@pytest.mark.parametrize(
    ("target", "about", "said"),
    [
        (
            "toy = json:JSONDecoder",
            "plug-in toy",
            "plug-in 'toy' (depthmill.sources) of package wrong-drives 1.0 cannot be used: json:JSONDecoder is type, expected a "
            "SourceSpec of the kind 'toy'",
        ),
        (
            "other = toy_drives:SPEC",
            "plug-in other",
            "plug-in 'other' (depthmill.sources) of package wrong-drives 1.0 cannot be used: toy_drives:SPEC is of the kind 'toy', "
            "expected a SourceSpec of the kind 'other'",
        ),
        (
            "nuscenes = toy_drives:SPEC",
            "plug-ins",
            "package wrong-drives brings 'nuscenes' (depthmill.sources), which is depthmill's own. Remove it with pip uninstall "
            "wrong-drives, or give it another name",
        ),
    ],
)
def test_doctor_when_a_plug_in_is_no_source_or_takes_a_name_then_says_so(tmp_path, target, about, said):
    write_package(tmp_path / "site", "wrong-drives", target)
    (tmp_path / "site" / "toy_drives.py").write_text((TOY / "toy_drives.py").read_text())
    assert findings_with(tmp_path / "site") == [[about, False, said]]
