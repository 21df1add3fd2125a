"""Look at a KITTI object folder for ``depthmill init``: frames of each list and what they have; and the recipe lines for it.

Reads  <root>/ImageSets/*.txt, the heads of the images, the text files; listings of velodyne/ and DA3_depth_results/
Source docs/method/formats.md#kitti-layout, #da3-depth-results
"""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass

from pipeline.mono_depth.maps import check_a_map, map_files
from pipeline.sources.kitti_object.files import KittiObjectFiles, label_file
from pipeline.sources.kitti_object.lists import (
    FOLDER_OF_LIST,
    KittiList,
    KittiScene,
    data_folder,
    lists_folder,
    missing_lists_text,
    read_kitti_scenes,
)
from pipeline.sources.recipe_text import Line, plural, scalar
from storage_schemas.catalog import OBJECT_TYPES
from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.regular_files import MAX_TEXT_BYTES, read_regular
from storage_schemas.remote_path import DataPath, RemotePath

FRAMES_A_SCENE = 50
PUBLISHED_BATCH = 16

PUBLISHED_MAPS = "DA3_depth_results"
"""Folder of a teacher's depth maps, where the public code looks for it: beside ImageSets/."""


@dataclass(frozen=True)
class KittiSurvey:
    """What a folder holds.

    Attributes:
        root: absolute data root.
        frames: list -> frames in it; only lists that the recipe takes.
        num_scenes: runs of frames of one image size that they are cut into.
        sizes: width x height -> frames.
        num_sweeps: frames with a file in velodyne/.
        types: types of the label files that KITTI does not know -> which of KITTI's they are taken for.
        maps: folder of a teacher's depth maps, None without maps.
        num_maps: maps in it.
    """

    root: DataPath
    frames: dict[str, int]
    num_scenes: int
    sizes: dict[str, int]
    num_sweeps: int
    types: dict[str, str]
    maps: DataPath | None
    num_maps: int

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        frames = ", ".join(f"{count:,} {name}" for name, count in self.frames.items())
        return f"KITTI object: {plural(sum(self.frames.values()), 'frame')} ({frames}) of {plural(len(self.sizes), 'image size')}"

    def lines(self, store: str, about_store: str) -> list[Line]:
        """Return the keys of a recipe for what was found, each with why."""
        sizes = ", ".join(f"{size} ({count:,})" for size, count in self.sizes.items())
        lists = ", ".join(f"{name}.txt names {count:,}" for name, count in self.frames.items())
        return [
            ("source:", ""),
            ("  kind: kitti_object", ""),
            (f"  root: {scalar(str(self.root))}", f"images: {sizes}"),
            (f"  splits: {scalar(list(self.frames))}", lists),
            (
                f"  frames_per_scene: {FRAMES_A_SCENE}",
                f"a unit of work, of one image size; gives {plural(self.num_scenes, 'scene')}",
            ),
            *self._types_lines(),
            ("", ""),
            (f"store: {scalar(store)}", about_store),
            ("cameras: [CAM_2]", "the left colour camera, which the labels are of"),
            ("", ""),
            ("stages:", "labels and calibration come with the data: they are read once, strictly, and stored"),
            ("  pack_images: {mode: bytes}", "or reference: the store then holds path, size and digest of an image only"),
            *_teacher_lines(self),
            ("  ", _sweep_words(self)),
            ("", ""),
            *_train_lines(self),
        ]

    def _types_lines(self) -> list[Line]:
        if not self.types:
            return []
        return [(f"  types: {scalar(self.types)}", "types that KITTI does not know; correct which of KITTI's each is")]


def recognise(root: DataPath) -> bool:
    """Say whether a folder has the layout: training/ with images and calibration, or object/ with it; ``survey`` wants lists."""
    data = data_folder(root)
    return data is not None and any(data.glob("*/calib"))


def survey(root: DataPath, version: str | None) -> KittiSurvey:
    """Look at a folder of the layout; there are no versions of it.

    Raises:
        SourceError: no list can be used, a list names a frame wrongly or twice, images are missing, or labels or calibration
            are broken.
        MonoDepthError: a teacher's map is none.
    """
    data, lists = data_folder(root), lists_folder(root)
    if data is None:
        raise AssertionError("asked only about folders of the layout")
    if lists is None:
        raise SourceError(missing_lists_text(root))
    lists_here = [name for name in FOLDER_OF_LIST if (lists / f"{name}.txt").is_file()]
    names: list[KittiList] = []
    for name in ("train", "val", "trainval", "test"):
        is_covered = name == "trainval" and "train" in names  # trainval repeats the frames of the other lists
        if name in lists_here and not is_covered and (data / FOLDER_OF_LIST[name] / "image_2").is_dir():
            names.append(name)
    if not names:
        raise SourceError(
            f"'{lists}' has no list of images that are here (lists: {', '.join(lists_here) or 'none'}; expected train.txt, "
            "val.txt or test.txt). Put the benchmark's lists there (public detectors bring them along)"
        )
    scenes = read_kitti_scenes(data, lists, names, frames_per_scene=FRAMES_A_SCENE)
    types = _check_texts(data, scenes)
    frames: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for scene in scenes:
        frames[scene.name.split("-")[0]] += len(scene.frames)
        sizes[f"{scene.width}x{scene.height}"] += len(scene.frames)
    maps, num_maps = _maps_of(root)
    if maps is not None:
        check_a_map(str(maps), (scenes[0].height, scenes[0].width))
    num_sweeps = sum(sum(scene.has_sweep) for scene in scenes)
    return KittiSurvey(root, dict(frames), len(scenes), dict(sizes.most_common()), num_sweeps, types, maps, num_maps)


