"""Which scenes of a nuScenes-format data set have the files that a recipe reads, and what the others lack.

Why    Archives are unpacked one by one, and downloads break off. What is complete is used; the rest is named
How    The names in the index are compared with a listing of their folders, which takes a second on trainval. The
       answer is kept beside the index until one of the folders changes. Folders at a URL do not tell when they changed: that
       all is there is kept for a day, and if something is lacking they are listed each time
Source docs/method/pipeline.md#complete
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.finding import Finding
from pipeline.sources.nuscenes.index_cache import UNSETTLED_NS
from pipeline.types import SceneInfo
from pipeline.wanted_files import WantedFiles
from storage_schemas.files import written_whole
from storage_schemas.layout import Columns
from storage_schemas.many_requests import all_at_once
from storage_schemas.regular_files import read_regular
from storage_schemas.remote_path import DataPath, RemotePath, folder_names
from storage_schemas.seals import read_sealed_json, sealed_json
from storage_schemas.table import read_matching

DAY_NS = 24 * 3600 * 1_000_000_000

MAX_MISSING = 0.05
"""A scene that lacks a larger share of a channel's files is left out; one file may always be missing."""


@dataclass(frozen=True)
class Lacks:
    """What one scene lacks.

    Attributes:
        files: files that are not on the disk, out of those that the recipe reads.
        samples: key frames, by number, that cannot be used.
        channels: channels of which no file is there, in no scene.
        left_out: why the scene cannot be used; "" = it can.
        findings: what is to be said.
        digest: digest of the FRAMES tables without what is lacking.
        camera_sweeps: digest of the CAMERA_SWEEPS table without it, "" where there is none.
    """

    files: frozenset[str] = frozenset()
    samples: frozenset[int] = frozenset()
    channels: frozenset[str] = frozenset()
    left_out: str = ""
    findings: tuple[Finding, ...] = ()
    digest: str = ""
    camera_sweeps: str = ""

    def keep(self, tables: Mapping[str, Columns]) -> dict[str, Columns]:
        """Return the tables of the scene without what it lacks."""
        return {name: self._kept(columns, is_of_key=name == "keyframes") for name, columns in tables.items()}

    def _kept(self, columns: Columns, *, is_of_key: bool) -> Columns:
        if "file" not in columns:
            return columns
        keep = [
            file not in self.files and not (is_of_key and sample in self.samples)
            for file, sample in zip(columns["file"], columns["sample_index"], strict=True)
        ]
        return {name: [value for value, is_kept in zip(values, keep, strict=True) if is_kept] for name, values in columns.items()}


WHAT_IS_KEPT = "what scenes lack, by the ctime of folders"
"""Says of a kept answer what it is; those of former versions went by another time and had no seal."""


class _Files:
    """The files of one channel in one scene, those that the recipe reads.

    Args:
        modality: camera, lidar or radar.
    """

    def __init__(self, modality: str) -> None:
        self.modality = modality
        self.of_sample: dict[int, str] = {}
        self.between: list[str] = []

    @property
    def names(self) -> list[str]:
        """Return all of them."""
        return [*self.of_sample.values(), *self.between]


OfScene = dict[str, _Files]
"""Channel -> its files in one scene."""

DigestsOf = Callable[[str, Lacks], tuple[str, str]]
"""(scene, what it lacks) -> digests of the rest of its tables and of its camera sweeps."""


