"""What a stage is: a name, a version, what it reads and writes, its params and its kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.mono_depth.model import MonoDepthFactory
from pipeline.wanted_files import Wanted, WantedFiles
from storage_schemas.errors import SourceError
from storage_schemas.frozen_config import FrozenConfig
from storage_schemas.layout import Columns, StoreLayout, UnitData, rows
from storage_schemas.plug_ins import PlugIn
from storage_schemas.store import Store, UnitPath


class StageParams(FrozenConfig):
    """Base of every stage's Params: frozen, an unknown key is an error, a key that is added later changes no unit's name."""


class NoParams(StageParams):
    """Params of a stage that has none."""


class RawReader(Protocol):
    """Raw files of a source; everything a kernel may read besides its inputs."""

    def read_bytes(self, file: str) -> bytes:
        """Return the content of a file, named by its path below the source's root."""
        ...

    def read_points(self, file: str) -> NDArray[np.float32]:
        """Return a LiDAR file as (n, 3 or more) float32: x, y, z in metres in the sensor frame, then further columns."""
        ...

    def read_radar(self, file: str) -> dict[str, NDArray[Any]]:
        """Return a radar file as named columns."""
        ...

    def scene_tables(self, scene: str) -> dict[str, Columns]:
        """Return the tables of the FRAMES layout for one scene."""
        ...

    def digest_of(self, files: Iterable[str]) -> dict[str, str]:
        """Return number, size and combined digest of files that were read before, for the provenance in the lineage."""
        ...


@runtime_checkable
class CameraSweepReader(Protocol):
    """Further method of a reader whose source indexes the camera images between key frames."""

    def camera_sweeps(self, scene: str) -> dict[str, Columns]:
        """Return the tables of the CAMERA_SWEEPS layout for one scene."""
        ...


@runtime_checkable
class ObjectFactsReader(Protocol):
    """Further method of a reader whose source says more of annotated objects than their boxes."""

    def object_facts(self, scene: str) -> Columns:
        """Return columns of OBJECTS: annotation_token, attribute, visibility, num_lidar_points and num_radar_points.

        One more column, ``unreadable``, names those of them whose value in the source cannot be read, joined by a comma.
        """
        ...


@runtime_checkable
class SweepComparer(Protocol):
    """Further method of a reader that can tell a LiDAR file that is cut short from the others of its scene."""

    def refuse_cut_sweeps(self, files: Sequence[str]) -> None:
        """Raise SourceError if one file of a sensor is much shorter than its others; in time order, all read before."""
        ...


@runtime_checkable
class AheadReader(Protocol):
    """Further method of a reader whose files may be elsewhere, so that they are fetched before they are read."""

    def reading_ahead(self, scene: str, wanted: Sequence[WantedFiles]) -> AbstractContextManager[None]:
        """Fetch the files of a scene in the background while the block reads them.

        Args:
            scene: scene name.
            wanted: what each stage reads, in running order.
        """
        ...


class ImageObjects(NamedTuple):
    """What a source says of the objects of one image.

    Attributes:
        objects: rows of ``boxes.boxes`` without ``frame``, in the source's order; None = nobody annotated the image.
        projection_px: (3, 4) float64 projection of the frame that the objects are in.
        files: raw files that were read and hold something.
    """

    objects: list[dict[str, Any]] | None
    projection_px: NDArray[np.float64]
    files: tuple[str, ...]


@runtime_checkable
class ObjectReader(Protocol):
    """Further method of a reader whose source provides the BOXES layout."""

    def read_objects(self, image_file: str) -> ImageObjects:
        """Return the objects of an image; SourceError if a file of it is missing or broken."""
        ...


@runtime_checkable
class MapReader(Protocol):
    """Further method of a reader whose source provides depth maps of a layout."""

    def map_file(self, layout: StoreLayout, image_file: str) -> str:
        """Return the file below the root that holds an image's map: a 16-bit grey PNG of metres times 256, 0 = nothing."""
        ...


ParamsT = TypeVar("ParamsT", bound=StageParams)
T = TypeVar("T")


