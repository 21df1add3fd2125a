"""By what depth networks are judged: errors frame by frame, with an interval over scenes.

Source  docs/method/semodepth.md#depth-metrics
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from model.blocks.full_precision import PRECISION
from model.devices import network_device
from model.semodepth.comparison import Comparison, compare_runs, comparison_text
from model.semodepth.config import SemoDepthTrainConfig
from model.semodepth.evaluation import Evaluation, evaluate, measured_frames, write_evaluation_folder
from model.semodepth.metrics import CAPS_M
from model.semodepth.net import SemoDepth
from model.semodepth.summary import METRIC_FORMATS, summarise
from model.train.config import Machine
from model.train.family import Family
from model.train.family_types import placement
from model.train.judging import Judging, MeanDifference, Rules
from model.train.measures import Measure
from storage_schemas.evaluation import RADAR, read_evaluation
from storage_schemas.layout import Columns
from storage_schemas.manifest import Manifest


class DepthJudging(Family[SemoDepthTrainConfig]):
    """The part of the family that champions are judged by."""

    retrain_refusal = ""

    def judging(self, config: SemoDepthTrainConfig) -> Judging:
        """Return metrics, caps and radar states that this training will measure."""
        metrics = {
            name: Measure(name, form.head, form.decimals, name.startswith("delta")) for name, form in METRIC_FORMATS.items()
        }
        caps_m = tuple(sorted(CAPS_M, reverse=True))
        if not config.data.radar:
            return Judging(metrics, caps_m, RADAR[1:], {"radar": "train.data.radar is false"})
        if not config.evaluation.without_radar:
            return Judging(metrics, caps_m, RADAR[:1], {"radar": "train.evaluation.without_radar is false"})
        return Judging(metrics, caps_m, RADAR)

    def deciding_value(self, evaluation: Path, rules: Rules) -> float | None:
        """Return the mean over all frames of the metric that decides."""
        for row in summarise(read_evaluation(str(evaluation))[0]):
            if (row.radar, row.group, row.cap_m) == (rules.radar, "all", rules.cap_m):
                return float(getattr(row, rules.metric))
        return None

    def nothing_measured_text(self, rules: Rules) -> str:
        """Say which pixels the split lacks."""
        return f"no frame of the split has a measured pixel up to {rules.cap_m:g} m with radar {rules.radar}"

    def never_comparable(self, champion: SemoDepthTrainConfig, challenger: SemoDepthTrainConfig, rules: Rules) -> str:
        """Say that a network of the camera alone has no errors with radar."""
        if rules.radar == "on" and not champion.data.radar:
            return "it is of the camera alone (train.data.radar is false), and retrain.radar is on"
        return ""

    def compare_with_champion(self, champion: Path, challenger: Path, rules: Rules) -> Sequence[MeanDifference]:
        """Compare two evaluations frame by frame; all frames come first."""
        assert rules.cap_m is not None and rules.radar is not None  # judging() names choices of both
        return compared_evaluations(
            champion, challenger, metric=rules.metric, cap_m=rules.cap_m, radar=rules.radar, left_out=rules.left_out
        )

    def comparison_text(self, differences: Sequence[MeanDifference]) -> str:
        """Return comparisons as a table for the console."""
        return comparison_text([difference for difference in differences if isinstance(difference, Comparison)])

    def measured_otherwise(self, champion: SemoDepthTrainConfig, challenger: SemoDepthTrainConfig) -> list[str]:
        """Say what of a champion's evaluation does not fit a challenger's: split, target, radar, cameras or rows."""
        differs = []
        if (champion.evaluation.split, champion.evaluation.target) != (challenger.evaluation.split, challenger.evaluation.target):
            differs.append("split or target changed")
        needs_off = challenger.evaluation.without_radar or not challenger.data.radar
        if needs_off and champion.data.radar and not champion.evaluation.without_radar:
            differs.append("it was not measured without radar")
        if champion.data.cameras != challenger.data.cameras:
            differs.append("cameras changed")
        if champion.data.rows != challenger.data.rows:
            differs.append("rows changed")
        return differs

    def measure_as(
        self,
        network: nn.Module,
        champion: SemoDepthTrainConfig,
        challenger: SemoDepthTrainConfig,
        manifest: Manifest,
        machine: Machine,
        *,
        folder: Path,
        name: str,
    ) -> None:
        """Measure a champion's network on the challenger's frames and targets."""
        device = network_device(machine.accelerator)
        without_radar = challenger.evaluation.without_radar or not challenger.data.radar
        wanted = challenger.evaluation.model_copy(update={"num_strips": 0, "without_radar": without_radar})
        seen = champion.data.model_copy(update={"cameras": challenger.data.cameras, "rows": challenger.data.rows})
        config = champion.model_copy(update={"evaluation": wanted, "data": seen})
        evaluation = measured_network(network.to(device), manifest, config, machine, device)
        title = f"{name} on {wanted.split} of manifest {manifest.path.fingerprint}"
        write_evaluation_folder(folder, evaluation, title=f"{title}, truth {wanted.target}, computed in {PRECISION}")


def compared_evaluations(
    a: Path, b: Path, *, metric: str, cap_m: float, radar: str, left_out: frozenset[str] = frozenset()
) -> list[Comparison]:
    """Compare two evaluations frame by frame, without the frames of some scenes; errors as those of ``compare_runs``."""
    frames = [_without(read_evaluation(str(folder))[0], left_out) for folder in (a, b)]
    return compare_runs(*frames, metric=metric, cap_m=cap_m, radar=radar)


def measured_network(
    network: nn.Module,
    manifest: Manifest,
    config: SemoDepthTrainConfig,
    machine: Machine,
    device: torch.device,
    *,
    withhold_mono: bool = False,
) -> Evaluation:
    """Measure a network on its evaluation's split; ``withhold_mono``: without the monocular depth that it takes."""
    assert isinstance(network, SemoDepth)
    inputs = config.data.model_copy(update={"mono": config.gives_mono and not withhold_mono})
    return evaluate(
        network.predict,
        measured_frames(manifest, config.evaluation, inputs, placement=placement(machine)),
        config.evaluation,
        space=network.depth_space,
        device=device,
        withhold_mono=withhold_mono,
    )


def _without(frames: Columns, scenes: frozenset[str]) -> Columns:
    """Return the rows of an evaluation whose scenes are not among these."""
    if not scenes:
        return frames
    kept = [number for number, key in enumerate(frames["frame_key"]) if key.split("/", 1)[0] not in scenes]
    return {name: [values[number] for number in kept] for name, values in frames.items()}
