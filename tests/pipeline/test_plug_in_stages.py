"""Stages of a package outside the repository: made in one process where it is installed, looked at here, where it is not."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
import textwrap

import pytest
import yaml

from pipeline.inspect import describe
from pipeline.plan import make_plan
from pipeline.recipe import load_recipe
from pipeline.sources import open_source
from pipeline.verify import verify_units
from storage_schemas.dataset import open_dataset
from storage_schemas.errors import StoreError, UnknownLayoutError
from storage_schemas.manifest import diff, manifest_paths, open_manifest
from storage_schemas.prune import find_prunable
from storage_schemas.store import Store, UnitPath
from tests.conftest import REPOSITORY

CODE = """
import numpy as np
from pydantic import Field
from pipeline.stage import NoParams, StageParams, StageResult, StageSpec
from pipeline.stages.pack_truth import truth_file  # a plug-in may use what stands beside our own stages
from storage_schemas.catalog import DEPTH_SINGLE, FRAMES
from storage_schemas.layout import ArraySpec, ColumnSpec, StoreLayout, TableSpec, UnitData

HALVED = StoreLayout("depth_halved", version=1, description="Half of the depth of a single sweep",
                     arrays=DEPTH_SINGLE.arrays)
NOTES = StoreLayout("scene_notes", version=1, description="A note", per="scene", tables=(
    TableSpec("notes", (ColumnSpec("note", "string", "", "what was noted"),), "one row"),))

class Params(StageParams):
    divisor: int = Field(default=2, ge=1, description="depth is divided by this")

