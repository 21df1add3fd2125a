from __future__ import annotations

import math
import pickle
import re

import pytest
from PIL import Image

from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.sources.zju_4dradarcam.lists import read_scenes, timestamps_of
from storage_schemas.catalog import FRAMES
from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.layout import UnitData, check, rows
from tests.tiny_zju import write_tiny_zju


@pytest.fixture
def root(tmp_path):
    return write_tiny_zju(tmp_path / "zju", frames={"train": 5, "val": 2, "test": 1}, height=24, width=32)


def source_of(root, tmp_path, **changes):
    recipe = parse_recipe({"source": {"kind": "zju_4dradarcam", "root": str(root), **changes}, "store": "unused"}, where="test")
    return open_source(recipe.source, tmp_path / "cache")


def names_of(root, **changes):
    scenes = read_scenes(
        root, changes.pop("splits", ("train", "val", "test")), frames_per_scene=changes.pop("frames_per_scene", 50)
    )
    return {scene.name: scene.frames for scene in scenes}


def test_lists_when_cut_into_scenes_then_runs_of_one_split_in_list_order(root):
    (root / "train.txt").write_text("9\n3\n\n7\n1\n5\n")
    assert names_of(root, frames_per_scene=2) == {
        "train-0000": ("9", "3"),
        "train-0001": ("7", "1"),
        "train-0002": ("5",),
        "val-0000": ("000105", "000106"),
        "test-0000": ("000107",),
    }
    assert list(names_of(root, splits=("test",))) == ["test-0000"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a", "a"),
        ("a.png", "a"),
        ("a.PNG", "a"),
        ("a.npy", "a"),
        ("  a  ", "a"),
        ("gt/a.png", "a"),
        ("/home/li/zju/data/image/a.png", "a"),
        ("data\\radar_png\\a.png", "a"),
        ("gt_interp_npy/a.npy", "a"),
        ("1677829783.949", "1677829783.949"),
        ("image/1677829783.949.png", "1677829783.949"),
        ("\ufeffa", "a"),
    ],
)
def test_line_when_it_names_a_frame_in_another_way_then_the_same_frame(root, line, name):
    (root / "train.txt").write_text(line + "\n", encoding="utf-8")
    assert names_of(root)["train-0000"] == (name,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b\n", "'{root}/train.txt', line 1 is 'a b', expected one frame: its name, with or without .png, without spaces"),
        ("a\n.png\n", "'{root}/train.txt', line 2 is '.png', expected one frame"),
        ("image/..\n", "line 1 is 'image/..', expected one frame"),
        (
            "drive1/a.png\n",
            "line 1 is 'drive1/a.png', a path through the folder 'drive1'; expected a bare name, or a path into one of",
        ),
        ("../a\n", "line 1 is '../a', a path through the folder '..'; expected a bare name"),
        ("a\nb\ngt/a.png\n", "frame 'a' is named twice: train.txt line 1 and train.txt line 3. Delete one of the two lines"),
        (
            "000106\n",
            "frame '000106' is in two splits: train.txt line 1 and val.txt line 2. What is trained on must not be measured on",
        ),
        ("\n \n", "list '{root}/train.txt' names no frame. Copy it again, or leave 'train' out of source.splits"),
    ],
)
def test_list_when_wrong_then_says_which_line_and_what_to_do(root, text, expected):
    (root / "train.txt").write_text(text)
    with pytest.raises(SourceError, match=re.escape(expected.format(root=root))):
        names_of(root)


def test_list_when_missing_or_no_text_then_says_so(root):
    (root / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match=r"val.txt' cannot be read: .*Expected UTF-8 text with one frame a line"):
        names_of(root)
    (root / "val.txt").unlink()
    with pytest.raises(
        SourceError, match=r"val.txt' is missing; .*Restore it, or leave 'val' out of source.splits in the recipe"
    ):
        names_of(root)
    assert "val-0000" not in names_of(root, splits=("train", "test"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1677829783.949", "1677829784.0493"], [1677829783949000, 1677829784049300]),
        (["1677829783949", "1677829784049"], [1677829783949000, 1677829784049000]),
        (["1677829783949123", "1677829784049456"], [1677829783949123, 1677829784049456]),
        (["1677829783949123456", "1677829784049456789"], [1677829783949123, 1677829784049456]),
        (["000123", "000121"], [123, 121]),
        (["night_12", "day_7"], [12, 7]),
        (["night_12", "day_12"], [0, 1]),  # the numbers are not unique
        (["1677829783949123456", "1677829783949123457"], [0, 1]),  # the same microsecond, and too long for a number
        (["a", "b7"], [0, 1]),
    ],
)
def test_time_stamp_when_the_name_is_a_time_or_a_number_then_that(names, expected):
    assert timestamps_of(names) == expected


