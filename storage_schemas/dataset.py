"""A whole manifest, or one unit, as a lazy xarray Dataset over frames: for notebooks, plots and questions.

Nothing is read until it is computed; one chunk is one frame. Coordinates say of each frame when it was taken, by which camera and
from where: ``time``, ``scene``, ``camera``, ``intrinsic_px`` and ``world_from_cam``. Depth is float32 metres. NaN is where
nothing was measured, because xarray's own statistics skip it (only here: everywhere else in depthmill "no measurement" is 0).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from storage_schemas.catalog import find_layout
from storage_schemas.encoding import NO_MEASUREMENT, decode_depth
from storage_schemas.errors import ManifestError
from storage_schemas.frames import holds_images, packed_image, radar_of_frame
from storage_schemas.image_files import IMAGE_FORMATS
from storage_schemas.layout import StoreLayout
from storage_schemas.manifest import Manifest
from storage_schemas.store import Store, StoredUnit, UnitPath, zarr_url

if TYPE_CHECKING:
    import xarray as xr

_COORDINATES = ("frame_key", "scene", "camera", "split", "is_night", "timestamp_us", "num_radar_points")


def open_dataset(manifest: Manifest, *, camera: str | None = None) -> xr.Dataset:
    """Open a manifest lazily.

    Args:
        manifest: an opened manifest.
        camera: keep the samples of one camera only; needed where cameras differ in image size.

    Returns:
        Dataset over ``frame`` with ``image`` (y, x, channel) uint8, one ``<store>_m`` (y, x) per depth store that every sample
        has, ``radar_m`` (y, x) with the nearest return per pixel. Coordinates over ``frame``: the manifest's columns, ``time``
        (datetime64), ``intrinsic_px`` (row, column) and ``world_from_cam`` (world, cam); NaN = not known.

    Raises:
        ManifestError: no samples, or images of different sizes.
    """
    import xarray as xr

    samples = [row for row in manifest.rows() if camera is None or row["camera"] == camera]
    if not samples:
        raise ManifestError(f"manifest {manifest.path.fingerprint} has no samples" + (f" of camera {camera}" if camera else ""))
    sizes = {(row["height"], row["width"]) for row in samples}
    if len(sizes) > 1:
        raise ManifestError(
            f"manifest {manifest.path.fingerprint} has images of different sizes {sorted(sizes)}; "
            "choose one camera with camera=..., or scenes of one size with scenes: [...] in the recipe"
        )
    height, width = sizes.pop()
    reader = _FrameReader(manifest.store, height, width)
    variables: dict[str, Any] = {}
    for layout in depth_stores(manifest):
        if all(row[layout.pin] for row in samples):
            variables[f"{layout.name}_m"] = _lazy(
                reader.depth,
                manifest,
                samples,
                layout.name,
                (height, width),
                "float32",
                {"units": "m", "long_name": layout.description},
            )
    if all(row["unit_radar_points"] for row in samples):
        variables["radar_m"] = _lazy(
            reader.radar,
            manifest,
            samples,
            "radar_points",
            (height, width),
            "float32",
            {"units": "m", "long_name": "nearest radar return per pixel"},
        )
    if all(row["unit_images"] for row in samples):
        variables["image"] = _lazy(
            reader.image, manifest, samples, "images", (height, width, 3), "uint8", {"long_name": "RGB image"}
        )
    coordinates = {
        name: ("frame", np.array([row[name] for row in samples]))
        for name in _COORDINATES
        if all(row[name] is not None for row in samples)
    }
    coordinates |= frame_coordinates(samples)
    return xr.Dataset(
        variables, coords=coordinates, attrs={"manifest": manifest.path.fingerprint, "store": manifest.store.shown_root}
    )


def open_unit_dataset(store: Store, path: UnitPath, frames: Sequence[dict[str, Any]]) -> xr.Dataset:
    """Open one unit lazily.

    Args:
        store: an opened store.
        path: the unit.
        frames: what is known of its frames, in their order: ``timestamp_us``, ``intrinsic_px`` (9), ``world_from_cam`` (16);
            empty = nothing.

    Returns:
        Its arrays as xarray decodes them: pixels without a measurement are NaN, units are attributes. Coordinates are ``scene``,
        ``camera``, and those of ``frame_coordinates`` over ``frame``.

    Raises:
        StoreError: the unit is not there or is damaged.
    """
    import xarray as xr

    store.open_unit(path)  # says in words what is wrong with it
    dataset = xr.open_zarr(zarr_url(store, path), consolidated=True, zarr_format=3, chunks={})
    coordinates: dict[str, Any] = {"scene": path.scene, "camera": path.camera}
    if frames and dataset.sizes.get("frame") == len(frames):
        coordinates |= frame_coordinates(frames)
    opened: xr.Dataset = dataset.assign_coords(coordinates).assign_attrs(unit=path.key, store=store.shown_root)
    return opened


def frame_coordinates(frames: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return coordinates over ``frame``: ``time``, ``intrinsic_px`` (row, column) and ``world_from_cam`` (world, cam).

    Args:
        frames: with ``timestamp_us``, ``intrinsic_px`` (9) and ``world_from_cam`` (16), row-major. A list of another length says
            that it is not known: its values are NaN, and a coordinate of which nothing is known is left out.
    """
    times = np.array([row["timestamp_us"] for row in frames], np.int64).astype("datetime64[us]")
    found: dict[str, Any] = {"time": ("frame", times, {"long_name": "time of the image"})}
    for name, size, dims, about in (
        ("intrinsic_px", 3, ("row", "column"), {"units": "pixel", "long_name": "camera matrix"}),
        ("world_from_cam", 4, ("world", "cam"), {"long_name": "pose of the camera at the image's time, metres"}),
    ):
        values = np.full((len(frames), size * size), np.nan)
        for number, row in enumerate(frames):
            if row.get(name) is not None and len(row[name]) == size * size:
                values[number] = row[name]
        if not np.isnan(values).all():
            found[name] = (("frame", *dims), values.reshape(-1, size, size), about)
    return found


