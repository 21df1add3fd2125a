"""Look at a nuScenes-format data root for ``depthmill init``: versions, scenes, cameras, radars; and the recipe lines for it.

Why    What to write follows from small tables and folder listings; with the index it is then found out whether a plan accepts it
Reads  <root>/v*/{scene,sample,sensor,calibrated_sensor,instance}.json, listings of samples/ and sweeps/, the header of one image
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.presets import keys_set_by
from pipeline.sources.nuscenes.json_tables import Record, read_table
from pipeline.sources.nuscenes.lidar_points import columns_to_tell
from pipeline.sources.nuscenes.named_files import NamedFiles, Size, files_on_disk
from pipeline.sources.nuscenes.schema import fault_in_tables
from pipeline.sources.nuscenes.splits import OFFICIAL_VERSIONS, splits_of_release
from pipeline.sources.raw_files import image_size_in, num_files
from pipeline.sources.recipe_text import Line, plural, scalar
from pipeline.splits import Split, SplitChoice, best_seed
from pipeline.stages import accumulate_lidar, clean_horizon
from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.remote_path import DataPath, file_size, folder_names

PREFERRED = ("v1.0-trainval", "v1.0-mini", "v1.0-test")
"""Versions by preference, if a root has several; any other comes after these."""

BYTES_A_KEYFRAME = 2e6
"""Bytes that a key frame and camera of 1600x900 takes in the store, measured on trainval's geometry (docs/operations).

Smaller images take less, but not in proportion: they hold as many returns of the scanner. The square root of the area lies
within a factor of 2.2 above what the demo (800x450, 0.9 MB) and the KITTI drive (397x120, 0.17 MB) take.
"""

PUBLISHED_BATCH = 12

LARGE_TABLE_BYTES = 200_000_000
"""A larger sample_data.json takes many seconds to read; trainval's has 1.3 GB."""

SHARE: dict[Split, float] = {"train": 0.8, "val": 0.2}
"""Shares of scenes that no list splits."""


@dataclass(frozen=True)
class NuScenesSurvey:
    """What a data root holds.

    Attributes:
        root: absolute data root.
        version: version folder that the recipe takes.
        others: other version folders.
        num_scenes: scenes that the recipe takes; by split in ``of_split``.
        of_split: train, val, test -> number of scenes of the split.
        only_scenes: the scenes that the recipe takes, where images of the others have another size; None = all.
        num_all_scenes: scenes of the version.
        splits: how the recipe splits scenes that no list splits; empty where the release does.
        num_night: scenes whose description says night.
        num_keyframes: their samples; those of the train split in ``num_train_keyframes``.
        cameras: camera channel -> image files on the disk.
        radars: radar channel -> key-frame files on the disk.
        lidars: LiDAR channel -> key-frame files on the disk.
        not_unpacked: channels that the tables name and the disk lacks.
        num_sweeps: LiDAR files between key frames on the disk.
        num_tracks: annotated objects.
        lidar_columns: float32 a point of the LiDAR files, where they are not the 5 of nuScenes.
        image_size: width and height of one image, None without images.
        has_truth: a simulated world with exact depth.
    """

    root: DataPath
    version: str
    others: tuple[str, ...]
    num_scenes: int
    of_split: dict[str, int]
    splits: SplitChoice
    only_scenes: tuple[str, ...] | None
    num_all_scenes: int
    num_night: int
    num_keyframes: int
    num_train_keyframes: int
    cameras: dict[str, int]
    radars: dict[str, int]
    lidars: dict[str, int]
    not_unpacked: tuple[str, ...]
    num_sweeps: int
    num_tracks: int
    lidar_columns: int | None
    image_size: tuple[int, int] | None
    has_truth: bool

    @property
    def camera(self) -> str:
        """The camera that the recipe takes: CAM_FRONT, as published, or else the first."""
        return _preferred(self.cameras, "CAM_FRONT")

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        return (
            f"nuScenes format, {self.version}: {plural(self.num_scenes, 'scene')} ({_split_words(self.of_split)}), "
            f"{plural(self.num_keyframes, 'key frame')}, {plural(len(self.cameras), 'camera')}, "
            f"{plural(len(self.radars), 'radar')}"
        )

    def lines(self, store: str, about_store: str) -> list[Line]:
        """Return the keys of a recipe for what was found, each with why."""
        return [
            *_source_lines(self),
            ("", ""),
            (f"store: {scalar(store)}", f"{about_store}; about {_gigabytes(self)} for one camera"),
            (f"cameras: {scalar([self.camera])}", f"with images here: {_counts(self.cameras)}{_size_words(self)}"),
            *self._scene_lines(),
            *([("preset: surface", _ABOUT_PRESET)] if self.lidars else []),
            ("", ""),
            *_stage_lines(self),
            ("", ""),
            *_train_lines(self),
        ]

    def _scene_lines(self) -> list[Line]:
        if self.only_scenes is None:
            return []
        others = plural(self.num_all_scenes - self.num_scenes, "scene")
        why = f"a training takes images of one size, most are these; {self.camera} is of another size in {others} more"
        return [(f"scenes: {scalar(list(self.only_scenes))}", why)]


