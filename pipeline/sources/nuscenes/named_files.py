"""The files that sample_data.json names, and which of them are on the disk: not every release has nuScenes' folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.sources.nuscenes.json_tables import iterate_table
from pipeline.sources.nuscenes.names import FileNames
from storage_schemas.remote_path import DataPath, folder_names

Size = tuple[int, int]


@dataclass
class NamedFiles:
    """Files of a release that are on the disk.

    Attributes:
        keyframes: channel -> files of key frames.
        sweeps: channel -> files between key frames.
        scenes: channel -> tokens of the scenes that have such a file; empty where files were only counted.
        scenes_of_size: camera -> width and height of its images, as the table says -> tokens of the scenes that have such images.
    """

    keyframes: Counter[str] = field(default_factory=Counter)
    sweeps: Counter[str] = field(default_factory=Counter)
    scenes: dict[str, set[str]] = field(default_factory=dict)
    scenes_of_size: dict[str, dict[Size, set[str]]] = field(default_factory=dict)


def files_on_disk(
    root: DataPath, folder: DataPath, *, channel_of: Mapping[str, str], cameras: set[str], scene_of: Mapping[str, str]
) -> NamedFiles:
    """Look up every file that a release names; each folder is listed once.

    Args:
        root: data root, which file names start from.
        folder: version folder.
        channel_of: token of a calibration -> channel; records of other calibrations are passed over.
        cameras: those of the channels that are cameras.
        scene_of: token of a sample -> token of its scene.
    """
    found, names_in, file_names = NamedFiles(), dict[str, set[str]](), FileNames(root)
    for record in iterate_table(folder, "sample_data"):
        channel = channel_of.get(record.get("calibrated_sensor_token", ""))
        file = str(record.get("filename", ""))
        parent, _, name = (file_names.below_root(file) if FileNames.is_foreign(file) else file).rpartition("/")
        if parent not in names_in:
            names_in[parent] = set(folder_names(root / parent))
        if channel is None or name not in names_in[parent]:
            continue
        (found.keyframes if record.get("is_key_frame") else found.sweeps)[channel] += 1
        scene = scene_of.get(record.get("sample_token", ""), "")
        found.scenes.setdefault(channel, set()).add(scene)
        if channel in cameras:
            size = (record.get("width") or 0, record.get("height") or 0)
            of_camera = found.scenes_of_size.setdefault(channel, {})
            of_camera.setdefault(size, set()).add(scene)
    return found
