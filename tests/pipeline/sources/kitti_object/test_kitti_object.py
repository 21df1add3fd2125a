from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from PIL import Image

from pipeline.plan import make_plan
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source
from pipeline.sources.raw_files import image_size
from storage_schemas.catalog import FRAMES
from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.layout import UnitData, check, rows
from storage_schemas.store import Store
from tests.tiny_kitti import projection_of, write_tiny_kitti


@pytest.fixture
def root(tmp_path):
    return write_tiny_kitti(tmp_path / "kitti")


def recipe_of(root, **changes):
    return parse_recipe({"source": {"kind": "kitti_object", "root": str(root), **changes}, "store": "unused"}, where="test")


def source_of(root, tmp_path, **changes):
    return open_source(recipe_of(root, **changes).source, tmp_path / "cache")


def test_scenes_when_cut_then_each_has_one_list_one_image_size_and_at_most_so_many_frames(root, tmp_path):
    reader = source_of(root, tmp_path, frames_per_scene=1).reader()
    found = {}
    for scene in source_of(root, tmp_path, frames_per_scene=1).scenes():
        keyframes = rows(reader.scene_tables(scene.name)["keyframes"])
        found[scene.name] = [row["sample_token"] for row in keyframes]
        assert {(row["width"], row["height"]) for row in keyframes} == {image_size(str(root / keyframes[0]["file"]))}
    assert found == {
        "train-124x38-0000": ["000000"],
        "train-124x38-0001": ["000002"],
        "train-122x37-0000": ["000001"],
        "train-122x37-0001": ["000003"],
        "val-124x38-0000": ["000004"],
        "val-122x37-0000": ["000005"],
    }
    assert [one.name for one in source_of(root, tmp_path).scenes()] == [
        "train-124x38-0000",
        "train-122x37-0000",
        "val-124x38-0000",
        "val-122x37-0000",
    ]


def test_index_when_made_then_calibration_is_p2_world_is_unknown_and_time_is_the_number(root, tmp_path):
    tables = source_of(root, tmp_path).reader().scene_tables("train-122x37-0000")
    check(FRAMES, UnitData(tables=tables), where="test")
    (first, _) = rows(tables["keyframes"])
    np.testing.assert_allclose(np.reshape(first["intrinsic_px"], (3, 3)), projection_of(122, 37)[:, :3], atol=1e-9)
    assert (first["camera"], first["sample_token"], first["timestamp_us"]) == ("CAM_2", "000001", 1)
    assert first["file"] == "training/image_2/000001.png"
    assert np.isnan(first["world_from_ego_translation_m"]).all()
    assert first["ego_from_cam_translation_m"] == [0.0, 0.0, 1.65]
    assert (tables["sweeps"]["file"], tables["boxes"]["category"]) == ([], [])
    assert tables["scene"]["split"] == ["train"]


def test_recipe_when_source_is_kitti_then_camera_and_last_frame_need_no_word(root):
    recipe = recipe_of(root)
    assert recipe.cameras == ("CAM_2",)
    assert recipe.stages.build_manifest.drop_last_keyframe is False
    with pytest.raises(
        RecipeError, match=r"source.kind is 'kitti', expected one of: nuscenes, synthetic, zju_4dradarcam, kitti_"
    ):
        parse_recipe({"source": {"kind": "kitti"}, "store": "x"}, where="test")
    with pytest.raises(RecipeError, match=r"unknown key 'source.split'; did you mean 'splits'\?"):
        recipe_of(root, split=["train"])


def test_root_when_one_level_lies_between_then_it_is_found_from_above_and_from_inside(tmp_path):
    root = write_tiny_kitti(tmp_path / "kitti", level="object")
    for given in (root, root / "object"):
        assert len(source_of(given, tmp_path).scenes()) == 4


def test_splits_when_testing_then_its_frames_are_apart_from_training_frames_of_the_same_number(tmp_path):
    root = write_tiny_kitti(tmp_path / "kitti", frames={"train": 2, "test": 2})
    source = source_of(root, tmp_path, splits=["train", "test"])
    names = [scene.name for scene in source.scenes()]
    assert names == ["train-124x38-0000", "train-122x37-0000", "test-124x38-0000", "test-122x37-0000"]
    tables = source.reader().scene_tables("test-124x38-0000")
    assert (tables["keyframes"]["file"], tables["scene"]["split"]) == (["testing/image_2/000000.png"], ["test"])


