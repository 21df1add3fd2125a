"""The row that every study prints beside its networks: what a table of depths says that sees neither image nor radar.

Why    A camera that always looks along a street sees much the same depth at a pixel. A network that is no better than the median
       depth of each pixel over its training frames has learned nothing from its inputs.
Rule   Per camera and pixel the median of the training depths that are there, of the same dense target that the network is trained
       on; a pixel that no training frame measures takes the value of the nearest pixel that has one
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

NAME = "table without image and radar"
"""Name of the row."""

_ROWS_AT_ONCE = 16
_STEPS_PER_M = 256.0


def median_of_measured(steps: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return the median of what is measured of each pixel, in metres; 0 where no frame measures it.

    Args:
        steps: (num_frames, h, w) stored depth, 1/256 m, 0 = no measurement.

    Returns:
        (h, w) float32 metres; of an even number the mean of the middle two.
    """
    median = np.zeros(steps.shape[1:], np.float32)
    for first in range(0, steps.shape[1], _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        ordered = np.sort(steps[:, rows], axis=0)  # what is not measured comes first
        count = np.count_nonzero(ordered, axis=0)
        middle = [len(steps) - count + (count - 1) // 2, len(steps) - count + count // 2]
        values = [np.take_along_axis(ordered, np.minimum(at, len(steps) - 1)[None], axis=0)[0] for at in middle]
        median[rows] = np.where(count > 0, (values[0].astype(np.float64) + values[1]) / (2 * _STEPS_PER_M), 0.0)
    return median


def filled_from_nearest(depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map (h, w) whose zeros have the value of the nearest pixel that is not zero; unchanged if all are zero."""
    if not depth_m.any():
        return depth_m
    row, column = distance_transform_edt(depth_m == 0, return_distances=False, return_indices=True)
    filled: NDArray[np.float32] = depth_m[row, column]
    return filled


def tables_of(manifest: Any, *, target: str, cameras: Sequence[str] = (), split: str = "train") -> dict[str, NDArray[np.float32]]:
    """Return the table (h, w) in metres of each camera, from the frames of a split.

    Args:
        manifest: an opened manifest.
        target: store of the dense target that the networks are trained on.
        cameras: channels; empty = all.
        split: that the networks are trained on.
    """
    maps: dict[str, list[NDArray[np.uint16]]] = {}
    for row, path, unit in _units(manifest, target, split):
        if path is not None and (not cameras or row["camera"] in cameras):
            maps.setdefault(row["camera"], []).append(unit.array("depth_m", row["frame"]))
    return {camera: filled_from_nearest(median_of_measured(np.stack(of_camera))) for camera, of_camera in maps.items()}


def _units(manifest: Any, store_name: str, split: str) -> Iterator[tuple[dict[str, Any], Any, Any]]:
    """Yield the rows of a split with the unit that holds their map, each unit opened once."""
    path, unit = None, None
    for row in manifest.rows():
        if row["split"] == split:
            wanted = manifest.unit_of(row, store_name)
            if wanted is not None and wanted != path:
                path, unit = wanted, manifest.store.open_unit(wanted)
            yield row, wanted, unit


def frame_errors(manifest: Any, *, target: str, truth: str, cameras: Sequence[str] = ()) -> dict[str, list[Any]]:
    """Measure the tables as a network is measured: columns of storage_schemas.evaluation.FRAME_METRICS, radar off.

    Args:
        manifest: an opened manifest.
        target: store of the dense target that the networks are trained on.
        truth: store that they are measured against, on the split val.
        cameras: channels; empty = all.
    """
    import torch

    from model.semodepth.config import DataConfig, EvaluationConfig
    from model.semodepth.depth_space import DepthSpace
    from model.semodepth.evaluation import evaluate, measured_frames

    config = EvaluationConfig.model_validate({"target": truth, "num_strips": 0})
    columns: dict[str, list[Any]] = {}
    for camera, table in tables_of(manifest, target=target, cameras=cameras).items():
        depth_m = torch.from_numpy(table)[None]
        frames = measured_frames(manifest, config, DataConfig(cameras=(camera,), radar=False))
        measured = evaluate(
            lambda image_u8, _radar_m, _mono_m, depth_m=depth_m: depth_m.expand(len(image_u8), -1, -1),
            frames,
            config,
            space=DepthSpace(),
            device=torch.device("cpu"),
        )
        for name, values in measured.frames.items():
            columns.setdefault(name, []).extend(values)
    return columns


def row_of(columns: dict[str, list[Any]], *, cap_m: float = 80.0) -> dict[str, float]:
    """Return the means that studies print, of ``frame_errors``: MAE in mm by group (``all``, ``day``, ``night``) and delta1."""
    from model.semodepth.summary import summarise

    rows = {row.group: row for row in summarise(columns) if row.cap_m == cap_m}
    return {**{group: row.mae_mm for group, row in rows.items()}, "delta1": rows["all"].delta1}
