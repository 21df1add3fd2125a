"""By what pre-trainings are judged: rendered depth and colour clip by clip, with an interval over scenes.

Source  docs/method/mim4d.md#evaluation
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from model.blocks.full_precision import PRECISION
from model.devices import network_device
from model.mim4d.clip_errors import read_clip_rows
from model.mim4d.comparison import HEADS, HIDDEN_COLOUR, ClipComparison, clip_comparison_text, judge_clips, measured_of
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.evaluation import evaluate_split, write_render_folder
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.train.config import Machine
from model.train.family import Family
from model.train.judging import Judging, MeanDifference, Rules
from model.train.measures import Measure
from storage_schemas.manifest import Manifest


class ClipJudging(Family[Mim4dTrainConfig]):
    """The part of the family that champions are judged by."""

    retrain_refusal = ""

    def judging(self, config: Mim4dTrainConfig) -> Judging:
        """Return what clips.csv has of the volumes that this network makes, the relative error of the rebuilt ones first."""
        volumes = (DIRECT,) if config.network.num_frames == 1 else (RECONSTRUCT, DIRECT)
        measures = [name for name in HEADS if name != HIDDEN_COLOUR or config.network.mask.hidden_ratio > 0]
        metrics = {}
        for volume in volumes:
            for name in measures:
                metrics[f"{volume}/{name}"] = Measure(f"{volume}/{name}", f"{volume} {HEADS[name]}", 4, name == "delta1")
        return Judging(metrics)

    def deciding_value(self, evaluation: Path, rules: Rules) -> float | None:
        """Return the mean over clips of the measure that decides; None if no clip has rays for it."""
        measured = measured_of(read_clip_rows(evaluation), *_names(rules)).values()
        return float(np.mean([clip.value for clip in measured])) if measured else None

    def nothing_measured_text(self, rules: Rules) -> str:
        """Say which rays the split lacks."""
        what = "a ray in a hidden patch" if _names(rules)[1] == HIDDEN_COLOUR else "a ray to a held-out LiDAR point"
        return f"no clip of the split has {what} (metric {rules.metric})"

    def never_comparable(self, champion: Mim4dTrainConfig, challenger: Mim4dTrainConfig, rules: Rules) -> str:
        """Say what of the networks decides which rays are measured, and differs."""
        for name, before, now in (
            ("num_frames", champion.network.num_frames, challenger.network.num_frames),
            ("mask.hidden_ratio", champion.network.mask.hidden_ratio, challenger.network.mask.hidden_ratio),
            ("lift.low_m", champion.network.lift.low_m, challenger.network.lift.low_m),
            ("lift.high_m", champion.network.lift.high_m, challenger.network.lift.high_m),
        ):
            if before != now:
                return f"train.network.{name} was {before} then and is {now} now, and it decides what is measured"
        return ""

    def compare_with_champion(self, champion: Path, challenger: Path, rules: Rules) -> Sequence[MeanDifference]:
        """Compare two evaluations clip by clip."""
        volume, measure = _names(rules)
        rows = [read_clip_rows(folder) for folder in (champion, challenger)]
        return [judge_clips(*rows, volume=volume, measure=measure, left_out=rules.left_out)]

    def comparison_text(self, differences: Sequence[MeanDifference]) -> str:
        """Return comparisons as a table for the console."""
        return clip_comparison_text([one for one in differences if isinstance(one, ClipComparison)])

    def measured_otherwise(self, champion: Mim4dTrainConfig, challenger: Mim4dTrainConfig) -> list[str]:
        """Say what of a champion's evaluation does not fit a challenger's: split, rays, held-out points or cameras."""
        differs = [
            f"train.{name} {before} -> {now}"
            for name, before, now in (
                ("evaluation.split", champion.evaluation.split, challenger.evaluation.split),
                ("evaluation.rays_per_camera", champion.evaluation.rays_per_camera, challenger.evaluation.rays_per_camera),
                ("data.held_out_share", champion.data.held_out_share, challenger.data.held_out_share),
            )
            if before != now
        ]
        return [*differs, *(["cameras changed"] if champion.data.cameras != challenger.data.cameras else [])]

    def measure_as(
        self,
        network: nn.Module,
        champion: Mim4dTrainConfig,
        challenger: Mim4dTrainConfig,
        manifest: Manifest,
        machine: Machine,
        *,
        folder: Path,
        name: str,
    ) -> None:
        """Measure a champion's network on the challenger's clips, and on its rays."""
        device, read = network_device(machine.accelerator), challenger.data
        data = champion.data.model_copy(update={"cameras": read.cameras, "held_out_share": read.held_out_share})
        config = champion.model_copy(update={"evaluation": challenger.evaluation, "data": data})
        evaluation = evaluate_split(network.to(device), manifest, config, machine, device)
        title = f"{name} on {config.evaluation.split} of manifest {manifest.path.fingerprint}, computed in {PRECISION}"
        write_render_folder(folder, evaluation, title=title)


def _names(rules: Rules) -> tuple[str, str]:
    """Return the volume and the measure of a rule's metric."""
    volume, _, measure = rules.metric.partition("/")
    return volume, measure
