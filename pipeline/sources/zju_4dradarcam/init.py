"""Look at a ZJU-4DRadarCam folder for ``depthmill init``: frames of each split and what they have; and the recipe lines for it.

Reads  <root>/{train,val,test}.txt, listings of image/, radar_png/, gt/, gt_interp/, the header of one image
Source docs/method/formats.md#zju-4dradarcam
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.sources.raw_files import image_size_in, num_files
from pipeline.sources.recipe_text import Line, plural, scalar
from pipeline.sources.zju_4dradarcam.lists import Split, read_scenes
from storage_schemas.errors import SourceError
from storage_schemas.remote_path import DataPath

FOLDERS = ("image", "radar_png", "gt", "gt_interp")
LISTS: tuple[Split, ...] = ("train", "val", "test")
FRAMES_A_SCENE = 50

PUBLISHED_BATCH = 12
PUBLISHED_ROWS = (240, 540)
PUBLISHED_SIZE = (1280, 720)
"""Width and height of the images that the published band of rows is made for."""


@dataclass(frozen=True)
class ZjuSurvey:
    """What a folder holds.

    Attributes:
        root: absolute data root.
        frames: list -> names in it; only lists that exist.
        num_scenes: runs of names that they are cut into.
        files: folder -> files in it; only folders that exist.
        image_size: width and height of one image, None without images.
    """

    root: DataPath
    frames: dict[Split, int]
    num_scenes: int
    files: dict[str, int]
    image_size: tuple[int, int] | None

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        frames = ", ".join(f"{count:,} {split}" for split, count in self.frames.items())
        return f"ZJU-4DRadarCam: {plural(sum(self.frames.values()), 'frame')} ({frames}) in {', '.join(self.files)}"

    def lines(self, store: str, about_store: str) -> list[Line]:
        """Return the keys of a recipe for what was found, each with why."""
        lists = ", ".join(f"{split}.txt names {count:,}" for split, count in self.frames.items())
        return [
            ("source:", ""),
            ("  kind: zju_4dradarcam", ""),
            (
                f"  root: {scalar(str(self.root))}",
                f"files: {', '.join(f'{name} {count:,}' for name, count in self.files.items())}",
            ),
            (f"  splits: {scalar(list(self.frames))}", lists),
            (f"  frames_per_scene: {FRAMES_A_SCENE}", f"a unit of work; gives {plural(self.num_scenes, 'scene')}"),
            ("", ""),
            (f"store: {scalar(store)}", about_store),
            ("", ""),
            ("stages:", "depth and radar maps come with the data, so that images are packed and maps are taken as they are"),
            ("  pack_images: {mode: bytes}", "or reference: the store then holds path, size and digest of an image only"),
            ("", ""),
            *_train_lines(self),
        ]


def recognise(root: DataPath) -> bool:
    """Say whether a folder has the layout: images, radar and at least one list of names."""
    return all((root / name).is_dir() for name in FOLDERS[:2]) and any((root / f"{name}.txt").is_file() for name in LISTS)


def survey(root: DataPath, version: str | None) -> ZjuSurvey:
    """Look at a folder of the layout; there are no versions of it.

    Raises:
        SourceError: a list names a frame wrongly or twice, or the folder has no image.
    """
    lists = [name for name in LISTS if (root / f"{name}.txt").is_file()]
    scenes = read_scenes(root, lists, frames_per_scene=FRAMES_A_SCENE)
    files = {name: num_files(root / name) for name in FOLDERS if (root / name).is_dir()}
    if not files["image"]:
        raise SourceError(f"'{root / 'image'}' holds no image. Unpack the images of the data set there")
    return ZjuSurvey(
        root=root,
        frames={split: sum(len(scene.frames) for scene in scenes if scene.split == split) for split in lists},
        num_scenes=len(scenes),
        files=files,
        image_size=image_size_in(root / "image"),
    )


def _train_lines(dataset: ZjuSurvey) -> list[Line]:
    num_train = dataset.frames.get("train", 0)
    if num_train < 1:
        return [("", "no group train: here: there is no train.txt")]
    size = "" if dataset.image_size is None else f"images are {dataset.image_size[0]}x{dataset.image_size[1]}"
    is_published = dataset.image_size == PUBLISHED_SIZE
    rows = f"rows: {scalar(list(PUBLISHED_ROWS))}, " if is_published else ""
    band = "rows 240 to 540 as published" if is_published else "the published rows 240 to 540 are of 1280x720: all rows are taken"
    dense = "depth_interpolated" if "gt_interp" in dataset.files else "depth_single"
    batch = min(PUBLISHED_BATCH, num_train)
    split = next((name for name in ("val", "test", "train") if dataset.frames.get(name)), "train")
    return [
        ("train:", "read by depthmill train only"),
        ("  network: {max_depth_m: 80}", "ceiling for this data set, as published"),
        (f"  data: {{{rows}dense_target: {dense}, batch_size: {batch}}}", "; ".join(filter(None, (size, band)))),
        (
            f"  evaluation: {{split: {split}, target: depth_single}}",
            "measured against gt; the table is of test: evaluate --split test",
        ),
        ("  epochs: 100", "published"),
        ("  ", "imagenet_weights: /data/resnet34-b627a593.pth would start from torchvision's weights, as published"),
    ]