def recognise(root: DataPath) -> bool:
    """Say whether a folder has a version folder with tables."""
    return bool(_versions(root))


def _versions(root: DataPath) -> tuple[str, ...]:
    """Return the version folders of a data root, preferred first; empty if it is no data root."""
    versions = {path.parent.name for path in root.glob("*/sample_data.json")}
    return (*(name for name in PREFERRED if name in versions), *sorted(versions.difference(PREFERRED)))


def survey(root: DataPath, version: str | None) -> NuScenesSurvey:
    """Look at a data root that has a version folder.

    Raises:
        RecipeError: the version does not exist.
        SourceError: a table is broken, or no camera has images.
    """
    versions = _versions(root)
    if version is not None and version not in versions:
        raise RecipeError(f"version '{version}' is not in '{root}'; versions there: {', '.join(versions)}. Choose one of them")
    try:
        return _survey(root, version or _fullest(root, versions), versions)
    except (KeyError, TypeError, AttributeError) as error:
        for name in (version,) if version else versions:
            if fault := fault_in_tables(root / name):
                raise fault from error
        raise SourceError(
            f"tables in '{root}' cannot be read ({type(error).__name__}: {error}); expected the nuScenes v1.0 schema. "
            "Unpack the metadata archive again"
        ) from error


def _survey(root: DataPath, chosen: str, versions: Sequence[str]) -> NuScenesSurvey:
    tables = root / chosen
    scenes, samples = read_table(tables, "scene"), read_table(tables, "sample")
    names = [scene["name"] for scene in scenes]
    given = splits_of_release(tables, names)
    channel_of, channels = _channels(tables)
    found = _files(root, tables, samples, channels, channel_of)
    cameras = _of_kind("camera", channels, found.keyframes)
    if not cameras:
        where = f"'{root}', where sample_data.json names them,"
        raise SourceError(
            f"{where} has images of no camera of {chosen} ({', '.join(sorted(channels))}). "
            "Unpack the sensor archives (the blobs) beside the metadata"
        )
    size, kept = _largest_size(found.scenes_of_size.get(_preferred(cameras, "CAM_FRONT"), {}), samples)
    scenes = [scene for scene in scenes if kept is None or scene["token"] in kept]
    samples = [sample for sample in samples if kept is None or sample["scene_token"] in kept]
    lidars = _of_kind("lidar", channels, found.keyframes)
    is_split = any(name in given for name in names)
    splits = SplitChoice() if is_split else _splits_for([scene["name"] for scene in scenes])
    of_scene = {scene["token"]: splits.split_of(scene["name"], of_source=given.get(scene["name"], "")) for scene in scenes}
    return NuScenesSurvey(
        root=root,
        version=chosen,
        others=tuple(name for name in versions if name != chosen),
        num_scenes=len(scenes),
        only_scenes=None if kept is None else tuple(scene["name"] for scene in scenes),
        num_all_scenes=len(names),
        of_split={name: sum(split == name for split in of_scene.values()) for name in ("train", "val", "test")},
        splits=splits,
        num_night=sum("night" in scene.get("description", "").lower() for scene in scenes),
        num_keyframes=len(samples),
        num_train_keyframes=sum(of_scene.get(sample["scene_token"]) == "train" for sample in samples),
        cameras=cameras,
        radars=_of_kind("radar", channels, found.keyframes),
        lidars={name: count for name, count in lidars.items() if kept is None or not kept.isdisjoint(found.scenes[name])},
        not_unpacked=tuple(name for name in channels if not found.keyframes.get(name)),
        num_sweeps=sum(found.sweeps[name] for name, kind in channels.items() if kind == "lidar"),
        num_tracks=len(read_table(tables, "instance")) if (tables / "instance.json").is_file() else 0,
        lidar_columns=_lidar_columns(root, lidars),
        image_size=size or image_size_in(root / "samples" / _preferred(cameras, "CAM_FRONT")),
        has_truth=(root / "truth").is_dir(),
    )