def test_scene_when_indexed_then_fits_the_layout_and_says_what_is_not_known(root, tmp_path):
    source = source_of(root, tmp_path, frames_per_scene=3)
    scenes = source.scenes()
    assert [scene.name for scene in scenes] == ["train-0000", "train-0001", "val-0000", "test-0000"]
    assert scenes[0].channels == ("CAM_FRONT",)
    assert set(scenes[0].offers) == {"provided:depth_single", "provided:depth_interpolated", "provided:radar_points"}
    reader = pickle.loads(pickle.dumps(source.reader()))
    tables = reader.scene_tables("train-0001")
    check(FRAMES, UnitData(tables=tables), where="test")
    first, second = rows(tables["keyframes"])
    assert (first["sample_token"], first["file"], first["sample_index"], second["sample_index"]) == (
        "000103",
        "image/000103.png",
        0,
        1,
    )
    assert (first["height"], first["width"], first["timestamp_us"]) == (24, 32, 103)
    assert all(math.isnan(number) for number in (*first["intrinsic_px"], *first["world_from_ego_rotation_wxyz"]))
    assert len(first["intrinsic_px"]) == 9
    assert rows(tables["sweeps"]) == rows(tables["boxes"]) == []
    assert rows(tables["scene"]) == [
        {
            "scene": "train-0001",
            "split": "train",
            "description": "ZJU-4DRadarCam, frames 3 to 4 of train.txt",
            "is_night": False,
            "num_keyframes": 2,
        }
    ]


def test_camera_matrix_when_the_recipe_gives_it_then_is_stored_and_part_of_the_digest(root, tmp_path):
    matrix = [[1000.0, 0.0, 640.0], [0.0, 1000.0, 360.0], [0.0, 0.0, 1.0]]
    known, unknown = source_of(root, tmp_path, intrinsic_px=matrix), source_of(root, tmp_path)
    assert known.reader().scene_tables("val-0000")["keyframes"]["intrinsic_px"][0] == [number for row in matrix for number in row]
    assert known.scenes()[0].digest != unknown.scenes()[0].digest


def test_digest_when_a_frame_is_added_then_only_its_scene_and_those_after_change(root, tmp_path):
    before = source_of(root, tmp_path, frames_per_scene=3).scenes()
    with open(root / "train.txt", "a") as stream:
        stream.write("000108\n")
    after = source_of(root, tmp_path, frames_per_scene=3).scenes()
    assert [one.digest == other.digest for one, other in zip(before, after, strict=True)] == [True, False, True, True]


def test_list_when_changed_after_the_plan_then_the_scene_is_refused(root, tmp_path):
    source = source_of(root, tmp_path)
    source.scenes()
    reader = source.reader()
    (root / "train.txt").write_text("000104\n000103\n")
    with pytest.raises(SourceError, match=r"a list in .* \(train.txt, val.txt, test.txt\) has changed since the plan was made"):
        reader.scene_tables("train-0000")


def test_image_when_missing_broken_or_of_another_size_then_names_it(root, tmp_path):
    reader = source_of(root, tmp_path).reader()
    Image.new("RGB", (30, 24)).save(root / "image" / "000101.png")
    with pytest.raises(
        SourceError, match=r"image/000101.png' is 30x24, 'image/000100.png' of the same scene train-0000 is 32x24"
    ):
        reader.scene_tables("train-0000")
    (root / "image" / "000101.png").write_bytes(b"not an image")
    with pytest.raises(SourceError, match=r"image/000101.png' cannot be read: .*Copy it again"):
        reader.scene_tables("train-0000")
    (root / "image" / "000101.png").unlink()
    with pytest.raises(
        SourceError, match=r"file missing: .*image/000101.png, an image that train.txt names. Copy it, or delete its line"
    ):
        reader.scene_tables("train-0000")


def test_root_when_not_such_a_set_then_says_what_it_lacks(root, tmp_path):
    with pytest.raises(
        SourceError, match=r"source root '.*nowhere' does not exist. Set source.root in the recipe to the folder that"
    ):
        source_of(tmp_path / "nowhere", tmp_path)
    (root / "gt").rename(root / "ground_truth")
    with pytest.raises(
        SourceError, match=r"folder '.*gt' is missing; .*Folders there: ground_truth, gt_interp, image, radar_png"
    ):
        source_of(root, tmp_path)


def test_interpolated_maps_when_the_folder_is_not_there_then_are_not_given(root, tmp_path):
    (root / "gt_interp").rename(tmp_path / "elsewhere")
    assert set(source_of(root, tmp_path).scenes()[0].offers) == {"provided:depth_single", "provided:radar_points"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"splits": ["train", "train"]}, "source.splits is ['train', 'train']: each list once"),
        ({"splits": []}, "source.splits is []"),
        ({"frames_per_scene": 0}, "source.frames_per_scene is 0: Input should be greater than or equal to 1"),
        ({"intrinsic_px": [[0, 0, 1], [0, 1, 1], [0, 0, 1]]}, "expected [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels"),
        ({"intrinsics": 3}, "unknown key 'source.intrinsics'; did you mean 'intrinsic_px'?"),
    ],
)
def test_recipe_when_the_source_is_wrong_then_names_the_key(tmp_path, changes, expected):
    with pytest.raises(RecipeError, match=re.escape(expected)):
        parse_recipe({"source": {"kind": "zju_4dradarcam", "root": "/data", **changes}, "store": "unused"}, where="test")


def test_recipe_when_it_does_not_say_then_no_frame_is_left_out():
    def dropped(kind, **stages):
        data = {"source": {"kind": kind, "root": "/data"}, "store": "unused", "stages": stages}
        return parse_recipe(data, where="test").stages.build_manifest.drop_last_keyframe

    assert dropped("nuscenes") is True
    assert dropped("zju_4dradarcam") is False
    assert dropped("zju_4dradarcam", build_manifest={"drop_last_keyframe": True}) is True