def depth_stores(manifest: Manifest) -> list[StoreLayout]:
    """Return the stores of a manifest that hold a depth map of every frame at the image's size."""
    layouts = [layout for name in manifest.stores if (layout := find_layout(name)) is not None]
    return [layout for layout in layouts if any((a.name, a.dims) == ("depth_m", ("frame", "y", "x")) for a in layout.arrays)]


def _lazy(
    read: Any,
    manifest: Manifest,
    samples: Sequence[dict[str, Any]],
    layout: str,
    shape: tuple[int, ...],
    dtype: str,
    attributes: dict[str, str],
) -> tuple[tuple[str, ...], Any, dict[str, str]]:
    import dask.array as da
    from dask.delayed import delayed as make_delayed

    delayed = make_delayed(read, pure=True)
    frames = [da.from_delayed(delayed(manifest.unit_of(row, layout), row["frame"]), shape, dtype=dtype) for row in samples]
    return (("frame", "y", "x", "channel")[: len(shape) + 1], da.stack(frames), attributes)


class _FrameReader:
    """Reads one frame of one unit; a dask worker opens the store by its root."""

    def __init__(self, store: Store, height: int, width: int) -> None:
        self._store, self._height, self._width = store, height, width

    def _open(self, path: UnitPath) -> StoredUnit:
        return self._store.open_unit(path)

    def depth(self, path: UnitPath, frame: int) -> NDArray[np.float32]:
        steps = self._open(path).array("depth_m", frame)
        return np.where(steps == NO_MEASUREMENT, np.float32(np.nan), decode_depth(steps))

    def radar(self, path: UnitPath, frame: int) -> NDArray[np.float32]:
        u, v, depth = radar_of_frame(self._open(path), frame)
        image = np.full((self._height, self._width), np.inf, np.float32)
        column = np.clip(np.rint(u).astype(int), 0, self._width - 1)
        row = np.clip(np.rint(v).astype(int), 0, self._height - 1)
        np.minimum.at(image, (row, column), depth.astype(np.float32))
        image[np.isinf(image)] = np.nan
        return image

    def image(self, path: UnitPath, frame: int) -> NDArray[np.uint8]:
        from PIL import Image

        unit = self._open(path)
        if not holds_images(unit):
            raise ManifestError(f"unit '{path.key}' refers to image files and holds no pixels; run with pack_images.mode: bytes")
        with Image.open(io.BytesIO(packed_image(unit, frame)), formats=IMAGE_FORMATS) as image:
            return np.asarray(image.convert("RGB"))
