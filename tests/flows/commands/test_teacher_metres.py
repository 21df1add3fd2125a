"""Maps of a teacher that are taken for metres, held against LiDAR or boxes of the same frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.hostile.attacks import command
from tests.tiny_kitti import write_tiny_kitti

BARE = ("--no-prefect", "--workers", 1, "--no-report")
NOT_METRES = "the teacher's maps are taken as metres, and LiDAR, boxes or clipping say that they are not"


def recipe_of(folder: Path, root: Path, teacher: dict[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    stages = {"predict_mono_depth": teacher, "align_mono_depth": {"method": "as_is", "sky": "none"}}
    content = {"source": {"kind": "kitti_object", "root": str(root)}, "store": str(folder / "store"), "stages": stages}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder / "recipe.yaml"


def changed_maps(maps: Path, out: Path, change) -> Path:
    """Copy maps with their depth (and sky, where the grid changes) changed."""
    (out / "training").mkdir(parents=True)
    for file in (maps / "training").glob("*.npz"):
        with np.load(file) as parts:
            depth = change(parts["depth"])
            sky = parts["sky"].T if depth.shape != parts["sky"].shape else parts["sky"]
            np.savez(out / "training" / file.name, depth=depth.astype(np.float32), sky=sky)
    return out


@pytest.fixture(scope="module", params=[False, True], ids=["boxes", "LiDAR"])
def sound(request, tmp_path_factory):
    """A tiny set, with or without LiDAR, the metres of its road and boxes as maps, and what measures them.

    Tests must not change it.
    """
    folder = tmp_path_factory.mktemp("sound")
    root = write_tiny_kitti(folder / "data", velodyne=request.param)
    recipe = recipe_of(folder / "sound", root, {"teacher": "plane_and_boxes", "short_side_px": 38})
    with pytest.MonkeyPatch.context() as patch:  # what conftest.py sets for each test begins after this
        patch.setenv("DEPTHMILL_CACHE_DIR", str(folder / "cache"))
        code, text = command("run", recipe, *BARE)
        assert code == 0 and NOT_METRES not in text, text
        assert command("export", recipe, "--layout", "da3_depth_results", "--out", folder / "maps")[0] == 0
    return root, folder / "maps", "LiDAR" if request.param else "boxes"


CHANGES = {
    "relative": lambda depth: depth / 40,
    "inverse": lambda depth: np.where(depth > 0, 1 / np.maximum(depth, 1e-3), 0),
    "millimetres": lambda depth: np.minimum(depth * 1000, 60000),
    "feet": lambda depth: depth * 3.28,
}


@pytest.mark.parametrize("kind", CHANGES)
def test_run_when_maps_are_no_metres_then_units_run_status_and_report_say_so(sound, depthmill, tmp_path, kind):
    root, maps, measured_by = sound
    maps = changed_maps(maps, tmp_path / kind, CHANGES[kind])
    recipe = recipe_of(tmp_path / "made", root, {"teacher": "depth_maps", "maps": str(maps)})
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0
    assert f"of the depth that {measured_by} say" in text and "WARNING: these are no metres. Relative, inverse or other" in text
    assert NOT_METRES in text
    assert NOT_METRES in depthmill("status", recipe)[1]


def test_run_when_maps_are_metres_then_their_ratio_is_said_and_nothing_is_wrong(sound, depthmill, tmp_path):
    root, maps, measured_by = sound
    holes = changed_maps(
        maps, tmp_path / "holes", lambda depth: np.where(np.arange(depth.size).reshape(depth.shape) % 9, depth, np.nan)
    )
    for name, folder in (("whole", maps), ("holes", holes)):
        code, text = depthmill("run", recipe_of(tmp_path / name, root, {"teacher": "depth_maps", "maps": str(folder)}), *BARE)
        assert code == 0 and NOT_METRES not in text and f"of the depth that {measured_by} say" in text
        assert ("NaN or infinite values taken as nothing predicted" in text) == (name == "holes")


def test_run_when_maps_are_turned_then_the_error_names_the_file_and_both_sizes(sound, depthmill, tmp_path):
    sound_root, maps, _ = sound
    root = shutil.copytree(sound_root, tmp_path / "data")
    turned = changed_maps(maps, root / "DA3_depth_results", lambda depth: depth.T)
    code, text = depthmill("run", recipe_of(tmp_path / "made", root, {"teacher": "depth_maps", "maps": str(turned)}), *BARE)
    assert code == 1
    assert "000000.npz' has 124 rows and 38 columns, the image 38 and 124: the map is turned. Write it again" in text
    code, text = depthmill("init", root, "--out", tmp_path / "new.yaml")
    assert code != 0 and "000000.npz' has 124 rows and 38 columns" in text and not (tmp_path / "new.yaml").exists()