def _fullest(root: DataPath, versions: Sequence[str]) -> str:
    """Return the first version if it is complete, else the one with the most images of key frames; of equals the completest."""

    def fullness(version: str) -> tuple[int, float]:
        tables = root / version
        num_keyframes = len(read_table(tables, "sample"))
        channel_of, channels = _channels(tables)
        files = _files(root, tables, read_table(tables, "sample"), channels, channel_of).keyframes
        num_there = max((min(files[name], num_keyframes) for name, kind in channels.items() if kind == "camera"), default=0)
        return num_there, num_there / max(num_keyframes, 1)

    if len(versions) == 1 or fullness(versions[0])[1] >= 1:
        return versions[0]
    return max(versions, key=fullness)  # the first of equals


def _files(
    root: DataPath, tables: DataPath, samples: list[Record], channels: dict[str, str], channel_of: dict[str, str]
) -> NamedFiles:
    """Return the files that are there; of a release as large as trainval the folders of its channels are counted instead."""
    if tables.name in OFFICIAL_VERSIONS and file_size(tables / "sample_data.json") > LARGE_TABLE_BYTES:
        key_frames, sweeps = (
            Counter({name: num_files(root / folder / name) for name in channels}) for folder in ("samples", "sweeps")
        )
        if any(key_frames[name] for name, kind in channels.items() if kind == "camera"):
            return NamedFiles(key_frames, sweeps)
    scene_of = {sample["token"]: sample["scene_token"] for sample in samples}
    cameras = {name for name, kind in channels.items() if kind == "camera"}
    return files_on_disk(root, tables, channel_of=channel_of, cameras=cameras, scene_of=scene_of)


def _lidar_columns(root: DataPath, lidars: Iterable[str]) -> int | None:
    """Return the columns of the first LiDAR file; None if they are the usual ones, or its folder is not its channel's."""
    folders = (root / "samples" / name for name in lidars)
    files = (folder / name for folder in folders for name in folder_names(folder) if name.endswith(".bin"))
    file = next(files, None)
    return None if file is None else columns_to_tell(file)


def _channels(tables: DataPath) -> tuple[dict[str, str], dict[str, str]]:
    """Return token of a calibration -> channel, and channel -> camera, lidar or radar."""
    sensor_of = {record["token"]: record["sensor_token"] for record in read_table(tables, "calibrated_sensor")}
    sensors = {sensor["token"]: sensor for sensor in read_table(tables, "sensor")}
    channel_of = {token: sensors[sensor]["channel"] for token, sensor in sensor_of.items() if sensor in sensors}
    return channel_of, {
        sensors[sensor]["channel"]: sensors[sensor]["modality"] for sensor in sensor_of.values() if sensor in sensors
    }


def _of_kind(kind: str, channels: dict[str, str], counts: Counter[str]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(channels) if channels[name] == kind and counts[name]}


def _largest_size(scenes_of_size: dict[Size, set[str]], samples: list[Record]) -> tuple[Size | None, set[str] | None]:
    """Return the image size that most key frames have, and its scenes; None for the scenes where all images have one size."""
    if len(scenes_of_size) < 2:
        return next(iter(scenes_of_size), None), None
    count = Counter(sample["scene_token"] for sample in samples)
    size = max(scenes_of_size, key=lambda size: sum(count[scene] for scene in scenes_of_size[size]))
    return size, scenes_of_size[size].difference(*(scenes for other, scenes in scenes_of_size.items() if other != size))


