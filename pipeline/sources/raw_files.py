"""Raw sensor files of a nuScenes-format data set: LiDAR points, radar points, image bytes.

Every read is noted with its size and digest, so that a unit's lineage can witness which bytes it saw.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from storage_schemas.catalog import CAMERA_SWEEPS, FRAMES
from storage_schemas.errors import SourceError
from storage_schemas.files import leaves_root
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


class NuScenesFiles:
    """Reader of raw files below a data root; small and picklable, opened anew in every worker.

    Args:
        root: data root that the file columns of the index are relative to.
        index_folder: folder with the cached index with the tables of every scene.
    """

    def __init__(self, root: str, index_folder: str) -> None:
        self.root, self._root = Path(root), str(Path(root))
        self.index_folder = Path(index_folder)
        self._seen: dict[str, tuple[int, str]] = {}

    def __reduce__(self) -> tuple[type[NuScenesFiles], tuple[str, str]]:
        """Pickle the two paths only."""
        return (NuScenesFiles, (str(self.root), str(self.index_folder)))

    def scene_tables(self, scene: str) -> dict[str, Columns]:
        """Return the FRAMES tables of one scene from the cached index."""
        return self._indexed(FRAMES, scene)

    def camera_sweeps(self, scene: str) -> dict[str, Columns]:
        """Return the CAMERA_SWEEPS tables of one scene from the cached index, which holds them where the source was asked to."""
        return self._indexed(CAMERA_SWEEPS, scene)

    def _indexed(self, layout: StoreLayout, scene: str) -> dict[str, Columns]:
        return {
            spec.name: read_rows(str(self.index_folder / f"{spec.name}.parquet"), spec, scene=scene) for spec in layout.tables
        }

    def read_bytes(self, file: str) -> bytes:
        """Return the content of a file.

        Raises:
            SourceError: the file is missing, empty or not readable, or its name leads out of the data root.
        """
        refuse_to_leave(file, where=f"data root '{self.root}'")
        path = f"{self._root}/{file}"  # thousands of files a scene: a Path for each would cost as much as hashing it
        try:
            with open(path, "rb", buffering=0) as stream:
                content: bytes = stream.readall()
        except FileNotFoundError as error:
            raise SourceError(f"file missing: {path}. Unpack the archive that holds it, then run the same command") from error
        except PermissionError as error:
            raise SourceError(f"cannot read '{path}': permission denied. Ask for read permission on the data set") from error
        except OSError as error:
            raise SourceError(f"cannot read '{path}': {error.strerror}. Check the disk, then run the same command") from error
        if not content:
            raise SourceError(f"file '{path}' is empty (0 bytes). Copy it again, then run the same command")
        self._seen[file] = (len(content), xxhash.xxh3_128_hexdigest(content))
        return content

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

    def digest_of(self, files: Iterable[str]) -> dict[str, str]:
        """Return number, total size and a combined xxh3 digest of files that were read before."""
        names = sorted(set(files))
        combined = xxhash.xxh3_128()
        for name in names:
            size, digest = self._seen[name]
            combined.update(f"{name} {size} {digest}\n".encode())
        return {
            "raw_files": str(len(names)),
            "raw_bytes": str(sum(self._seen[name][0] for name in names)),
            "raw_xxh3_128": combined.hexdigest(),
        }


def refuse_to_leave(file: str, *, where: str) -> None:
    """Check that a file named in a table lies below a folder: tables come from elsewhere.

    Raises:
        SourceError: the name is absolute, climbs with '..', or is no name of a file.
    """
    if leaves_root(file):
        raise SourceError(
            f"a table names the file {file!r}, which does not lie below the {where}. The tables are damaged or not to be "
            "trusted; unpack the metadata archive again"
        )


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