@dataclass
class StageInput:
    """What a kernel gets: where it is, its inputs, the raw files, and a memory shared within the scene.

    Attributes:
        scene: scene name; "all" for a stage over the whole data set.
        camera: camera channel; "all" for a stage that does not depend on one.
        units: input name -> content in memory. Names are layout names, or unit keys for a stage over the data set.
        raw: raw files of the source.
        shared: results that several stages or cameras of one scene can use; lives as long as the scene's task.
        used_files: raw files the kernel read, for the lineage.
        depth_model: makes the monocular depth model, where the recipe names one with weights; None otherwise.
        left_out: scene that cannot be used -> why; for a stage over the data set.
    """

    scene: str
    camera: str
    units: Mapping[str, UnitData]
    raw: RawReader
    shared: dict[Any, Any] = field(default_factory=dict)
    used_files: set[str] = field(default_factory=set)
    store: Store | None = None
    paths: Mapping[str, UnitPath] = field(default_factory=dict)
    depth_model: MonoDepthFactory | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def remember(self, key: Any, make: Callable[[], T]) -> T:
        """Return a shared result, making it on first use."""
        if key not in self.shared:
            self.shared[key] = make()
        result: T = self.shared[key]
        return result

    @property
    def _index(self) -> dict[str, Columns]:
        """Tables of the store frames, which only a stage that reads it may ask for."""
        if "frames" not in self.units:
            raise LookupError("a kernel asked for key frames or sweeps, and its stage does not read frames. Add FRAMES to reads")
        return self.units["frames"].tables

    @cached_property
    def keyframes(self) -> list[dict[str, Any]]:
        """Rows of frames.keyframes of this unit's camera, in time order."""
        return [row for row in rows(self._index["keyframes"]) if row["camera"] == self.camera]

    @cached_property
    def sweeps(self) -> list[dict[str, Any]]:
        """Rows of frames.sweeps, by channel in time order."""
        return rows(self._index["sweeps"])

    def timestamps_us(self) -> NDArray[np.int64]:
        """Return the image times of this unit's frames."""
        return np.array([row["timestamp_us"] for row in self.keyframes], dtype=np.int64)

    def image_size(self) -> tuple[int, int]:
        """Return (height, width) of this camera's images in this scene.

        Raises:
            SourceError: the images of the scene differ in size.
        """
        sizes = {(row["height"], row["width"]) for row in self.keyframes}
        if len(sizes) != 1:
            raise SourceError(
                f"scene {self.scene}, camera {self.camera}: images of different sizes {sorted(sizes)} in one scene; "
                "expected one size. Correct height and width in sample_data.json, or split the scene"
            )
        return sizes.pop()


@dataclass(frozen=True)
class StageResult:
    """What a kernel returns: the unit's content, what it counted, one line for humans, and more facts for the lineage."""

    data: UnitData
    counts: dict[str, float]
    message: str
    provenance: Mapping[str, str] = field(default_factory=dict)


def _always(_: Any) -> bool:
    return True


def _all_params(params: StageParams, _: Mapping[str, str]) -> dict[str, Any]:
    return params.model_dump(mode="json")


def _everything(_: Any) -> None:
    return None


def _no_files(_params: Any, _cameras: Sequence[str]) -> Mapping[str, Wanted]:
    return {}


