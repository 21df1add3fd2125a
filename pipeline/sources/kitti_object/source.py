"""The KITTI object benchmark: single labelled images with calibration, in the official layout; no drives and no poses.

Reads  <root>/ImageSets/*.txt, <root>/{training,testing}/{image_2,calib}, training/label_2, velodyne/ if it exists; one more
       level ``object/`` between is found too
Source docs/method/formats.md#kitti-layout, #kitti-labels, #kitti-calibration
"""

from __future__ import annotations

from pathlib import Path

from pipeline.capability import provided
from pipeline.finding import Finding
from pipeline.sources.kitti_object.config import KittiObjectConfig
from pipeline.sources.kitti_object.files import CAMERA, KittiObjectFiles
from pipeline.sources.kitti_object.lists import (
    CALIBRATIONS,
    FOLDER_OF_LIST,
    LABELS,
    KittiScene,
    data_folder,
    lists_folder,
    missing_lists_text,
    read_kitti_scenes,
)
from pipeline.sources.spec import OnDisk
from pipeline.types import SceneInfo
from storage_schemas.catalog import BOXES, DEPTH_SINGLE
from storage_schemas.errors import SourceError
from storage_schemas.remote_path import DataPath, data_path, folder_names

SOURCE_VERSION = 1
"""Raised by hand when the same files get another meaning: otherwise old units would count as up to date."""


class KittiObjectSource(OnDisk):
    """An opened KITTI object benchmark.

    Args:
        config: root, lists and how they are cut into scenes.
        cache_folder: where copies of files at a URL may be kept.

    Raises:
        SourceError: the root or a folder of a chosen list does not exist.
    """

    release = "kitti_object"

    def __init__(self, config: KittiObjectConfig, cache_folder: Path) -> None:
        self.config = config
        root = data_path(config.root, cache_folder)
        self.root, self._lists = _checked_folders(root, config)
        self._read: list[KittiScene] | None = None

    def scenes(self) -> list[SceneInfo]:
        """Return the scenes of all lists, in the order of ``splits``; see ``read_kitti_scenes`` for what is read and raised."""
        annotated = {scene.split for scene in self._scenes() if scene.num_objects} | {"test"}  # of which no labels are published
        return [
            SceneInfo(
                scene.name,
                f"{SOURCE_VERSION}/{scene.digest}",
                (CAMERA,),
                {provided(BOXES): scene.labels_digest, **({provided(DEPTH_SINGLE): ""} if any(scene.has_sweep) else {})},
                findings=_findings(scene, has_no_object=scene.split not in annotated),
            )
            for scene in self._scenes()
        ]

    def reader(self) -> KittiObjectFiles:
        """Return the picklable reader of raw files."""
        return KittiObjectFiles(self.root, {scene.name: scene for scene in self._scenes()}, self.config.types)

    def _scenes(self) -> list[KittiScene]:
        if self._read is None:
            config = self.config
            self._read = read_kitti_scenes(
                self.root, self._lists, config.splits, frames_per_scene=config.frames_per_scene, types=config.types
            )
        return self._read


def _findings(scene: KittiScene, *, has_no_object: bool) -> tuple[Finding, ...]:
    """Return what is worth knowing of a scene's labels; ``has_no_object``: the whole split has none."""
    findings = []
    if scene.num_alphas:
        what = "objects say no observation angle (alpha -10), so it is computed from rotation_y and the place"
        findings.append(Finding(what, scene.name, scene.num_alphas))
    if any(scene.has_sweep) and not all(scene.has_sweep):
        what = "frames have no file in velodyne/, and others have one, so their depth is empty"
        findings.append(Finding(what, scene.name, scene.has_sweep.count(False)))
    if has_no_object:
        what = f"no object is annotated in split {scene.split}, only DontCare or nothing"
        findings.append(Finding(what, scene.name, advice="A detector can learn and be measured on nothing there"))
    return tuple(findings)


def _checked_folders(root: DataPath, config: KittiObjectConfig) -> tuple[DataPath, DataPath]:
    """Return the folder of training/ and testing/, and that of the lists."""
    if not root.is_dir():
        raise SourceError(
            f"source root '{root}' does not exist. Set source.root in the recipe to the folder that holds training/ and "
            "ImageSets/"
        )
    data, lists = data_folder(root), lists_folder(root)
    if data is None:
        names = ", ".join([name for name in folder_names(root) if (root / name).is_dir()][:8])
        raise SourceError(
            f"'{root}' holds no training/image_2; folders there: {names or 'none'}. Set source.root in the recipe to the folder "
            "that holds training/ and ImageSets/, or object/ with training/ in it"
        )
    if lists is None:
        raise SourceError(missing_lists_text(root))
    for name in config.splits:
        folder = FOLDER_OF_LIST[name]
        for part in (CALIBRATIONS, LABELS) if folder == "training" else (CALIBRATIONS,):
            if not (data / folder / part).is_dir():
                raise SourceError(
                    f"folder '{data / folder / part}' is missing, which the list '{name}' needs. Unpack data_object_"
                    f"{'calib' if part == CALIBRATIONS else part}.zip there, or leave '{name}' out of source.splits in the recipe"
                )
    return data, lists