def _check_texts(data: DataPath, scenes: list[KittiScene]) -> dict[str, str]:
    """Read labels and calibration of every frame, so that what a run would stop at is known before there is a recipe.

    Returns:
        Types of the label files that KITTI does not know, and which of KITTI's their names look like; Misc if like none.
    """
    files = [(scene, file) for scene in scenes for file in scene.files]
    labels = [data / label for _, file in files if (label := label_file(file)) is not None]
    names = {
        line.split()[0]
        for path in labels
        for line in read_regular(path, most_bytes=MAX_TEXT_BYTES).decode("utf-8", "replace").splitlines()
        if line.strip()
    }
    types = {name: _likely_type(name) for name in sorted(names) if name.lower() not in map(str.lower, OBJECT_TYPES)}
    reader = KittiObjectFiles(data, {scene.name: scene for scene in scenes}, types)
    for scene in scenes:
        reader.scene_tables(scene.name)
        for file in scene.files:
            reader.read_objects(file)
    return types


def _likely_type(name: str) -> str:
    lower = name.lower()
    inside = [category for category in OBJECT_TYPES if category.lower() in lower]
    near = difflib.get_close_matches(lower, [category.lower() for category in OBJECT_TYPES], n=1, cutoff=0.75)
    return next((category for category in OBJECT_TYPES if category in inside or category.lower() in near), "Misc")


def _teacher_lines(dataset: KittiSurvey) -> list[Line]:
    if dataset.maps is None:
        return [
            (
                "  ",
                f"no {PUBLISHED_MAPS}/ here, so that there is no dense depth to distil from. A teacher gives it: "
                "predict_mono_depth: {teacher: depth_anything_3, weights: /data/DA3METRIC-LARGE}, and "
                "align_mono_depth: {method: as_is}",
            )
        ]
    return [
        (
            f"  predict_mono_depth: {{teacher: depth_maps, maps: {scalar(str(dataset.maps))}}}",
            f"{dataset.num_maps:,} maps for {sum(dataset.frames.values()):,} frames; maps_scale: focal_300 if DA3METRIC wrote "
            "them as they come out",
        ),
        ("  align_mono_depth: {method: as_is, sky: none}", "the maps are in metres; what is sky teaches nothing"),
    ]


def _sweep_words(dataset: KittiSurvey) -> str:
    if not dataset.num_sweeps:
        return "no velodyne/ here: there is no measured depth, which only pictures and depth metrics would use"
    return f"velodyne/ has the sweeps of {dataset.num_sweeps:,} frames: they become depth_single, for pictures and depth metrics"


def _train_lines(dataset: KittiSurvey) -> list[Line]:
    num_train = dataset.frames.get("train", dataset.frames.get("trainval", 0))
    if num_train < 1:
        return [("", "no group train: here: there is no train.txt")]
    batch = min(PUBLISHED_BATCH, num_train)
    fewer = "" if batch == PUBLISHED_BATCH else f"; published: {PUBLISHED_BATCH}, more than there are frames"
    split = "val" if dataset.frames.get("val") else "train"
    mono = ", mono: true" if dataset.maps is not None else ""
    lines: list[Line] = [
        ("train:", "read by depthmill train only"),
        ("  family: monoddle", "3D boxes from one image"),
        (f"  data: {{batch_size: {batch}{mono}}}", f"{plural(num_train, 'frame')} to train on{fewer}"),
    ]
    if dataset.maps is not None:
        lines.append(("  distill: {form: l1, weight: 0.5}", "as published; needs data.mono"))
    return [
        *lines,
        ("  epochs: 140", "published"),
        (f"  evaluation: {{split: {split}}}", "AP_R40 of Car"),
    ]


def _maps_of(root: DataPath) -> tuple[DataPath | None, int]:
    """Return the folder of a teacher's maps and their number, None without them; at a URL they are not looked for."""
    folder = root / PUBLISHED_MAPS
    if isinstance(folder, RemotePath):  # the stage that takes maps reads them from a disk
        return None, 0
    try:
        return folder, len(map_files(str(folder)))
    except RecipeError:
        return None, 0
