"""The numbers by which ablations compare pre-trainings: their names in a recipe, how they are printed, and where they are.

``reconstruct/abs_rel`` is a volume and its error; of the ``/key`` frame or the others (``/history``), of pixels that were
``/hidden`` or ``/visible``. ``probe/abs_rel``, ``probe/average_precision`` and ``probe/iou`` are what the frozen features know.

Reads  <training>/evaluation/rendering.csv and <training>/probe/probes.json
Source docs/method/mim4d.md#evaluation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.evaluation import read_rendering
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.probes.probe_files import TRAINED, has_probes, read_probes
from model.mim4d.ray_errors import ANY_RANGE, CONSTANT, COPIED, COPIED_WARPED, REBUILT_SWAPPED, SWAPPED, VOLUMES
from model.train.measures import Measure

_RENDERED = {
    "abs_rel": ("AbsRel", 4),
    "rmse_m": ("RMSE [m]", 2),
    "delta1": ("delta<1.25", 4),
    "rgb_l1": ("colour L1", 4),
}
"""Columns of rendering.csv, with head and decimals."""

_PLACES = {
    "": ("all", "all"),
    "key": ("key", "all"),
    "history": ("history", "all"),
    "hidden": ("all", "masked"),
    "visible": ("all", "visible"),
}
"""What a measure of MIM4D may be of, and the frames and pixels of rendering.csv that it is."""


def rendering_measures(config: Mim4dTrainConfig) -> dict[str, Measure]:
    """Return every measure of a training, by name."""
    is_single = config.network.num_frames == 1
    measures = {}
    if config.probe.steps:
        measures["probe/abs_rel"] = Measure("probe/abs_rel", "depth probe AbsRel", 4, False)
        measures["probe/average_precision"] = Measure("probe/average_precision", "occupancy probe AP", 4, True)
        measures["probe/iou"] = Measure("probe/iou", "occupancy probe IoU", 4, True)
    for volume in (DIRECT, SWAPPED, CONSTANT) if is_single else VOLUMES:
        for place in _PLACES:
            for column, (head, decimals) in _RENDERED.items():
                if not (is_single and place == "history"):
                    name = _rendering_name(volume, column, place)
                    measures[name] = Measure(name, f"{volume} {head}{place and f', {place}'}", decimals, column == "delta1")
    return measures


def published_renderings(variants: Sequence[Mapping[str, Measure]]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the headline and the details of a table: what every variant has.

    Single frames are all key frames, and rebuild nothing; beside such a variant the others are judged by their key frames.
    """

    def common(volumes: Sequence[str], column: str, place: str = "") -> tuple[str, ...]:
        names = [_rendering_name(volume, column, place) for volume in volumes]
        return tuple(name for name in names if all(name in measures for measures in variants))

    both = (RECONSTRUCT, DIRECT)
    rebuilds = [_rendering_name(RECONSTRUCT, "abs_rel", "") in measures for measures in variants]
    if any(rebuilds) and not all(rebuilds):
        controls = common((SWAPPED, CONSTANT), "abs_rel", "key")
        headline = (*common(both, "abs_rel", "key"), *common(both, "rgb_l1", "key"), *common(("probe",), "abs_rel"))
        return headline, {"Controls of key frames": controls}
    headline = (*common((*both, COPIED_WARPED), "abs_rel"), *common(both, "rgb_l1", "hidden")[:1], *common(("probe",), "abs_rel"))
    details = {
        "Controls": common((COPIED_WARPED, COPIED, SWAPPED, REBUILT_SWAPPED, CONSTANT), "abs_rel"),
        "Key frames": common(both, "abs_rel", "key"),
        "Colour in hidden patches": common((*both, COPIED_WARPED, SWAPPED, CONSTANT), "rgb_l1", "hidden"),
        "Probes of the frozen network": tuple(
            name for column in ("abs_rel", "average_precision", "iou") for name in common(("probe",), column)
        ),
    }
    return headline, {title: group for title, group in details.items() if group}


def _rendering_name(volume: str, column: str, place: str) -> str:
    return f"{volume}/{column}{place and f'/{place}'}"


def read_rendering_measures(folder: Path) -> dict[str, float]:
    """Return what was rendered and probed of a complete training, by name; StoreError if a file is missing or damaged."""
    rows = {row[:3]: row._asdict() for row in read_rendering(folder / "evaluation") if row.range_m == ANY_RANGE}
    values = {
        _rendering_name(volume, column, place): float(row[column])
        for (volume, *kind), row in rows.items()
        for place, wanted in _PLACES.items()
        if tuple(kind) == wanted
        for column in _RENDERED
    }
    if has_probes(folder):
        probes = read_probes(folder)
        depth, occupancy = probes.depth_of(TRAINED), probes.occupancy_of(TRAINED)
        values |= {} if depth is None else {"probe/abs_rel": depth.abs_rel}
        if occupancy is not None:
            values |= {"probe/iou": occupancy.iou, "probe/average_precision": occupancy.average_precision}
    return {name: value for name, value in values.items() if value == value}  # a mean of no rays was not measured
