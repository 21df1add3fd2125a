from __future__ import annotations

import numpy as np
import pytest

import model.teachers.depth_anything_3 as learned
from pipeline.mono_depth import maps
from pipeline.mono_depth.maps import map_files, map_key, open_maps
from pipeline.mono_depth.model import MonoDepthError, MonoDepthInput
from pipeline.mono_depth.weights import maps_digest
from storage_schemas.errors import RecipeError

KITTI_P2_FX = {(375, 1242): 721.5377, (370, 1224): 707.0493, (374, 1238): 718.3351, (376, 1241): 718.856}


def frame_of(key: str = "s/CAM_2/0", focal: float = 721.5377, height: int = 375, width: int = 1242) -> MonoDepthInput:
    intrinsic = np.array([[focal, 0, 609.6], [0, focal, 172.9], [0, 0, 1]])
    return MonoDepthInput(key, height, width, intrinsic, np.eye(4), np.eye(4))


def save(file, **parts):
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **parts)


@pytest.mark.parametrize("focal_at", [maps.focal_at, learned.focal_at], ids=["maps", "depth_anything_3"])
@pytest.mark.parametrize(
    ("image", "focal", "factor"),
    [
        ((375, 1242), 721.5377, 0.982),
        ((370, 1224), 707.0493, 0.976),
        ((374, 1238), 718.3351, 0.980),
        ((376, 1241), 718.856, 0.977),
        ((900, 1600), 1266.417, 1.3215),
        ((900, 1600), 809.2, 0.844),
    ],
)
def test_focal_rule_when_of_kitti_and_nuscenes_then_the_published_factors(focal_at, image, focal, factor):
    resized = (280, 504) if image[1] == 1600 else (154, 504)
    assert focal_at(np.diag([focal, focal, 1.0]), image, resized) / 300 == pytest.approx(factor, abs=0.001)


@pytest.mark.parametrize(
    ("split", "token", "frame_key", "key"),
    [
        ("train", "000123", "train-1242x375-0000/CAM_2/123", "training/000123"),
        ("val", "000123", "val-1242x375-0000/CAM_2/123", "training/000123"),
        ("test", "000123", "test-1242x375-0000/CAM_2/123", "testing/000123"),
        ("", "a1b2", "scene-0061/CAM_FRONT/1600", "training/scene-0061_CAM_FRONT_1600"),
        ("train", "0001234", "../a b/CAM/1", "training/_a_b_CAM_1"),
    ],
)
def test_key_when_a_frame_has_a_kitti_number_then_that_and_else_a_name_safe_for_files(split, token, frame_key, key):
    assert map_key(split, token, frame_key) == key


def test_maps_when_opened_then_values_confidence_and_sky_are_those_of_the_files(tmp_path):
    rng = np.random.default_rng(0)
    depth, conf, sky = rng.uniform(2, 80, (7, 9)).astype(np.float32), rng.random((7, 9)), rng.random((7, 9)) > 0.5
    save(tmp_path / "000001.npz", depth=depth, conf=conf, sky=sky, intrinsics=np.eye(3))
    teacher = open_maps(str(tmp_path), {"s/CAM_2/0": "training/000001"}, scale="as_is", where="s")
    found = teacher.predict(frame_of())
    np.testing.assert_array_equal(found.value, depth)
    np.testing.assert_allclose(found.confidence, conf.astype(np.float32))
    np.testing.assert_array_equal(found.is_sky, sky)
    assert found.kind == "metric"
    assert teacher.provenance()["maps"] == "1"


def test_maps_when_made_for_300_pixels_then_metres_follow_the_focal_length_of_the_map(tmp_path):
    save(tmp_path / "training" / "000001.npz", depth=np.full((154, 504), 10.0, np.float32))
    teacher = open_maps(str(tmp_path), {"s/CAM_2/0": "training/000001"}, scale="focal_300", where="s")
    found = teacher.predict(frame_of())
    assert found.value.mean() == pytest.approx(9.82, abs=0.005)
    assert (found.confidence, found.is_sky) == (None, None)


def test_maps_when_some_are_missing_then_says_how_many_and_the_first(tmp_path):
    save(tmp_path / "000000.npz", depth=np.ones((2, 2), np.float32))
    keys = {f"s/CAM_2/{k}": f"training/{k:06d}" for k in range(6)}
    with pytest.raises(
        MonoDepthError,
        match=r"scene s: 5 of 6 depth maps are not in '.*': training/000001.npz, training/000002.npz, training/000003.npz and 2 "
        r"more \(or 000001.npz in the folder itself\). Make or copy them, or leave the frames out",
    ):
        open_maps(str(tmp_path), keys, scale="as_is", where="scene s")


