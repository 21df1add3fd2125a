"""The numbers that an ablation compares: their names in a recipe, how they are printed, and where a training has them.

Why    A detector is measured by average precision, depth by errors; the table of an ablation need not know which it is
Source specs/semodepth.md section 4; specs/monoddle.md sections 6 and 8.2; specs/mim4d.md section 8
Reads  <training>/evaluation: frames.parquet of SemoDepth, average_precision.csv of MonoDDLE, rendering.csv of MIM4D;
       <training>/probe/probes.json of MIM4D
"""

from __future__ import annotations

import csv
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from storage_schemas.errors import RecipeError, StoreError
from storage_schemas.evaluation import read_evaluation

if TYPE_CHECKING:
    from model.families import TrainConfig
    from model.mim4d.config import Mim4dTrainConfig
    from model.monoddle.config import MonoDdleTrainConfig
    from model.semodepth.config import SemoDepthTrainConfig

DIFFICULTIES = ("easy", "moderate", "hard")

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


class Measure(NamedTuple):
    """One number of a training.

    Attributes:
        name: as in ``ablation.metrics``.
        head: of its column, with the unit.
        decimals: so many are printed.
        is_higher_better: average precision and deltas; else it is an error.
    """

    name: str
    head: str
    decimals: int
    is_higher_better: bool


class Columns(NamedTuple):
    """What a table shows.

    Attributes:
        headline: of the table on the console and on top of the file.
        details: of further tables of the file, by their titles.
    """

    headline: tuple[Measure, ...]
    details: Mapping[str, tuple[Measure, ...]]

    @property
    def all(self) -> tuple[Measure, ...]:
        """Return every measure once."""
        return tuple(dict.fromkeys((*self.headline, *(one for group in self.details.values() for one in group))))


def measures_of(config: TrainConfig) -> dict[str, Measure]:
    """Return everything by which a training can be judged, by name.

    SemoDepth ``mae_mm@80``, of all frames, with radar unless the network has none; ``/day`` or ``/night`` of these only, and
    ``/off`` with the radar taken away. MonoDDLE ``Car/3d@0.7/moderate``: R40 of a class, metric, least overlap and difficulty.
    MIM4D ``reconstruct/abs_rel``: a volume and its error; of the ``/key`` frame or the others (``/history``), of pixels that were
    ``/hidden`` or ``/visible``; and ``probe/abs_rel``, ``probe/average_precision``, ``probe/iou``: what the frozen features know.
    """
    if config.family == "semodepth":
        return _depth_measures(config)
    if config.family == "monoddle":
        return _detection_measures(config)
    return _rendering_measures(config)


def columns_of(configs: Sequence[TrainConfig], chosen: Sequence[str] | None, *, where: str) -> Columns:
    """Return what the table of trainings of one family shows.

    Args:
        configs: one of each variant, the first one's class of the evaluation being what is shown of a detector.
        chosen: names; None = those of published tables.
        where: name of the recipe file, for errors.

    Raises:
        RecipeError: not every variant is measured by one of the names.
    """
    known = [measures_of(config) for config in configs]
    details: dict[str, tuple[str, ...]] = {}
    names = tuple(chosen or ())
    if not chosen:
        first = configs[0]
        if first.family == "semodepth":
            names = ("mae_mm@80", "rmse_mm@80", "delta1@80")
        elif first.family == "monoddle":
            details = _published_precisions(first.evaluation.category)
            names = tuple(group[1] for group in details.values())  # moderate
        else:
            names, details = _published_renderings(known)
    for name in (*names, *(one for group in details.values() for one in group)):
        if not all(name in one for one in known):
            there = [one for one in known[0] if all(one in other for other in known)]
            near = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"expected e.g. {', '.join(there[:3])}"
            what = "ablation.metrics has" if chosen else "without ablation.metrics the table shows"
            raise RecipeError(f"recipe '{where}': {what} '{name}', by which not every variant is measured; {hint}")
    return Columns(
        tuple(known[0][name] for name in names),
        {title: tuple(known[0][name] for name in group) for title, group in details.items()},
    )