def what_scenes_lack(
    index: Path, root: DataPath, wanted: WantedFiles, scenes: Sequence[SceneInfo], digests_of: DigestsOf
) -> dict[str, Lacks]:
    """Return what scenes lack for a recipe, by name; complete ones are not in it.

    Args:
        index: folder of the cached index.
        root: data root.
        wanted: what the recipe reads.
        scenes: of the index.
        digests_of: of what is left of a scene.
    """
    kept = index / f"complete-{hashlib.sha256(repr(sorted(wanted.of_channel.items())).encode()).hexdigest()[:16]}.json"
    if (former := _read_kept(kept, root)) is not None:
        return former
    files = _files_of_index(index, wanted, scenes)
    names = [name for of_scene in files.values() for of_channel in of_scene.values() for name in of_channel.names]
    listings, changed_ns = _listings(root, sorted({name.rpartition("/")[0] for name in names}))
    missing = {name for name in names if name.rpartition("/")[2] not in listings[name.rpartition("/")[0]]}
    there = {channel for of_scene in files.values() for channel, of in of_scene.items() if not missing.issuperset(of.names)}
    lacks = {}
    for scene in scenes:
        lack = _what_one_lacks(scene, files[scene.name], missing, there)
        if lack != Lacks():
            digest, camera_sweeps = ("", "") if lack.left_out else digests_of(scene.name, lack)
            lacks[scene.name] = replace(lack, digest=digest, camera_sweeps=camera_sweeps)
    if not (lacks and isinstance(root, RemotePath)):  # what was lacking at a URL may be there the next time
        _keep(kept, lacks, changed_ns)
    return lacks


def _files_of_index(index: Path, wanted: WantedFiles, scenes: Sequence[SceneInfo]) -> dict[str, OfScene]:
    """Return the files that the recipe reads, by scene and channel, from the tables of the index."""
    files: dict[str, OfScene] = {scene.name: {} for scene in scenes}
    modalities = {scene.name: scene.modalities for scene in scenes}
    for table, channel_column in (("keyframes", "camera"), ("sweeps", "channel"), ("camera_sweeps", "camera")):
        path = index / f"{table}.parquet"
        if not path.is_file():
            continue
        columns = (
            [channel_column, "is_keyframe", "sample_index", "file"]
            if table != "keyframes"
            else [channel_column, "sample_index", "file"]
        )
        rows = read_matching(str(path), ["scene_key", *columns], channel_column, list(wanted.of_channel))
        is_keyframe = rows.get("is_keyframe") or [True] * len(rows["file"])
        of_rows = zip(rows["scene_key"], rows[channel_column], rows["sample_index"], rows["file"], is_keyframe, strict=True)
        for scene, channel, sample, file, is_key in of_rows:
            of_channel = files[scene].setdefault(channel, _Files(modalities[scene].get(channel, "")))
            if is_key:
                of_channel.of_sample[sample] = file
            elif wanted.of_channel[channel] == "all":
                of_channel.between.append(file)
    return files


