from __future__ import annotations

import numpy as np
import pytest
import yaml

from model.data.boxes_unit import boxes_of, open_boxes
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.stage import StageInput
from pipeline.stages import pack_boxes, pack_depth
from storage_schemas.errors import SourceError
from storage_schemas.kitti_text import LABEL_COLUMNS
from storage_schemas.layout import UnitData, check, rows
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.tiny_kitti import corners_of, projection_of, write_tiny_kitti

BARE = ("--no-prefect", "--workers", 1)


@pytest.fixture
def root(tmp_path):
    return write_tiny_kitti(tmp_path / "kitti", frames={"train": 4, "val": 2, "test": 2}, velodyne=True)


def unit_of(root, tmp_path, scene) -> StageInput:
    source = {"kind": "kitti_object", "root": str(root), "splits": ["train", "val", "test"]}
    reader = open_source(parse_recipe({"source": source, "store": "unused"}, where="test").source, tmp_path).reader()
    return StageInput(scene, "CAM_2", {"frames": UnitData(tables=reader.scene_tables(scene))}, reader)


def lines_of(root, number: int) -> list[list[str]]:
    return [line.split() for line in (root / f"training/label_2/{number:06d}.txt").read_text().splitlines()]


def test_boxes_when_packed_then_every_number_is_that_of_the_files(root, tmp_path):
    unit = unit_of(root, tmp_path, "train-124x38-0000")
    made = pack_boxes.kernel(unit, pack_boxes.Params())
    check(pack_boxes.STAGE.writes, made.data, where="test")
    found = rows(made.data.tables["boxes"])
    words = [(frame, line) for frame, number in enumerate((0, 2)) for line in lines_of(root, number)]
    assert [(row["frame"], row["category"], *(row[name] for name in LABEL_COLUMNS)) for row in found] == [
        (frame, line[0], *map(float, line[1:])) for frame, line in words
    ]
    calibration = rows(made.data.tables["calibration"])
    np.testing.assert_allclose(calibration[1]["projection_px"], projection_of(124, 38).ravel(), atol=1e-9)
    assert [row["is_annotated"] for row in calibration] == [True, True]
    assert made.message == "2 frames, 6 objects, 2 DontCare"
    assert unit.used_files == {f"training/{part}/{number:06d}.txt" for part in ("calib", "label_2") for number in (0, 2)}


def test_boxes_when_testing_then_there_are_projections_and_no_objects_are_known(root, tmp_path):
    made = pack_boxes.kernel(unit_of(root, tmp_path, "test-124x38-0000"), pack_boxes.Params())
    assert made.data.tables["boxes"]["frame"] == []
    assert made.data.tables["calibration"]["is_annotated"] == [False]
    assert "1 frames without labels" in made.message


def test_boxes_when_a_label_file_is_empty_then_the_image_has_no_objects(root, tmp_path):
    (root / "training/label_2/000000.txt").write_text("")
    made = pack_boxes.kernel(unit_of(root, tmp_path, "train-124x38-0000"), pack_boxes.Params())
    assert set(made.data.tables["boxes"]["frame"]) == {1}
    assert made.data.tables["calibration"]["is_annotated"] == [True, True]


def test_boxes_when_a_label_file_is_missing_then_says_which(root, tmp_path):
    (root / "training/label_2/000002.txt").unlink()
    with pytest.raises(SourceError, match=r"file missing: .*training/label_2/000002.txt"):
        pack_boxes.kernel(unit_of(root, tmp_path, "train-124x38-0000"), pack_boxes.Params())


def test_objects_when_read_from_the_unit_then_each_frame_has_its_own_in_the_order_of_its_file(root, tmp_path):
    made = pack_boxes.kernel(unit_of(root, tmp_path, "train-124x38-0000"), pack_boxes.Params())
    shuffled = {name: list(reversed(values)) for name, values in made.data.tables["boxes"].items()}
    for boxes, step in ((made.data.tables["boxes"], 1), (shuffled, -1)):
        unit = boxes_of({**made.data.tables, "boxes": boxes})
        for frame, number in enumerate((0, 2)):
            lines = lines_of(root, number)[::step]
            objects = unit.objects(frame)
            assert objects.category.tolist() == [line[0] for line in lines]
            columns = [objects.truncation, objects.occlusion, objects.alpha_rad, *objects.box_px.T, *objects.size_hwl_m.T]
            columns += [*objects.location_m.T, objects.rotation_y_rad]
            np.testing.assert_array_equal(np.stack(columns, axis=1), np.array([line[1:] for line in lines], float))
    assert (len(unit), unit.projections.shape, unit.projections.dtype) == (2, (2, 3, 4), np.float64)


def test_objects_when_a_unit_has_none_then_every_frame_is_empty(root, tmp_path):
    made = pack_boxes.kernel(unit_of(root, tmp_path, "test-124x38-0000"), pack_boxes.Params())
    unit = boxes_of(made.data.tables)
    assert (len(unit.objects(0)), unit.objects(0).box_px.shape, unit.is_annotated.tolist()) == (0, (0, 4), [False])