def _splits_for(scenes: list[str]) -> SplitChoice:
    """Return how scenes that nobody split are split: by a rule, with a seed that leaves some in each; a single scene is train."""
    seed = best_seed(scenes, SHARE)
    return SplitChoice(train=tuple(scenes)) if seed is None else SplitChoice(share=SHARE, seed=seed)


def _split_words(of_split: dict[str, int]) -> str:
    """Return how many of each split there are: ``1 train, 1 val``."""
    return ", ".join(f"{count:,} {split}" for split, count in of_split.items() if count) or "in no split"


def _source_lines(dataset: NuScenesSurvey) -> list[Line]:
    others = f"; also here: {', '.join(dataset.others)}" if dataset.others else ""
    what = (
        f"{plural(dataset.num_scenes, 'scene')} ({_split_words(dataset.of_split)}; {dataset.num_night:,} at night), "
        f"{plural(dataset.num_keyframes, 'key frame')}{others}"
    )
    lines: list[Line] = [
        ("source:", ""),
        ("  kind: nuscenes", ""),
        (f"  root: {scalar(str(dataset.root))}", ""),
        (f"  version: {scalar(dataset.version)}", what),
    ]
    if dataset.lidar_columns is not None:
        lines.append((f"  lidar_columns: {dataset.lidar_columns}", "float32 a point, as the first file looks; nuScenes has 5"))
    if dataset.splits != SplitChoice():
        how = (
            "nobody split these scenes: the split of each follows from its name and the seed, and stays when scenes are added; "
            "or name them: {train: [a, b], val: [c]}"
            if dataset.splits.share
            else "no list splits this scene, and it cannot be shared out; add scenes to measure on any that was not trained on"
        )
        lines.append((f"  splits: {scalar(dataset.splits.model_dump(mode='json'))}", how))
    if dataset.cameras[dataset.camera] < dataset.num_keyframes:
        lines.append(
            (
                "",
                f"only {dataset.cameras[dataset.camera]:,} of {dataset.num_keyframes:,} {dataset.camera} images are on the "
                "disk: complete scenes are used, and the others once their archives are unpacked",
            )
        )
    return lines


def _stage_lines(dataset: NuScenesSurvey) -> list[Line]:
    lines: list[Line] = [("stages:", "")]
    if dataset.radars:
        channel = _preferred(dataset.radars, "RADAR_FRONT")
        lines.append((f"  project_radar: {{channels: [{channel}]}}", f"with files here: {_counts(dataset.radars)}"))
    else:
        lines.append(("  ", "no radar file is here: frames get no radar, and stage project_radar makes nothing"))
    lines += (
        _depth_lines(dataset) if dataset.lidars else [("  ", "no LiDAR file is here: no depth is made, and nothing is cleaned")]
    )
    is_alone = dataset.num_keyframes <= dataset.num_scenes
    why = (
        "published; here it would leave none: scenes have one key frame"
        if is_alone
        else f"published; leaves {dataset.num_keyframes - dataset.num_scenes:,} of {dataset.num_keyframes:,} key frames"
    )
    return [
        *lines,
        ("  pack_images: {mode: bytes}", "or reference: the store then holds path, size and digest of an image only"),
        (f"  build_manifest: {{drop_last_keyframe: {scalar(not is_alone)}}}", why),
    ]


_ABOUT_PRESET = (
    "rules of supervision: surface: the front surface of each pixel, without returns of the own car and those that other "
    "sweeps see through; published: as in the papers"
)


def _depth_lines(dataset: NuScenesSurvey) -> list[Line]:
    accumulate, clean = accumulate_lidar.Params(), clean_horizon.Params()
    of_preset = keys_set_by("surface", stage="clean_horizon")
    lidar_lines, sweeps = _lidar_words(dataset)
    return [
        *([(f"  project_lidar: {{lidar: {lidar}}}", "the key sweeps of all are one")] if (lidar := _lidar(dataset)) else []),
        ("  accumulate_lidar:", ""),
        *lidar_lines,
        (
            f"    num_sweeps: {accumulate.num_sweeps}",
            f"window of sweeps a key frame, as published; {sweeps}",
        ),
        (
            f"    moving: {accumulate.moving}",
            f"returns of moving objects: keep, drop or carry them along; {plural(dataset.num_tracks, 'annotated object')} here",
        ),
        (f"    moving_mps: {accumulate.moving_mps}", "m/s, faster than this is moving"),
        ("  clean_horizon:", "published numbers, besides those of the preset; change one and only cleaning is done again"),
        *(
            (f"    {name}: {scalar(getattr(clean, name))}", field.description or "")
            for name, field in clean_horizon.Params.model_fields.items()
            if name not in of_preset
        ),
    ]