def test_splits_when_trainval_then_counts_as_train_and_never_beside_its_halves(root, tmp_path):
    (root / "ImageSets" / "trainval.txt").write_text("\n".join(f"{k:06d}" for k in range(6)))
    source = source_of(root, tmp_path, splits=["trainval"])
    assert source.reader().scene_tables("trainval-124x38-0000")["scene"]["split"] == ["train"]
    with pytest.raises(
        SourceError, match=r"frame 000000 is in train.txt and in trainval.txt. .*\(trainval holds all of train and val\)"
    ):
        source_of(root, tmp_path, splits=["train", "trainval"]).scenes()


def test_digest_when_a_label_or_calibration_changes_then_only_that_scene_is_another(root, tmp_path):
    def digests():
        return {scene.name: scene.digest for scene in source_of(root, tmp_path).scenes()}

    before = digests()
    for file in ("training/label_2/000001.txt", "training/calib/000001.txt"):
        (root / file).write_bytes((root / file).read_bytes() + b"\n")
        after = digests()
        assert [name for name in before if before[name] != after[name]] == ["train-122x37-0000"]
        before = after


def test_reader_when_pickled_then_needs_the_lists_no_more(root, tmp_path):
    reader = pickle.loads(pickle.dumps(source_of(root, tmp_path).reader()))
    (root / "ImageSets" / "train.txt").unlink()
    assert reader.scene_tables("train-124x38-0000")["keyframes"]["sample_token"] == ["000000", "000002"]


def test_image_when_replaced_by_one_of_another_size_then_the_scene_says_so(root, tmp_path):
    reader = source_of(root, tmp_path).reader()
    Image.new("RGB", (50, 20)).save(root / "training/image_2/000002.png")
    with pytest.raises(
        SourceError, match=r"000002.png' is 50x20, it was 124x38 when the plan was made. Run the same command again"
    ):
        reader.scene_tables("train-124x38-0000")


def test_image_size_when_png_or_jpeg_then_that_of_pillow(tmp_path):
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (37, 11)).save(tmp_path / name)
        assert image_size(str(tmp_path / name)) == (37, 11)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(SourceError, match=r"b.png' cannot be read: .* Copy it again"):
        image_size(str(tmp_path / "b.png"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda root: (root / "ImageSets/train.txt").unlink(),
            r"train.txt' is missing; lists there: val. Put the benchmark's list",
        ),
        (lambda root: (root / "ImageSets/train.txt").write_text("\n"), r"train.txt' names no frame. Copy it again"),
        (
            lambda root: (root / "ImageSets/train.txt").write_text("000000\ncar.png\n"),
            r"1 of 2 images that train.txt names are not in '.*image_2': car.png. Unpack data_object_image_2.zip there",
        ),
        (lambda root: (root / "ImageSets/train.txt").write_text("000000\n000000\n"), r"train.txt names frame 000000 twice"),
        (
            lambda root: (root / "ImageSets/train.txt").write_text("\n".join(f"{k:06d}" for k in (0, 1, *range(11, 16)))),
            r"5 of 7 images that train.txt names are not in '.*image_2': 000011, 000012, 000013 and 2 more. Unpack data_object_image_2",
        ),
    ],
)
def test_lists_when_broken_then_the_error_names_file_and_line(root, tmp_path, spoil, words):
    spoil(root)
    with pytest.raises(SourceError, match=words):
        source_of(root, tmp_path).scenes()


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("ImageSets", r"ImageSets' is missing; expected train.txt, val.txt and test.txt"),
        ("training/label_2", r"label_2' is missing, which the list 'train' needs. Unpack data_object_label_2.zip there"),
        ("training/image_2", r"holds no training/image_2; folders there: ImageSets, training. Set source.root"),
    ],
)
def test_root_when_a_folder_is_missing_then_the_error_says_which_and_what_to_unpack(root, tmp_path, gone, words):
    (root / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match=words):
        source_of(root, tmp_path)


def test_root_when_it_does_not_exist_then_says_so(tmp_path):
    with pytest.raises(SourceError, match=re.escape(f"source root '{tmp_path / 'no'}' does not exist")):
        source_of(tmp_path / "no", tmp_path)


def test_points_when_there_then_the_index_has_a_sweep_a_frame_and_depth_is_given(tmp_path):
    root = write_tiny_kitti(tmp_path / "kitti", velodyne=True)
    (root / "training/velodyne/000002.bin").unlink()
    source = source_of(root, tmp_path)
    assert {scene.name: set(scene.offers) for scene in source.scenes()}["train-124x38-0000"] == {
        "provided:boxes",
        "provided:depth_single",
    }
    sweeps = rows(source.reader().scene_tables("train-124x38-0000")["sweeps"])
    assert [(row["file"], row["sample_index"]) for row in sweeps] == [("training/velodyne/000000.bin", 0)]
    (root / "training/velodyne/000000.bin").write_bytes(b"123")
    with pytest.raises(SourceError, match=r"000000.bin' has 3 bytes, expected a multiple of 16"):
        source.reader().read_points("training/velodyne/000000.bin")


