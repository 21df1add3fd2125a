"""Raw sensor files of a nuScenes-format data set: LiDAR points, radar points, image bytes, and the index of its tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.nuscenes.complete import Lacks
from pipeline.sources.nuscenes.lidar_points import lidar_points, refuse_short_file
from pipeline.sources.nuscenes.object_facts import OBJECT_FACTS
from pipeline.sources.pcd import read_pcd
from pipeline.sources.point_checks import refuse_far, refuse_without_xyz
from pipeline.sources.raw_files import RawFiles
from pipeline.wanted_files import WantedFiles
from storage_schemas.catalog import CAMERA_SWEEPS, FRAMES
from storage_schemas.layout import Columns, StoreLayout
from storage_schemas.remote_path import DataPath
from storage_schemas.table import read_rows


class NuScenesFiles(RawFiles):
    """Reader of raw files below a data root; small and picklable, opened anew in every worker.

    Args:
        root: data root that the file columns of the index are relative to.
        index_folder: folder with the cached index with the tables of every scene.
        lidar_columns: float32 a point of LiDAR files that end with .bin; None = 5, and checked.
        lacks: what scenes lack of the files that a recipe reads, by name.
    """

    def __init__(
        self,
        root: str | DataPath,
        index_folder: str,
        *,
        lidar_columns: int | None = None,
        lacks: Mapping[str, Lacks] | None = None,
    ) -> None:
        super().__init__(root)
        self.index_folder = Path(index_folder)
        self.lidar_columns = lidar_columns
        self._empty: set[str] = set()
        self._lacks = {scene: lack for scene, lack in (lacks or {}).items() if not lack.left_out}

    def scene_tables(self, scene: str) -> dict[str, Columns]:
        """Return the FRAMES tables of one scene from the cached index."""
        return self._indexed(FRAMES, scene)

    def camera_sweeps(self, scene: str) -> dict[str, Columns]:
        """Return the CAMERA_SWEEPS tables of one scene from the cached index, which holds them if the recipe asks for them."""
        return self._indexed(CAMERA_SWEEPS, scene)

    def object_facts(self, scene: str) -> Columns:
        """Return what the tables say of each annotated object of one scene besides its box, a row per row of frames.boxes."""
        return read_rows(str(self.index_folder / f"{OBJECT_FACTS.name}.parquet"), OBJECT_FACTS, scene=scene)

    def _indexed(self, layout: StoreLayout, scene: str) -> dict[str, Columns]:
        tables = {
            spec.name: read_rows(str(self.index_folder / f"{spec.name}.parquet"), spec, scene=scene) for spec in layout.tables
        }
        return self._lacks[scene].keep(tables) if scene in self._lacks else tables

    def files_of(self, scene: str, wanted: Sequence[WantedFiles]) -> Iterable[str]:
        """Return the files of a scene that stages will read: for each stage in the order of time."""
        rows = [
            (time_us, channel, is_keyframe, file)
            for table, channels in self._tables_of_files(scene, wanted)
            for time_us, channel, is_keyframe, file in zip(
                table["timestamp_us"], channels, table.get("is_keyframe", [True] * len(channels)), table["file"], strict=True
            )
        ]
        rows.sort()
        for of_stage in wanted:
            for _, channel, is_keyframe, file in rows:
                if of_stage.of_channel.get(channel) == "all" or (is_keyframe and channel in of_stage.of_channel):
                    yield file

    def _tables_of_files(self, scene: str, wanted: Sequence[WantedFiles]) -> Iterator[tuple[Columns, list[str]]]:
        tables = self.scene_tables(scene)
        yield tables["keyframes"], tables["keyframes"]["camera"]
        yield tables["sweeps"], tables["sweeps"]["channel"]
        cameras = set(tables["keyframes"]["camera"])
        if any(of_stage.of_channel.get(camera) == "all" for of_stage in wanted for camera in cameras):
            sweeps = self.camera_sweeps(scene)["camera_sweeps"]
            yield sweeps, sweeps["camera"]

    def read_points(self, file: str) -> NDArray[np.float32]:
        """Return a LiDAR sweep as (n, 3 or more) float32: x, y, z in metres in the sensor frame, then what the file has besides.

        Raises:
            SourceError: the file is missing, of a format that cannot be read, cut short, or no LiDAR sweep.
        """
        return lidar_points(self.read_bytes(file), columns=self.lidar_columns, where=str(self.root / file))

    def refuse_cut_sweeps(self, files: Sequence[str]) -> None:
        """Refuse a sweep that is much shorter than all others of its sensor, where sizes say so; see ``refuse_short_file``.

        Args:
            files: of one sensor in time order; all were read before.
        """
        refuse_short_file({file: self._seen[file][0] for file in files if file.endswith(".bin")}, root=self.root)

    def read_radar(self, file: str) -> dict[str, NDArray[Any]]:
        """Return a radar file as named columns of equal length; empty where the file marks itself empty with NaN.

        Raises:
            SourceError: the file is no .pcd with fields x, y and z, or is damaged.
        """
        columns = parse_radar_pcd(self.read_bytes(file), where=str(self.root / file))
        if not len(columns["x"]):
            self._empty.add(file)
        return columns

    def digest_of(self, files: Iterable[str]) -> dict[str, str]:
        """Return number, size and digest of files that were read before, and how many repeat another one's content.

        Radar files without a return are alike, and are not counted.
        """
        contents = [self._seen[file] for file in set(files) - self._empty]
        num_repeated = len(contents) - len(set(contents))
        return {**super().digest_of(files), **({"raw_repeated": str(num_repeated)} if num_repeated else {})}


def parse_radar_pcd(content: bytes, *, where: str) -> dict[str, NDArray[Any]]:
    """Return the fields of a radar file that hold one value a return; which ones there are is up to the data set."""
    columns = {name: column for name, column in read_pcd(content, where=where).items() if column.ndim == 1}
    refuse_without_xyz(columns, where)
    if len(columns["x"]) and np.isnan(columns["x"][0]):
        return {name: column[:0] for name, column in columns.items()}
    refuse_far([columns[axis] for axis in "xyz"], where)
    return columns
