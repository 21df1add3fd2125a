"""The numbers by which ablations compare trainings of SemoDepth: their names in a recipe, how they are printed, where they are.

``mae_mm@80`` is of all frames, with radar unless the network has none; ``/day`` or ``/night`` of these only, and ``/off`` with
the radar taken away.

Reads  <training>/evaluation/frames.parquet
Source docs/method/semodepth.md#depth-metrics
"""

from __future__ import annotations

from pathlib import Path

from model.semodepth.config import SemoDepthTrainConfig
from model.semodepth.metrics import CAPS_M
from model.semodepth.summary import METRIC_FORMATS, summarise
from model.train.measures import Measure
from storage_schemas.evaluation import read_evaluation


def depth_measures(config: SemoDepthTrainConfig) -> dict[str, Measure]:
    """Return every measure of a training, by name."""
    measures = {}
    for is_without_radar in (False, True) if config.data.radar and config.evaluation.without_radar else (False,):
        for group in ("all", "day", "night"):
            for cap_m in CAPS_M:
                for metric, form in METRIC_FORMATS.items():
                    name = _name(metric, cap_m, group, is_without_radar=is_without_radar)
                    which = ("" if group == "all" else f", {group}") + (", without radar" if is_without_radar else "")
                    head = f"{form.head} up to {cap_m:g} m{which}"
                    measures[name] = Measure(name, head, form.decimals, metric.startswith("delta"))
    return measures


def read_depth_measures(folder: Path) -> dict[str, float]:
    """Return the means of a training's evaluation, by name; StoreError if it is missing or damaged."""
    rows = summarise(read_evaluation(str(folder / "evaluation"))[0])
    return {
        # radar on comes first; a network of the camera alone has radar off only
        _name(metric, row.cap_m, row.group, is_without_radar=row.radar != rows[0].radar): float(getattr(row, metric))
        for row in rows
        for metric in METRIC_FORMATS
    }


def _name(metric: str, cap_m: float, group: str, *, is_without_radar: bool) -> str:
    return f"{metric}@{cap_m:g}{'' if group == 'all' else f'/{group}'}{'/off' if is_without_radar else ''}"