def read_measures(config: TrainConfig, folder: Path) -> dict[str, float]:
    """Return what was measured of a complete training, by name; a name is not there if nothing could be measured.

    Raises:
        StoreError: its evaluation is missing or damaged.
    """
    if config.family == "semodepth":
        return _read_depth(folder)
    return _read_detection(folder) if config.family == "monoddle" else _read_rendering(folder)


def _depth_measures(config: SemoDepthTrainConfig) -> dict[str, Measure]:
    from model.semodepth.metrics import CAPS_M
    from model.semodepth.summary import METRIC_FORMATS

    found = {}
    for is_without_radar in (False, True) if config.data.radar and config.evaluation.without_radar else (False,):
        for group in ("all", "day", "night"):
            for cap_m in CAPS_M:
                for metric, form in METRIC_FORMATS.items():
                    name = _depth_name(metric, cap_m, group, is_without_radar=is_without_radar)
                    which = ("" if group == "all" else f", {group}") + (", without radar" if is_without_radar else "")
                    head = f"{form.head} up to {cap_m:g} m{which}"
                    found[name] = Measure(name, head, form.decimals, metric.startswith("delta"))
    return found


def _depth_name(metric: str, cap_m: float, group: str, *, is_without_radar: bool) -> str:
    return f"{metric}@{cap_m:g}{'' if group == 'all' else f'/{group}'}{'/off' if is_without_radar else ''}"


def _read_depth(folder: Path) -> dict[str, float]:
    from model.semodepth.summary import METRIC_FORMATS, summarise

    rows = summarise(read_evaluation(str(folder / "evaluation"))[0])
    return {
        # radar on comes first; a network of the camera alone has radar off only
        _depth_name(metric, row.cap_m, row.group, is_without_radar=row.radar != rows[0].radar): float(getattr(row, metric))
        for row in rows
        for metric in METRIC_FORMATS
    }


def _detection_measures(config: MonoDdleTrainConfig) -> dict[str, Measure]:
    from model.monoddle.average_precision import LOOSE_OVERLAP, STRICT_OVERLAP

    found = {}
    for category in config.network.train_classes:
        strict, loose = STRICT_OVERLAP.get(category), LOOSE_OVERLAP.get(category)
        for metric, overlaps in (("3d", (strict, loose)), ("bev", (strict, loose)), ("2d", (strict,)), ("aos", (strict,))):
            for overlap in overlaps:
                for difficulty in DIFFICULTIES:
                    if overlap is not None:  # else a class that KITTI defines no overlap for: it cannot be measured
                        name = _precision_name(category, metric, overlap, difficulty)
                        head = f"{category} {metric.upper()}@{overlap:g} {difficulty} [%]"
                        found[name] = Measure(name, head, 2, True)
    return found


def _published_precisions(category: str) -> dict[str, tuple[str, ...]]:
    """Return the columns of published tables by title: 3D and BEV, the strict overlap first."""
    from model.monoddle.average_precision import LOOSE_OVERLAP, STRICT_OVERLAP

    found = {}
    for table in (STRICT_OVERLAP, LOOSE_OVERLAP):
        for metric in ("3d", "bev"):
            overlap = table.get(category, 0.0)
            title = f"{category} {metric.upper()}@{overlap:g}, AP_R40"
            found[title] = tuple(_precision_name(category, metric, overlap, one) for one in DIFFICULTIES)
    return found


def _precision_name(category: str, metric: str, min_overlap: float, difficulty: str) -> str:
    return f"{category}/{metric}@{min_overlap:g}/{difficulty}"


def _read_detection(folder: Path) -> dict[str, float]:
    from model.monoddle.evaluation import AP_FILE

    path = folder / "evaluation" / AP_FILE
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            return {
                _precision_name(row["category"], row["metric"], float(row["min_overlap"]), row["difficulty"]): float(row["r40"])
                for row in csv.DictReader(stream)
            }
    except (OSError, KeyError, ValueError) as error:
        raise StoreError(
            f"'{path}' cannot be read: {type(error).__name__}: {error}. Delete that training's folder and train it again"
        ) from error