def halve(unit, p):
    arrays = unit.units["depth_single"].arrays
    return StageResult(UnitData({**arrays, "depth_m": arrays["depth_m"] // p.divisor}), {}, "halved")

def note(unit, p):
    return StageResult(UnitData(tables={"notes": {"note": [unit.scene]}}), {}, "noted")

HALVE = StageSpec("halve_depth", 1, (DEPTH_SINGLE,), HALVED, Params, halve)
NOTE = StageSpec("note_scene", 1, (FRAMES,), NOTES, NoParams, note)
WIDE = StageSpec("too_wide", 1, (DEPTH_SINGLE,), NOTES, NoParams, note)
RIVAL = StageSpec("rival_clean", 1, (DEPTH_SINGLE,), StoreLayout("depth_clean", 7, "not ours"), Params, halve)
"""

ENTRIES = """
[depthmill.stages]
halve_depth = toy_depth:HALVE
note_scene = toy_depth:NOTE
rival_clean = toy_depth:RIVAL
other_name = toy_depth:HALVE
too_wide = toy_depth:WIDE
broken_stage = toy_missing:STAGE
"""


def write_recipe(folder, name, tiny_root, stages):
    path = folder / f"{name}.yaml"
    source = {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"}
    path.write_text(yaml.safe_dump({"source": source, "store": str(folder / "store"), "stages": stages}))
    return path


@pytest.fixture(scope="module")
def toy(tmp_path_factory, tiny_root):
    """Recipes without and with the plug-in stages, both run where the package is installed, and a way to run more there."""
    folder = tmp_path_factory.mktemp("toy")
    info = folder / "site" / "toy_depth-1.2.dist-info"
    info.mkdir(parents=True)
    (folder / "site" / "toy_depth.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-depth\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    env = {**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{folder / 'site'}", "DEPTHMILL_CACHE_DIR": str(folder / "cache")}

    def installed(code, *args):
        command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=REPOSITORY, env=env)

    plain = write_recipe(folder, "plain", tiny_root, {})
    both = write_recipe(folder, "both", tiny_root, {"halve_depth": {"divisor": 4}, "note_scene": {}})
    found = installed(
        """
        import json, sys
        from flows.run.bare_loop import BareLoop
        from flows.run.making import make_units
        from flows.run.opening import open_recipe
        from flows.settings import Settings
        from pipeline.recipe import load_recipe
        from pipeline.stage_list import STAGES
        from pipeline.inspect import describe
        from flows.reports.store import write_report
        from pipeline.verify import all_units, verify_units
        from storage_schemas.dataset import open_dataset
        from storage_schemas.manifest import open_manifest

        facts = {"stages": [stage.name for stage in STAGES]}
        for name in sys.argv[1:]:
            opened = open_recipe(load_recipe(name), Settings(workers=1))
            plan = opened.plan()
            made = make_units(opened, BareLoop(), report=False)
            assert made.num_failed == 0, made.errors
            assert not opened.plan().to_do
            facts["plain" if "plain" in name else "both"] = plan.manifest.path.fingerprint
        manifest = open_manifest(opened.store)
        unit = manifest.unit_of(manifest.rows()[0], "depth_halved")
        facts |= {
            "verified": list(verify_units(opened.store, all_units(opened.store)).faults),
            "layouts": sorted({path.layout for path in all_units(opened.store)}),
            "variables": sorted(open_dataset(manifest).data_vars),
            "unit": describe(opened.store, unit.key).text,
            "store": describe(opened.store, None).text,
            "unknown": list(manifest.unknown_stores),
            "report": write_report(plan, opened.store, opened.runs.work / "report.html", title="toy").read_text(),
        }
        print(json.dumps(facts))
        """,
        plain, both,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return folder, json.loads(found.stdout.splitlines()[-1]), installed


def test_plug_in_stages_when_installed_then_stand_in_the_list_and_their_stores_are_known(toy):
    _, facts, _ = toy
    assert [name for name in facts["stages"] if name in ("halve_depth", "note_scene")] == ["halve_depth", "note_scene"]
    assert facts["stages"].index("project_lidar") < facts["stages"].index("halve_depth") < facts["stages"].index("build_manifest")
    assert not {"rival_clean", "other_name", "too_wide", "broken_stage"} & set(facts["stages"])
    assert facts["verified"] == [] and facts["unknown"] == []
    assert {"depth_halved", "scene_notes"} < set(facts["layouts"])
    assert "depth_halved_m" in facts["variables"]
    assert "made by halve_depth v1" in facts["unit"] and "'plug_in': 'toy-depth'" in facts["unit"]
    assert "Half of the depth of a single sweep" in facts["store"]
    assert "halve_depth" in facts["report"]


def test_recipe_when_it_names_no_plug_in_stage_then_its_manifest_is_the_same_with_the_package_and_without(toy):
    folder, facts, _ = toy
    recipe = load_recipe(folder / "plain.yaml")
    plan = make_plan(recipe, open_source(recipe.source, folder / "cache"), Store(folder / "store"))
    assert plan.to_do == () and plan.manifest.path.fingerprint == facts["plain"]
    assert open_manifest(Store(folder / "store"), facts["plain"]).stores == (
        "images", "depth_single", "depth_accumulated", "depth_clean", "depth_interpolated", "depth_mono", "depth_truth",
        "radar_points", "boxes", "windows",
    )  # fmt: skip


def test_unit_of_plug_in_stage_then_has_package_in_its_fingerprint_and_version_in_its_lineage_only(toy):
    store = Store(toy[0] / "store")
    manifest = open_manifest(store)
    record = store.lineage(manifest.unit_of(manifest.rows()[0], "depth_halved"))
    assert record.identity.params == {"divisor": 4, "plug_in": "toy-depth"}
    assert record.provenance["toy-depth"] == "1.2"
    ours = store.lineage(manifest.unit_of(manifest.rows()[0], "depth_single"))
    assert "plug_in" not in ours.identity.params and "toy-depth" not in ours.provenance


def test_manifest_with_pins_of_a_plug_in_when_not_installed_here_then_opens_keeps_and_names_them(toy):
    folder, facts, _ = toy
    store = Store(folder / "store")
    manifest, plain = open_manifest(store, facts["both"]), open_manifest(store, facts["plain"])
    assert manifest.unknown_stores == ("depth_halved", "scene_notes")
    assert describe(store, facts["both"]).data["unknown_stores"] == ["depth_halved", "scene_notes"]
    assert "unknown_stores" not in describe(store, facts["plain"]).data
    row = manifest.rows()[0]
    halved, note = manifest.unit_of(row, "depth_halved"), manifest.unit_of(row, "scene_notes")
    assert (halved.camera, note.camera) == (row["camera"], "all")
    assert store.has(halved) and store.has(note) and {halved, note} <= manifest.named_units()
    assert plain.unit_of(plain.rows()[0], "depth_halved") is None
    assert all("(depth_halved, scene_notes)" in line for line in diff(plain, manifest)["changed"])
    assert "depth_single_m" in open_dataset(manifest).data_vars
    assert {path.fingerprint for path in manifest_paths(store)} == {facts["plain"], facts["both"]}


def test_unit_of_plug_in_when_not_installed_here_then_says_which_package_and_is_neither_damaged_nor_pruned(toy):
    store = Store(toy[0] / "store")
    manifest = open_manifest(store)
    unit = manifest.unit_of(manifest.rows()[0], "depth_halved")
    with pytest.raises(UnknownLayoutError, match="stage 'halve_depth' of package toy-depth made it, which is not installed"):
        store.open_unit(unit)
    with pytest.raises(StoreError, match="package toy-depth"):
        describe(store, unit.key)
    verdict = verify_units(store, [unit])
    assert verdict.damaged == () and "toy-depth" in verdict.faults[0] and len(verdict.faults) == 1
    stray = UnitPath("depth_halved", "scene-0061", "CAM_FRONT", "0" * 16)
    for name in ("lineage.json", "zarr.json"):
        store.files.put(f"{stray.key}/{name}", store.files.get(f"{unit.key}/{name}"))
    assert stray not in find_prunable(store, older_than=datetime.timedelta(0)).units
    store.files.remove_tree(stray.key)


WRONG = [
    ({"halve_deph": {}}, "unknown key 'stages.halve_deph'; did you mean 'halve_depth'?"),
    ({"halve_depth": {"divsor": 3}}, "unknown key 'stages.halve_depth.divsor'; did you mean 'divisor'?"),
    ({"halve_depth": {"divisor": 0}}, "stages.halve_depth.divisor is 0: Input should be greater than or equal to 1"),
    ({"broken_stage": {}}, "unknown key 'stages.broken_stage'; plug-in 'broken_stage' (depthmill.stages) of package toy-depth 1.2 "
     "cannot be loaded: ModuleNotFoundError: No module named 'toy_missing'"),
    ({"rival_clean": {}}, "of package toy-depth 1.2 cannot be used: layout 'depth_clean' is another than the store of that name"),
    ({"too_wide": {}}, "cannot be used: it makes one unit a scene and reads 'depth_single', of which there is one a camera"),
    ({"other_name": {}}, "cannot be used: toy_depth:HALVE is a stage of the name 'halve_depth', expected 'other_name'"),
]  # fmt: skip


def test_doctor_when_plug_in_stages_are_installed_then_lists_each_as_usable_or_says_why_not(toy):
    found = toy[2]("import sys; sys.argv = ['depthmill', 'doctor']; from flows.cli import main; main()")
    assert found.returncode == 1
    assert "ok       plug-in halve_depth    depthmill.stages, of package toy-depth 1.2" in found.stdout
    assert (
        "FAIL     plug-in rival_clean    plug-in 'rival_clean' (depthmill.stages) of package toy-depth 1.2 cannot be used"
        in found.stdout
    )
    assert (
        "FAIL     plug-in broken_stage   plug-in 'broken_stage' (depthmill.stages) of package toy-depth 1.2 cannot be l"
        in found.stdout
    )


def test_recipe_when_it_names_a_plug_in_stage_wrongly_or_a_broken_one_then_says_why(toy, tmp_path, tiny_root):
    paths = [write_recipe(tmp_path, f"wrong-{number}", tiny_root, stages) for number, (stages, _) in enumerate(WRONG)]
    code = """
        import sys
        from pipeline.recipe import load_recipe
        from storage_schemas.errors import RecipeError

        for path in sys.argv[1:]:
            try:
                load_recipe(path)
                print("nothing is wrong")
            except RecipeError as error:
                print(error)
        """
    lines = toy[2](code, *paths).stdout.splitlines()
    assert len(lines) == len(WRONG)
    for line, (_, text) in zip(lines, WRONG, strict=True):
        assert text in line