@pytest.mark.real_data
def test_real_frames_when_listed_then_two_sizes_and_the_published_calibration(shared, tmp_path):
    source = source_of(shared / "data" / "kitti-object", tmp_path)
    assert [scene.name for scene in source.scenes()] == [
        "train-1224x370-0000",
        "train-1242x375-0000",
        "val-1242x375-0000",
        "val-1224x370-0000",
    ]
    first = rows(source.reader().scene_tables("train-1242x375-0000")["keyframes"])[0]
    assert (first["intrinsic_px"][0], first["intrinsic_px"][2], first["intrinsic_px"][4]) == (721.5377, 609.5593, 721.5377)


def rename_frames(root, names):
    """Give the frames of a tiny set, in number order, other names in every folder, and write them all into train.txt."""
    for folder in (root / "training").iterdir():
        for file in sorted(folder.iterdir()):
            file.rename(file.with_name(f"{names[int(file.stem)]}{file.suffix}"))
    (root / "ImageSets/train.txt").write_text("\n".join(names))


@pytest.mark.parametrize(
    ("names", "times"),
    [
        (["frame_0001", "frame_0002", "left.a", "x y"], [[0, 1], [0, 1]]),
        (["1616343528200", "1616343528100", "7", "8"], [[1616343528200, 7], [1616343528100, 8]]),
        (["7", "8", "0007", "9"], [[0, 1], [8, 9]]),  # two names of one number
    ],
)
def test_frames_when_named_otherwise_then_any_stem_is_a_name_and_times_stay_different(tmp_path, names, times):
    root = write_tiny_kitti(tmp_path / "kitti", frames={"train": 4})
    rename_frames(root, names)
    source = source_of(root, tmp_path, splits=["train"])
    tables = [source.reader().scene_tables(scene.name)["keyframes"] for scene in source.scenes()]
    assert [table["sample_token"] for table in tables] == [names[::2], names[1::2]]
    assert [table["timestamp_us"] for table in tables] == times
    assert len(source.reader().read_objects(f"training/image_2/{names[0]}.png").objects) == 4


@pytest.mark.parametrize(
    "entry", ["1", "01", "000001.png", "000001.jpg", "training/image_2/000001", "000001 1", "image_2\\000001.png"]
)
def test_list_when_a_name_is_nearly_one_then_asks_whether_it_was_meant(root, tmp_path, entry):
    (root / "ImageSets/train.txt").write_text(f"000000\n{entry}\n")
    with pytest.raises(SourceError, match=r"1 of 2 images that train.txt names .* Did you mean 000001\? Write names of images"):
        source_of(root, tmp_path).scenes()


def spoil_labels(root, frame, change):
    path = root / f"training/label_2/{frame}.txt"
    path.write_text("\n".join(change(line) for line in path.read_text().splitlines()) + "\n")


def without_alpha(line):
    words = line.split()
    return " ".join([*words[:3], "-10", *words[4:]])


def test_boxes_when_alpha_is_not_said_then_only_units_of_such_labels_are_others(root, tmp_path):
    def offers():
        return {scene.name: scene.offers["provided:boxes"] for scene in source_of(root, tmp_path).scenes()}

    before = offers()
    assert set(before.values()) == {""}
    spoil_labels(root, "000001", without_alpha)
    assert [name for name, digest in offers().items() if digest] == ["train-122x37-0000"]
    reader = source_of(root, tmp_path).reader()
    for row in reader.read_objects("training/image_2/000001.png").objects[:-1]:
        bearing = np.arctan2(row["x_m"], row["z_m"])
        assert np.cos(row["alpha_rad"] + bearing - row["rotation_y_rad"]) == pytest.approx(1)


def test_plan_when_labels_lack_alpha_or_objects_then_says_so(root, tmp_path):
    def lines():
        recipe = recipe_of(root)
        return make_plan(recipe, open_source(recipe.source, tmp_path / "cache"), Store(str(tmp_path / "store"))).warnings()

    assert lines() == []
    spoil_labels(root, "000001", without_alpha)
    (line,) = lines()
    assert line.startswith("train-122x37-0000: objects say no observation angle (alpha -10), so it is computed from rotation_y")
    for frame in range(4):
        path = root / f"training/label_2/{frame:06d}.txt"
        path.write_text(path.read_text().splitlines()[-1])
    (line,) = lines()
    assert line.startswith(
        "train-124x38-0000, train-122x37-0000: no object is annotated in split train, only DontCare or nothing"
    )


