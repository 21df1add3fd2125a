"""Raw sensor files of a nuScenes-format data set: LiDAR points, radar points, image bytes, and the index of its tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.nuscenes.complete import Lacks
from pipeline.sources.raw_files import RawFiles
from storage_schemas.catalog import CAMERA_SWEEPS, FRAMES
from storage_schemas.errors import SourceError
from storage_schemas.layout import Columns, StoreLayout
from storage_schemas.table import read_rows

LIDAR_COLUMNS = 5
"""float32 columns of a nuScenes .pcd.bin: x, y, z, intensity, ring."""

RADAR_FIELDS = (
    "x",
    "y",
    "z",
    "dyn_prop",
    "id",
    "rcs",
    "vx",
    "vy",
    "vx_comp",
    "vy_comp",
    "is_quality_valid",
    "ambig_state",
    "x_rms",
    "y_rms",
    "invalid_state",
    "pdh0",
    "vx_rms",
    "vy_rms",
)
"""The 18 fields of a nuScenes radar .pcd."""

_PCD_TYPES = {
    ("F", "4"): "<f4",
    ("F", "8"): "<f8",
    ("I", "1"): "i1",
    ("I", "2"): "<i2",
    ("I", "4"): "<i4",
    ("U", "1"): "u1",
    ("U", "2"): "<u2",
    ("U", "4"): "<u4",
}


class NuScenesFiles(RawFiles):
    """Reader of raw files below a data root; small and picklable, opened anew in every worker.

    Args:
        root: data root that the file columns of the index are relative to.
        index_folder: folder with the cached index with the tables of every scene.
        lacks: what scenes lack of the files that a recipe reads, by name.
    """

    def __init__(self, root: str, index_folder: str, lacks: Mapping[str, Lacks] | None = None) -> None:
        super().__init__(root)
        self.index_folder = Path(index_folder)
        self._lacks = {scene: lack for scene, lack in (lacks or {}).items() if not lack.left_out}

    def scene_tables(self, scene: str) -> dict[str, Columns]:
        """Return the FRAMES tables of one scene from the cached index."""
        return self._indexed(FRAMES, scene)

    def camera_sweeps(self, scene: str) -> dict[str, Columns]:
        """Return the CAMERA_SWEEPS tables of one scene from the cached index, which holds them if the recipe asks for them."""
        return self._indexed(CAMERA_SWEEPS, scene)

    def _indexed(self, layout: StoreLayout, scene: str) -> dict[str, Columns]:
        tables = {
            spec.name: read_rows(str(self.index_folder / f"{spec.name}.parquet"), spec, scene=scene) for spec in layout.tables
        }
        return self._lacks[scene].keep(tables) if scene in self._lacks else tables

    def read_points(self, file: str) -> NDArray[np.float32]:
        """Return a LiDAR sweep as (n, 5) float32: x, y, z in metres in the sensor frame, intensity, ring.

        Raises:
            SourceError: the file is missing, or its size is not a whole number of points.
        """
        content = self.read_bytes(file)
        size = 4 * LIDAR_COLUMNS
        if len(content) % size:
            raise SourceError(
                f"point file '{self.root / file}' has {len(content)} bytes, expected a multiple of {size} "
                f"({LIDAR_COLUMNS} float32 a point). It is cut short or of another format; copy it again"
            )
        return np.frombuffer(content, dtype="<f4").reshape(-1, LIDAR_COLUMNS)

    def read_radar(self, file: str) -> dict[str, NDArray[Any]]:
        """Return a radar file as named columns of equal length; empty where the file marks itself empty with NaN.

        Raises:
            SourceError: the header is not a binary .pcd with the 18 nuScenes fields, or points are missing.
        """
        return parse_radar_pcd(self.read_bytes(file), where=str(self.root / file))


def parse_radar_pcd(content: bytes, *, where: str) -> dict[str, NDArray[Any]]:
    """Parse a binary .pcd as nuScenes writes it (bytes after the last point are ignored, as the devkit does)."""
    marker = content.find(b"DATA binary\n")
    if marker < 0:
        raise SourceError(f"radar file '{where}' has no 'DATA binary' header; expected a binary .pcd. Copy it again")
    header = dict(
        line.split(" ", 1)
        for line in content[:marker].decode("ascii", "replace").splitlines()
        if line and not line.startswith("#") and " " in line
    )
    try:
        names, sizes, kinds = (header[key].split() for key in ("FIELDS", "SIZE", "TYPE"))
        dtype = np.dtype([(name, _PCD_TYPES[kind, size]) for name, kind, size in zip(names, kinds, sizes, strict=True)])
        count = int(header["WIDTH"]) * int(header["HEIGHT"])
        if count < 0:
            raise ValueError(f"{count} points")
    except (KeyError, ValueError) as error:
        raise SourceError(
            f"radar file '{where}' has a header that cannot be read ({error!r}); expected FIELDS, SIZE, TYPE, WIDTH "
            "and HEIGHT of a .pcd. Copy it again"
        ) from error
    if missing := [name for name in RADAR_FIELDS if name not in names]:
        raise SourceError(f"radar file '{where}' lacks field '{missing[0]}'; expected the 18 nuScenes radar fields")
    body = content[marker + len(b"DATA binary\n") :]
    if len(body) < count * dtype.itemsize:
        raise SourceError(
            f"radar file '{where}' holds {len(body)} bytes of points, expected {count * dtype.itemsize} "
            f"for {count} points. It is cut short; copy it again"
        )
    points = np.frombuffer(body, dtype=dtype, count=count)
    if count and np.isnan(points["x"][0]):
        points = points[:0]
    return {name: points[name] for name in names}