@dataclass(frozen=True)
class StageSpec(Generic[ParamsT]):
    """One stage.

    Attributes:
        name: verb_object; the same word for file, stage and recipe key.
        version: raised by hand when results change for the same params and inputs.
        reads: layouts of its inputs.
        optional: those of ``reads`` that may be absent.
        reads_of: says from the params which of ``reads`` a recipe's choice asks for, so that the others' changes touch no unit.
        writes: layout of its output.
        params: its Params class.
        kernel: (input, params) -> result; no paths, clock, globals or unseeded random.
        needs: capability that a scene must offer for such a unit, see ``SceneInfo.offers``; None = any scene will do. A stage
            that needs its own output provided by the source gives way to a stage that makes it.
        channels_of: says from the params which sensor channels it reads; a scene must have one of them. None = any scene will do.
        files_of: says from the params and the recipe's cameras which raw files of which channels it reads.
        never_zero: counts of a unit, each with what it means if it is 0, e.g. ``no pixel is measured``; said as a finding.
        is_wanted: says from the params whether a recipe asks for an optional stage at all.
        counted: what of the params decides a unit, and so enters its fingerprint: all of them, unless a stage has params that do
            not always count, or depends on facts that only a look at the machine tells (the digest of a weights file).
        after: layouts that are made before this stage runs although it reads none of them, so that their makers do not read what
            it writes.
        plug_in: the package outside that brings the stage; None for our own.
    """

    name: str
    version: int
    reads: tuple[StoreLayout, ...]
    writes: StoreLayout
    params: type[ParamsT]
    kernel: Callable[[StageInput, ParamsT], StageResult]
    optional: tuple[StoreLayout, ...] = ()
    needs: str | None = None
    is_wanted: Callable[[ParamsT], bool] = _always
    counted: Callable[[ParamsT, Mapping[str, str]], dict[str, Any]] = _all_params
    reads_of: Callable[[ParamsT], tuple[StoreLayout, ...] | None] = _everything
    channels_of: Callable[[ParamsT], tuple[str, ...] | None] = _everything
    files_of: Callable[[ParamsT, Sequence[str]], Mapping[str, Wanted]] = _no_files
    never_zero: tuple[tuple[str, str], ...] = ()
    after: tuple[StoreLayout, ...] = ()
    plug_in: PlugIn | None = None

    @property
    def per(self) -> Literal["scene", "camera", "dataset"]:
        """What one unit covers, as its layout says: a scene and camera, a scene, or the data set."""
        return self.writes.per

    @property
    def is_unconditional(self) -> bool:
        """Say whether the stage runs for every scene, whatever the recipe and the source say."""
        return self.needs is None and self.channels_of is _everything and self.is_wanted is _always

    @property
    def provenance(self) -> dict[str, str]:
        """Facts for the lineage: package and version of a stage that a package outside brings."""
        return {} if self.plug_in is None else {self.plug_in.package: self.plug_in.version}

    def identity_params(self, params: ParamsT, facts: Mapping[str, str]) -> dict[str, Any]:
        """Return the params that enter a unit's fingerprint; the package too, since two packages may bring stages of one name."""
        counted = self.counted(params, facts)
        return counted if self.plug_in is None else {**counted, "plug_in": self.plug_in.package}

    def chosen_reads(self, params: ParamsT) -> tuple[StoreLayout, ...]:
        """Return the layouts that the stage reads with these params."""
        chosen = self.reads_of(params)
        return self.reads if chosen is None else chosen


def depth_result(
    depth_m: NDArray[np.uint16],
    num_measured: NDArray[np.int32],
    timestamp_us: NDArray[np.int64],
    *,
    arrays: Mapping[str, NDArray[Any]] | None = None,
    counts: Mapping[str, float] | None = None,
    pixels_are: str = "measured",
) -> StageResult:
    """Return the depth maps of a unit as a stage's result, with counts and a line for humans.

    Args:
        depth_m: (frame, y, x) steps of 1/256 m, 0 = no measurement.
        num_measured: (frame,) pixels that are not 0.
        timestamp_us: (frame,) times of the images.
        arrays: what the store holds besides.
        counts: what the stage counted besides.
        pixels_are: ends the line for humans.
    """
    num_pixels = depth_m[0].size
    return StageResult(
        UnitData({"depth_m": depth_m, "num_measured": num_measured, "timestamp_us": timestamp_us, **(arrays or {})}),
        {"frames": len(depth_m), "share_measured": float(num_measured.mean() / num_pixels), **(counts or {})},
        share_text(num_measured, num_pixels, pixels_are),
    )


def share_text(num_measured: NDArray[np.int32], num_pixels: int, pixels_are: str = "measured") -> str:
    """Say how many frames there are and what share of their pixels is measured."""
    frames = len(num_measured)
    share = float(num_measured.sum()) / max(1, frames * num_pixels)
    return f"{frames} frame{'s' if frames != 1 else ''}, {100 * share:.1f} % of pixels {pixels_are}"