def test_types_when_mapped_then_labels_are_read_by_them_and_boxes_are_made_anew(root, tmp_path):
    spoil_labels(root, "000000", lambda line: line.replace("Car ", "PassengerCar "))
    with pytest.raises(SourceError, match=r"type 'PassengerCar' is unknown; .* source.types: \{PassengerCar: "):
        source_of(root, tmp_path).reader().read_objects("training/image_2/000000.png")
    source = source_of(root, tmp_path, types={"passengercar": "car"})
    assert source.reader().read_objects("training/image_2/000000.png").objects[0]["category"] == "Car"
    assert all(scene.offers["provided:boxes"] for scene in source.scenes())
    with pytest.raises(
        RecipeError, match=r"source.types: 'Bus' is made a 'Trck', which is no type of KITTI; did you mean 'Truck'"
    ):
        recipe_of(root, types={"Bus": "Trck"})


def test_sweep_when_its_turn_bends_then_the_error_names_the_key(tmp_path):
    root = write_tiny_kitti(tmp_path / "kitti", velodyne=True)
    path = root / "training/calib/000000.txt"
    path.write_text(path.read_text().replace("R0_rect: 9.999", "R0_rect: 5.999"))
    with pytest.raises(SourceError, match=r"000000.txt' key R0_rect: its first three columns are no rotation"):
        source_of(root, tmp_path).reader().scene_tables("train-124x38-0000")


@pytest.mark.real_data
def test_real_labels_when_alpha_is_computed_then_it_is_the_annotated_one(shared, tmp_path):
    reader = source_of(shared / "data" / "kitti-object", tmp_path).reader()
    from storage_schemas.kitti_text import parse_labels

    worst = []
    for path in sorted((shared / "data/kitti-object/training/label_2").glob("*.txt")):
        said = [row for row in reader.read_objects(f"training/image_2/{path.stem}.png").objects if row["category"] != "DontCare"]
        lines = [without_alpha(line) for line in path.read_text().splitlines() if not line.startswith("DontCare")]
        computed = parse_labels("\n".join(lines).encode(), where="test")
        worst += [abs(np.angle(np.exp(1j * (a["alpha_rad"] - b["alpha_rad"])))) for a, b in zip(said, computed, strict=True)]
    assert (len(worst), max(worst) < 0.02) == (40, True)  # both numbers of a line have two decimals


def test_points_when_the_file_has_three_columns_then_no_point_is_made_of_them(tmp_path):
    root = write_tiny_kitti(tmp_path / "raw", velodyne=True)
    path = sorted((root / "training/velodyne").iterdir())[0]
    points = np.fromfile(path, "<f4").reshape(-1, 4)
    points = points[: len(points) // 4 * 4]  # of twelve bytes each, they fill whole points of sixteen
    path.write_bytes(points[:, :3].tobytes())
    reader = source_of(root, tmp_path).reader()
    with pytest.raises(SourceError, match="column 3, the reflectance, goes down to -.*another number of columns than 4"):
        reader.read_points(f"training/velodyne/{path.name}")


def test_sweep_when_cut_at_a_whole_point_then_the_scene_names_it(tmp_path):
    root = write_tiny_kitti(tmp_path / "raw", frames={"train": 4}, sizes=((124, 38),), velodyne=True)
    path = sorted((root / "training/velodyne").iterdir())[1]
    path.write_bytes(path.read_bytes()[:16])
    source = source_of(root, tmp_path, splits=["train"])
    with pytest.raises(
        SourceError, match=f"{path.name}' has 16 bytes, half of the other sweeps have .* or more. It is cut short"
    ):
        source.reader().scene_tables(source.scenes()[0].name)


def test_projection_when_its_centre_is_far_outside_the_image_then_the_scene_names_it(root, tmp_path):
    path = root / "training/calib/000000.txt"
    projection = projection_of(124, 38)
    projection[0, 2] = 60000.0
    rest = [line for line in path.read_text().splitlines() if not line.startswith("P2:")]
    path.write_text("\n".join([f"P2: {' '.join(map(str, projection.ravel()))}", *rest]))
    with pytest.raises(SourceError, match="calib/000000.txt': cx of the projection is 60000, and its image is 124x38 pixels"):
        source_of(root, tmp_path).reader().scene_tables("train-124x38-0000")