def _listings(root: DataPath, folders: Sequence[str]) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Return the names in folders below the root, and when each was last changed; a missing folder has none and 0."""
    changed_ns = {folder: _changed_ns(root, folder) for folder in folders}
    names = all_at_once(lambda folder: set(folder_names(root / folder)), folders, most=8 if isinstance(root, RemotePath) else 1)
    return dict(zip(folders, names, strict=True)), changed_ns


def _changed_ns(root: DataPath, folder: str) -> int:
    """Return when a folder was last changed; of one at a URL the day, so that what is kept of it lasts for that long."""
    if isinstance(root, RemotePath):
        return time.time_ns() // DAY_NS * DAY_NS
    try:
        return (root / folder).stat().st_ctime_ns  # programs that copy folders set the other time, and none can set this one
    except OSError:
        return 0


def _what_one_lacks(scene: SceneInfo, files: OfScene, missing: set[str], there: set[str]) -> Lacks:
    """Return what one scene lacks.

    Args:
        scene: the scene.
        files: its files by channel.
        missing: names of files that are not on the disk.
        there: channels of which some scene has a file.
    """
    findings: list[Finding] = []
    absent_files: set[str] = set()
    absent_channels: set[str] = set()
    lost_of: dict[str, set[int]] = {}
    frames = {sample for of in files.values() if of.modality == "camera" for sample in of.of_sample}
    for channel, of in files.items():
        lacking = [name for name in of.names if name in missing]
        absent_files.update(lacking)
        if of.modality != "camera" and len(lacking) == len(of.names) and channel not in there:
            absent_channels.add(channel)
            what = f"no file of {channel} is on the disk, in no scene"
            findings.append(Finding(what, scene.name, 0, channel, "Nothing is made from this sensor"))
            continue
        between = [name for name in of.between if name in missing]
        if len(between) > max(1, MAX_MISSING * len(of.between)) or len(lacking) == len(of.names):
            why = f"{channel} files are not on the disk ({len(lacking):,} of {len(of.names):,}, e.g. {lacking[0]})"
            if of.modality == "lidar" and len(between) == len(lacking):
                why += "; stages.accumulate_lidar.neighbors: keyframes does without them"
            return Lacks(left_out=why)
        findings += _findings_of_channel(scene.name, channel, of, missing, len(between))
        if of.modality == "lidar":
            lost_of[channel] = frames - {sample for sample, name in of.of_sample.items() if name not in missing}
    unusable = set.intersection(*lost_of.values()) if lost_of else set()  # of several LiDARs one is enough
    for channel, lost in lost_of.items():
        for samples, consequence in ((lost & unusable, "are left out"), (lost - unusable, "use the other LiDARs alone")):
            if samples:
                what = f"key frames {consequence}, since they have no {channel} file"
                findings.append(Finding(what, scene.name, len(samples), channel))
    for channel, of in files.items():
        if of.modality == "camera" and not any(
            name not in missing and sample not in unusable for sample, name in of.of_sample.items()
        ):
            others = f"no {' or '.join(lost_of)} file of its own" if unusable else "no file on the disk"
            return Lacks(left_out=f"no key frame of {channel} can be used ({len(of.of_sample):,} have {others})")
    return Lacks(frozenset(absent_files), frozenset(unusable), frozenset(absent_channels), "", tuple(findings))


def _findings_of_channel(scene: str, channel: str, of: _Files, missing: set[str], num_between: int) -> list[Finding]:
    findings = []
    of_keys = sum(name in missing for name in of.of_sample.values())
    if of_keys and of.modality != "lidar":
        what = "These frames are left out" if of.modality == "camera" else "These frames get none of its returns"
        findings.append(Finding(f"{channel} files of key frames are not on the disk", scene, of_keys, channel, what))
    if num_between:
        what = f"{channel} files between key frames are not on the disk"
        findings.append(Finding(what, scene, num_between, channel, "Windows reach over the gap"))
    return findings


def _read_kept(kept: Path, root: DataPath) -> dict[str, Lacks] | None:
    """Return the answer that was kept; None if there is none, it cannot be read, or a folder has changed since."""
    try:
        answer = read_sealed_json(read_regular(kept), needs_seal=True)
        if answer["of"] != WHAT_IS_KEPT:
            return None
        if any(_changed_ns(root, folder) != changed for folder, changed in answer["changed_ns"].items()):
            return None
        return {scene: _from_json(form) for scene, form in answer["lacks"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _keep(kept: Path, lacks: Mapping[str, Lacks], changed_ns: Mapping[str, int]) -> None:
    if any(time.time_ns() - changed < UNSETTLED_NS for changed in changed_ns.values()):
        return
    forms = {
        scene: {**asdict(lack), **{name: sorted(getattr(lack, name)) for name in ("files", "samples", "channels")}}
        for scene, lack in lacks.items()
    }
    with suppress(OSError), written_whole(kept, is_flushed=False) as stream:  # what cannot be kept is found out again
        stream.write(sealed_json({"of": WHAT_IS_KEPT, "changed_ns": dict(changed_ns), "lacks": forms}))


def _from_json(form: dict[str, Any]) -> Lacks:
    sets = {name: frozenset(form[name]) for name in ("files", "samples", "channels")}
    return Lacks(**{**form, **sets, "findings": tuple(Finding(**finding) for finding in form["findings"])})