def test_maps_when_of_testing_then_one_of_training_with_the_same_number_is_not_taken(tmp_path):
    save(tmp_path / "000000.npz", depth=np.ones((2, 2), np.float32))
    with pytest.raises(MonoDepthError, match=r"testing/000000.npz; maps of testing/ must lie in a folder of that name"):
        open_maps(str(tmp_path), {"s/CAM_2/0": "testing/000000"}, scale="as_is", where="s")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"deep": np.ones((2, 2))}, r"has no array 'depth' \(arrays: deep\), expected depth float32 \(rows, columns\)"),
        ({"depth": np.ones((1, 2, 2))}, r"has float64 \(1, 2, 2\), expected depth float32"),
        ({"depth": np.ones((2, 2), np.uint8)}, r"has uint8 \(2, 2\), expected depth float32"),
        ({"depth": np.array([{}], object)}, r"cannot be read: .* Copy or make it again"),
        (None, r"000000.npz' cannot be read: .* Copy or make it again"),
    ],
)
def test_map_when_it_is_none_then_the_error_names_the_file_and_what_it_has(tmp_path, parts, words):
    file = tmp_path / "000000.npz"
    if parts is None:
        file.write_bytes(b"PK no archive")
    else:
        save(file, **parts)
    teacher = open_maps(str(tmp_path), {"s/CAM_2/0": "training/000000"}, scale="as_is", where="s")
    with pytest.raises(MonoDepthError, match=words):
        teacher.predict(frame_of())


def test_digest_when_a_map_changes_or_is_renamed_then_changes_and_when_the_folder_moves_then_not(tmp_path):
    folder, cache = tmp_path / "maps", tmp_path / "cache"
    for half, number in (("training", 0), ("testing", 1)):
        save(folder / half / f"00000{number}.npz", depth=np.full((2, 2), number, np.float32))
    first = maps_digest(str(folder), cache)
    assert sorted(map_files(str(folder))) == ["testing/000001.npz", "training/000000.npz"]
    folder.rename(tmp_path / "moved")
    folder = tmp_path / "moved"
    assert maps_digest(str(folder), cache) == first
    save(folder / "testing" / "000001.npz", depth=np.full((3, 2), 7.0, np.float32))
    second = maps_digest(str(folder), cache)
    (folder / "testing/000001.npz").rename(folder / "testing/000002.npz")
    assert len({first, second, maps_digest(str(folder), cache)}) == 3


def test_folder_when_missing_or_without_maps_then_says_what_to_set(tmp_path):
    with pytest.raises(RecipeError, match=r"depth maps '.*no' do not exist. Set stages.predict_mono_depth.maps to the folder"):
        maps_digest(str(tmp_path / "no"), tmp_path)
    with pytest.raises(RecipeError, match=r"the folder holds no .npz file, neither itself nor in training/ or testing/"):
        maps_digest(str(tmp_path), tmp_path)


def test_map_when_it_has_nan_or_inf_then_nothing_is_predicted_there_and_it_is_counted(tmp_path):
    depth = np.full((2, 4), 9.0, np.float32)
    depth[0, 0], depth[1, 1], depth[1, 2] = np.nan, np.inf, -np.inf
    save(tmp_path / "000000.npz", depth=depth, conf=np.where(np.isnan(depth), np.nan, 1.0))
    made = open_maps(str(tmp_path), {"s/CAM_2/0": "training/000000"}, scale="as_is", where="s").predict(frame_of())
    assert made.num_not_finite == 3
    assert made.value.tolist() == [[0, 9, 9, 9], [9, 0, 0, 9]]
    assert np.isfinite(made.confidence).all()


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (
            np.ones((1, 2, 4), np.float32),
            r"000000.npz' has float32 \(1, 2, 4\), expected depth .* Save depth\[0\] in place of depth",
        ),
        (np.full((2, 4), 7e4, np.float32), r"000000.npz' says up to 70000, expected metres up to 65504"),
    ],
)
def test_map_when_it_cannot_be_metres_of_a_grid_then_the_error_names_the_file_and_what_to_write(tmp_path, depth, words):
    save(tmp_path / "000000.npz", depth=depth)
    with pytest.raises(MonoDepthError, match=words):
        open_maps(str(tmp_path), {"s/CAM_2/0": "training/000000"}, scale="as_is", where="s").predict(frame_of())


def test_maps_when_named_after_their_images_then_they_are_found(tmp_path):
    keys = {f"s/CAM_2/{number}": f"training/train-124x38-0000_CAM_2_{number}" for number in range(2)}
    images = {"s/CAM_2/0": "training/image_2/frame_0001.png", "s/CAM_2/1": "training/image_2/left.a.png"}
    (tmp_path / "training").mkdir()
    save(tmp_path / "training/frame_0001.npz", depth=np.ones((2, 2), np.float32))
    save(tmp_path / "left.a.npz", depth=np.ones((2, 2), np.float32))
    files = open_maps(str(tmp_path), keys, scale="as_is", where="s", images=images).files
    assert [file.name for file in files.values()] == ["frame_0001.npz", "left.a.npz"]
