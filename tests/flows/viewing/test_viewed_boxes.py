"""Boxes of KITTI's files in the scene, and their edges in the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.reports.monoddle.box_lines import corners as corners_from_above
from flows.viewing.box_lines import EDGES, corners_of, seen_edges
from flows.viewing.kitti_boxes import boxes_of_camera
from flows.viewing.map_points import kept_share, thinned
from flows.viewing.predictions import Predictions
from flows.viewing.scene import ViewedScene
from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.layout import rows
from storage_schemas.manifest import open_manifest
from storage_schemas.public_files import encode_png
from storage_schemas.store import Store

BOX = {
    "category": "Car",
    "x_m": 2.0,
    "y_m": 1.5,
    "z_m": 12.0,
    "length_m": 4.0,
    "height_m": 1.6,
    "width_m": 1.8,
    "rotation_y_rad": 0.7,
}


@given(st.floats(-3, 3), st.floats(-20, 20), st.floats(2, 60))
def test_boxes_when_a_kitti_object_is_turned_then_its_corners_are_those_of_the_label(
    angle: float, x_m: float, z_m: float
) -> None:
    row = {**BOX, "rotation_y_rad": angle, "x_m": x_m, "z_m": z_m}
    projection = np.array([[700.0, 0, 600, 45], [0, 700, 180, 0.2], [0, 0, 1, 0.003]])
    boxes = boxes_of_camera([row], projection, np.eye(4))
    shift = np.linalg.solve(projection[:, :3], projection[:, 3])
    expected = corners_from_above(np.array([1.6, 1.8, 4.0]), np.array([x_m, 1.5, z_m]), angle) + shift
    found = corners_of(boxes, 0)
    distances = np.linalg.norm(found[:, None] - expected[None], axis=-1)
    assert np.allclose(distances.min(axis=1), 0, atol=1e-6) and len(set(distances.argmin(axis=1))) == 8


def test_boxes_when_an_object_has_no_place_then_it_is_left_out() -> None:
    nowhere = {**BOX, "z_m": -1000.0}
    assert len(boxes_of_camera([nowhere, {**BOX, "category": "DontCare"}], np.eye(3, 4), np.eye(4))) == 0


def test_edges_when_a_box_crosses_the_cameras_plane_then_lines_are_cut_there() -> None:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-2, 2)], float)
    seen = seen_edges(corners, np.diag([100.0, 100.0, 1.0]))
    assert len(EDGES) == 12 and len(seen) == 8  # the four edges of the face behind the camera are not seen
    assert all(np.isfinite(end).all() for line in seen for end in line)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0))
def test_thinning_when_a_map_lies_within_another_then_so_do_their_thinned_pixels(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    large = rng.random((40, 60)) < 0.8
    small = large & (rng.random((40, 60)) < 0.5)
    assert not (thinned(small, share) & ~thinned(large, share)).any()
    assert abs(thinned(large, share).sum() - share * large.sum()) < 0.12 * large.sum() + 5
    assert kept_share(100, 0) == kept_share(100, 100) == 1 and kept_share(400, 100) == 0.25


def test_scene_when_labels_are_kittis_then_boxes_are_those_of_each_camera(tiny_kitti_store: Path, tmp_path: Path) -> None:
    manifest = open_manifest(Store(tiny_kitti_store))
    name = manifest.rows()[0]["scene"]
    said: list[str] = []
    scene = ViewedScene(manifest, name, (), raw=None, warn=said.append)
    frames = [frame for key_frame in scene.key_frames() for frame in key_frame.cameras]
    unit = manifest.store.open_unit(manifest.unit_of(manifest.rows()[0], "boxes"))
    labels = [row for row in rows(unit.table("boxes")) if row["frame"] == 0 and row["category"] != "DontCare"]
    assert frames[0].objects is not None and len(frames[0].objects) == len(labels) > 0
    assert sorted(frames[0].objects.labels) == sorted(row["category"] for row in labels)

    row, frame = manifest.rows()[0], frames[0]
    data = tmp_path / "data"
    data.mkdir()
    line = "Car -1 -1 0.1 10 10 20 20 1.6 1.8 4 2 1.5 12 0.7"
    (data / f"{row['sample_token']}.txt").write_text(f"{line} 0.91\n{line} 0.01\n")
    found = Predictions(tmp_path).objects(row, scene.projection_px(frame), frame.scene_from_cam)
    assert found is not None and found.labels == ("Car 0.91",)  # the other one is below the least score
    (data / f"{row['sample_token']}.txt").write_text(line)
    with pytest.raises(SourceError, match="line 1 has 15 fields, expected 16: KITTI's and a score"):
        Predictions(tmp_path).objects(row, scene.projection_px(frame), frame.scene_from_cam)


def test_predictions_when_a_map_does_not_fit_its_image_then_it_is_refused(tmp_path: Path) -> None:
    row = {"frame_key": "scene-0061/CAM_FRONT/1", "width": 64, "height": 36, "sample_token": ""}
    file = tmp_path / "depth" / "scene-0061/CAM_FRONT/1.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(encode_png(np.ones((18, 32), np.uint16)))
    with pytest.raises(SourceError, match=r"1.png' is 32x18, and its image is 64x36. Predictions cover every pixel"):
        Predictions(tmp_path).depth(row)
    file.write_bytes(b"no picture")
    with pytest.raises(SourceError, match="Predict this split again"):
        Predictions(tmp_path).depth(row)


def test_predictions_when_the_folder_is_a_training_then_it_says_how_to_predict(tmp_path: Path) -> None:
    (tmp_path / "best.pt").touch()
    with pytest.raises(RecipeError, match="is a training; expected a folder of predictions. Make one with: "):
        Predictions(tmp_path)