def _lidar(dataset: NuScenesSurvey) -> str:
    """Return the LiDARs as YAML; "" where LIDAR_TOP is the only one, or there is none."""
    return "" if set(dataset.lidars) <= {"LIDAR_TOP"} else scalar(sorted(dataset.lidars, key=lambda name: name != "LIDAR_TOP"))


def _lidar_words(dataset: NuScenesSurvey) -> tuple[list[Line], str]:
    """Return the keys of accumulate_lidar that say which files are read, and words about sweeps between key frames."""
    lines: list[Line] = []
    if lidar := _lidar(dataset):
        lines.append(
            (f"    lidar: {lidar}", f"with files here: {_counts(dataset.lidars)}; a scene that lacks one uses the others")
        )
    if dataset.lidars and not dataset.num_sweeps:
        why = "no LiDAR file between key frames is here: a window is one of key frames. With sweeps/ unpacked: sweeps"
        return [*lines, ("    neighbors: keyframes", why)], "here of key frames"
    between = dataset.num_sweeps / max(dataset.num_keyframes, 1)
    of_what = " and ".join(dataset.lidars) or "LiDAR"
    return lines, f"here {dataset.num_sweeps:,} {of_what} sweeps between key frames, {between:.0f} for each"


def _train_lines(dataset: NuScenesSurvey) -> list[Line]:
    num_train = dataset.num_train_keyframes - (dataset.of_split["train"] if dataset.num_keyframes > dataset.num_scenes else 0)
    if num_train < 1:
        return [("", "no group train: here: no key frame here is in the train split")]
    if not (dataset.lidars or dataset.has_truth):
        return [("", "no group train: here: no LiDAR file is here, so there is no depth to train a network on")]
    batch = min(PUBLISHED_BATCH, num_train)
    fewer = "" if batch == PUBLISHED_BATCH else f"; published: {PUBLISHED_BATCH}, more than there are frames"
    split = next((name for name in ("val", "test", "train") if dataset.of_split[name]), "train")
    target = "depth_truth" if dataset.has_truth else "depth_single"
    num_measured = dataset.of_split[split]
    measured = f"{plural(num_measured, 'scene')} of {split} {'is' if num_measured == 1 else 'are'} measured"
    radar, alone = ("", "") if dataset.radars else (", radar: false", "; no radar file is here: a network of the camera alone")
    truth = "against exact depth" if dataset.has_truth else "against the single sweep, as published"
    return [
        ("train:", "read by depthmill train only"),
        (f"  data: {{batch_size: {batch}{radar}}}", f"{plural(num_train, 'frame')} of the train split{fewer}{alone}"),
        ("  epochs: 50", "published"),
        (f"  evaluation: {{split: {split}, target: {target}}}", f"{measured} {truth}"),
        ("  ", "imagenet_weights: /data/resnet34-b627a593.pth would start from torchvision's weights, as published"),
    ]


def _preferred(channels: dict[str, int], name: str) -> str:
    """Return the channel of this name, else the one whose name says front and least besides, else the first."""
    front = sorted((channel for channel in channels if "front" in channel.casefold()), key=len)
    return name if name in channels else next(iter((*front, *channels)))


def _size_words(dataset: NuScenesSurvey) -> str:
    return f"; {dataset.camera} is {dataset.image_size[0]}x{dataset.image_size[1]}" if dataset.image_size else ""


def _counts(files: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in files.items())


def _gigabytes(dataset: NuScenesSurvey) -> str:
    share = dataset.image_size[0] * dataset.image_size[1] / (1600 * 900) if dataset.image_size else 1.0
    gigabytes = dataset.num_keyframes * BYTES_A_KEYFRAME * share**0.5 / 1e9
    return f"{gigabytes:,.0f} GB" if gigabytes >= 1 else f"{max(gigabytes * 1000, 1):,.0f} MB"
