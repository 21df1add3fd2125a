"""The key frames of a manifest that a run reads: images of all cameras now and before, and the objects of the scene.

Reads  windows units (which images belong together, where each camera was) and objects units, once, before anything starts
Rule   Every key frame of the split that has all cameras counts, however long the windows are. Where fewer key frames lie before
       it than the network looks back at, the oldest one stands in for those that are missing, with its true time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from model.data.samples import LOOKUPS, choose_samples, refuse_missing_units
from model.mim4d.clip_windows import key_moments, refuse_no_windows, tables_of_windows
from model.mim4d.clips import Clip
from model.uvtr.config import KeyFrameDataConfig
from model.uvtr.objects import FrameObjects, open_objects
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest

STORES = ("images", "windows", "objects")
"""What every key frame is read from."""

DEPTH = "depth_single"
"""What depth is learned from, where it is."""


@dataclass(frozen=True)
class KeyFrame:
    """One key frame.

    Attributes:
        clip: its images and those of the key frames before it, the newest first.
        sample_token: its name in its source.
        objects: everything annotated at it, in its rig frame.
    """

    clip: Clip
    sample_token: str
    objects: FrameObjects


@dataclass(frozen=True)
class ChosenKeyFrames:
    """What a run reads.

    Attributes:
        frames: in the order of the manifest's scenes and of time.
        cameras: of every key frame, in the order of its images.
    """

    frames: tuple[KeyFrame, ...]
    cameras: tuple[str, ...]


def choose_key_frames(
    manifest: Manifest, config: KeyFrameDataConfig, *, num_frames: int, with_depth: bool = False
) -> ChosenKeyFrames:
    """Return the key frames of a split that have all cameras.

    Args:
        manifest: an opened manifest.
        config: which split and cameras.
        num_frames: key frames that the network looks at, the newest included.
        with_depth: every image needs the depth of its LiDAR sweep, too.

    Raises:
        ManifestError: the split or a camera has no frames, frames lack a store, or no key frame has all cameras.
        UnitNotFoundError: a unit of the manifest has been pruned.
    """
    refuse_no_windows(manifest, config)
    _refuse_no_objects(manifest, config)
    samples = choose_samples(manifest, config, (*STORES, DEPTH) if with_depth else STORES)
    refuse_missing_units(manifest.store, manifest.path.fingerprint, samples)
    of_image = {(sample.units["images"].scene, sample.units["images"].camera, sample.frame): sample for sample in samples}
    units = list(dict.fromkeys((sample.units["windows"], sample.units["objects"]) for sample in samples))
    with ThreadPoolExecutor(LOOKUPS) as pool:
        tables = list(pool.map(lambda pair: tables_of_windows(manifest, pair[0]), units))
        objects = list(pool.map(lambda pair: open_objects(manifest.store.open_unit(pair[1])), units))
    there = tuple(dict.fromkeys(camera for of_unit in tables for camera in of_unit["views"]["camera"]))
    cameras = config.cameras or there
    for camera in cameras:
        if camera not in there:
            raise ManifestError(
                f"windows of manifest {manifest.path.fingerprint} were made without camera '{camera}'; cameras there: "
                f"{', '.join(there)}. Choose among these, or put it into the recipe's cameras and run it again"
            )
    frames: list[KeyFrame] = []
    for (windows, _), of_unit, of_scene in zip(units, tables, objects, strict=True):
        moments = key_moments(windows.scene, of_unit, cameras, of_image)
        in_time = [moments[number] for number in sorted(moments)]
        for place, moment in enumerate(in_time):
            back = [in_time[max(place - step, 0)] for step in range(num_frames)]
            token = moment.samples[0].sample_token
            frames.append(KeyFrame(Clip(f"{windows.scene}/{moment.time_us}", tuple(back)), token, of_scene.at(token)))
    if not frames:
        raise ManifestError(
            f"split '{config.split}' of manifest {manifest.path.fingerprint} has no key frame with images of all of "
            f"{', '.join(cameras)}. Choose fewer cameras in train.data.cameras, or a larger split"
        )
    return ChosenKeyFrames(tuple(frames), cameras)


def _refuse_no_objects(manifest: Manifest, config: KeyFrameDataConfig) -> None:
    rows = [row for row in manifest.rows() if row["split"] == config.split]
    if rows and not any(row.get("unit_objects") for row in rows):
        raise ManifestError(
            f"split '{config.split}' of manifest {manifest.path.fingerprint} has no objects. Set stages.index_objects.enabled to "
            "true in the recipe and run it again; that takes a source of drives with annotated boxes"
        )