def _rendering_measures(config: Mim4dTrainConfig) -> dict[str, Measure]:
    from model.mim4d.loss import DIRECT
    from model.mim4d.ray_errors import CONSTANT, SWAPPED, VOLUMES

    is_single = config.network.num_frames == 1
    found = {}
    if config.probe.steps:
        found["probe/abs_rel"] = Measure("probe/abs_rel", "depth probe AbsRel", 4, False)
        found["probe/average_precision"] = Measure("probe/average_precision", "occupancy probe AP", 4, True)
        found["probe/iou"] = Measure("probe/iou", "occupancy probe IoU", 4, True)
    for volume in (DIRECT, SWAPPED, CONSTANT) if is_single else VOLUMES:
        for place in _PLACES:
            for column, (head, decimals) in _RENDERED.items():
                if not (is_single and place == "history"):
                    name = _rendering_name(volume, column, place)
                    found[name] = Measure(name, f"{volume} {head}{place and f', {place}'}", decimals, column == "delta1")
    return found


def _published_renderings(known: Sequence[Mapping[str, Measure]]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the headline and the details of a table: what every variant has.

    Single frames are all key frames, and rebuild nothing; beside such a variant the others are judged by their key frames.
    """
    from model.mim4d.loss import DIRECT, RECONSTRUCT
    from model.mim4d.ray_errors import CONSTANT, COPIED, COPIED_WARPED, REBUILT_SWAPPED, SWAPPED

    def common(volumes: Sequence[str], column: str, place: str = "") -> tuple[str, ...]:
        names = [_rendering_name(volume, column, place) for volume in volumes]
        return tuple(name for name in names if all(name in one for one in known))

    own = (RECONSTRUCT, DIRECT)
    rebuilds = [_rendering_name(RECONSTRUCT, "abs_rel", "") in one for one in known]
    if any(rebuilds) and not all(rebuilds):
        controls = common((SWAPPED, CONSTANT), "abs_rel", "key")
        headline = (*common(own, "abs_rel", "key"), *common(own, "rgb_l1", "key"), *common(("probe",), "abs_rel"))
        return headline, {"Controls of key frames": controls}
    headline = (*common((*own, COPIED_WARPED), "abs_rel"), *common(own, "rgb_l1", "hidden")[:1], *common(("probe",), "abs_rel"))
    details = {
        "Controls": common((COPIED_WARPED, COPIED, SWAPPED, REBUILT_SWAPPED, CONSTANT), "abs_rel"),
        "Key frames": common(own, "abs_rel", "key"),
        "Colour in hidden patches": common((*own, COPIED_WARPED, SWAPPED, CONSTANT), "rgb_l1", "hidden"),
        "Probes of the frozen network": tuple(
            one for column in ("abs_rel", "average_precision", "iou") for one in common(("probe",), column)
        ),
    }
    return headline, {title: group for title, group in details.items() if group}


def _rendering_name(volume: str, column: str, place: str) -> str:
    return f"{volume}/{column}{place and f'/{place}'}"


def _read_rendering(folder: Path) -> dict[str, float]:
    from model.mim4d.evaluation import read_rendering
    from model.mim4d.probes.probe_files import TRAINED, has_probes, read_probes
    from model.mim4d.ray_errors import ANY_RANGE

    rows = {row[:3]: row._asdict() for row in read_rendering(folder / "evaluation") if row.range_m == ANY_RANGE}
    found = {
        _rendering_name(volume, column, place): float(row[column])
        for (volume, *kind), row in rows.items()
        for place, wanted in _PLACES.items()
        if tuple(kind) == wanted
        for column in _RENDERED
    }
    if has_probes(folder):
        probes = read_probes(folder)
        depth, occupancy = probes.depth_of(TRAINED), probes.occupancy_of(TRAINED)
        found |= {} if depth is None else {"probe/abs_rel": depth.abs_rel}
        if occupancy is not None:
            found |= {"probe/iou": occupancy.iou, "probe/average_precision": occupancy.average_precision}
    return {name: value for name, value in found.items() if value == value}  # a mean of no rays was not measured