def test_run_when_the_set_is_whole_then_the_manifest_counts_objects_and_the_unit_opens(root, tmp_path, depthmill):
    source = {"kind": "kitti_object", "root": str(root), "splits": ["train", "val", "test"]}
    stages = {"predict_mono_depth": {"teacher": "plane_and_boxes", "short_side_px": 38}, "align_mono_depth": {"method": "as_is"}}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"source": source, "store": str(tmp_path / "store"), "stages": stages}))
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    manifest = open_manifest(Store(str(tmp_path / "store")))
    assert [(row["split"], row["num_boxes"]) for row in manifest.rows()] == [("train", 3)] * 4 + [("val", 3)] * 2 + [
        ("test", None)
    ] * 2
    row = next(iter(manifest.rows()))
    boxes = open_boxes(manifest.store.open_unit(manifest.unit_of(row, "boxes")))
    depth = manifest.store.open_unit(manifest.unit_of(row, "depth_mono")).array("depth_m", row["frame"]) / 256
    objects = boxes.objects(row["frame"])
    corners = corners_of(objects.size_hwl_m[0], objects.location_m[0], float(objects.rotation_y_rad[0]))
    left, top, right, bottom = objects.box_px[0]
    nearest = depth[round((top + bottom) / 2), round((left + right) / 2)]
    assert corners[:, 2].min() - 0.01 <= nearest <= corners[:, 2].max() + 0.01
    assert depthmill("plan", recipe, "--check")[0] == 0
    assert depthmill("verify", recipe)[0] == 0
    assert depthmill("report", recipe, "--out", tmp_path / "report.html")[0] == 0


def test_run_when_boxes_of_drives_are_asked_for_then_says_that_the_source_has_its_own(root, tmp_path, depthmill):
    recipe = {"source": {"kind": "kitti_object", "root": str(root)}, "store": str(tmp_path / "store")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "stages": {"project_boxes": {"enabled": True}}}))
    code, text = depthmill("run", tmp_path / "recipe.yaml", *BARE)
    assert code == 1
    assert (
        "the source knows no poses, so boxes of the world have no place in the image. Set stages.project_boxes.enabled to" in text
    )


def test_depth_when_sweeps_are_there_then_points_fall_where_p2_puts_them(root, tmp_path):
    (root / "training/velodyne/000002.bin").unlink()
    unit = unit_of(root, tmp_path, "train-124x38-0000")
    made = pack_depth.kernel(unit, pack_depth.Params())
    check(pack_depth.STAGE.writes, made.data, where="test")
    assert "1 without a sweep" in made.message
    assert unit.used_files == {"training/velodyne/000000.bin"}
    depth = made.data.arrays["depth_m"] / 256
    assert not depth[1].any()
    text = dict(line.split(": ") for line in (root / "training/calib/000000.txt").read_text().splitlines() if line)
    p2, r0, velo = (np.array(text[key].split(), float).reshape(3, -1) for key in ("P2", "R0_rect", "Tr_velo_to_cam"))
    points = np.fromfile(root / "training/velodyne/000000.bin", "<f4").reshape(-1, 4)[:, :3]
    in_label = np.c_[points, np.ones(len(points))] @ velo.T @ r0.T
    image = np.c_[in_label, np.ones(len(points))] @ p2.T
    column, row = (np.floor(image[:, k] / image[:, 2]).astype(int) for k in (0, 1))
    expected = np.full((38, 124), np.inf)
    inside = (image[:, 2] > 0) & (column >= 0) & (column < 124) & (row >= 0) & (row < 38)
    np.minimum.at(expected, (row[inside], column[inside]), image[inside, 2])
    is_both = (depth[0] > 0) & np.isfinite(expected)
    assert is_both.sum() > 0.97 * max((depth[0] > 0).sum(), np.isfinite(expected).sum())
    assert np.median(np.abs(depth[0] - np.where(np.isfinite(expected), expected, 0))[is_both]) < 0.01


@pytest.mark.real_data
def test_real_depth_when_projected_then_the_labelled_pedestrian_stands_where_lidar_measures_it(shared, tmp_path):
    source = {"kind": "kitti_object", "root": str(shared / "data" / "kitti-object")}
    reader = open_source(parse_recipe({"source": source, "store": "unused"}, where="test").source, tmp_path).reader()
    scene = "train-1224x370-0000"
    unit = StageInput(scene, "CAM_2", {"frames": UnitData(tables=reader.scene_tables(scene))}, reader)
    depth = pack_depth.kernel(unit, pack_depth.Params()).data.arrays["depth_m"][0] / 256
    objects = boxes_of(pack_boxes.kernel(unit, pack_boxes.Params()).data.tables).objects(0)
    assert objects.category.tolist() == ["Pedestrian"]
    left, top, right, bottom = objects.box_px[0].astype(int)
    on_body = depth[top + 40 : bottom - 60, (2 * left + right) // 3 : (left + 2 * right) // 3]
    assert np.median(on_body[on_body > 0]) == pytest.approx(8.41, abs=0.4)
