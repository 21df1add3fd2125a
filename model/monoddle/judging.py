"""By what detectors are judged: average precision, with an interval over scenes.

Source  docs/method/monoddle.md#precision-interval
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from model.blocks.full_precision import PRECISION
from model.devices import network_device
from model.monoddle.comparison import PrecisionDifference, compare_detections, comparison_text, differences_as_rows
from model.monoddle.config import MonoDdleTrainConfig
from model.monoddle.evaluation import (
    evaluation_title,
    measured_network,
    read_average_precision,
    write_detection_folder,
)
from model.monoddle.measured_objects import has_measured_objects
from model.monoddle.measures import (
    DIFFICULTIES,
    PrecisionNames,
    detection_measures,
    measured_precisions,
    overlap_table,
)
from model.monoddle.precision.average_precision import STRICT_OVERLAP
from model.train.config import Machine
from model.train.family import Family
from model.train.judging import Judging, MeanDifference, Rules
from storage_schemas.manifest import Manifest


class DetectorJudging(Family[MonoDdleTrainConfig]):
    """The part of the family that champions are judged by."""

    retrain_refusal = ""

    def judging(self, config: MonoDdleTrainConfig) -> Judging:
        """Return every average precision of the classes that are trained, that which is told during training first."""
        told = config.evaluation
        overlap = overlap_table(told.metric, told.overlap)
        default = PrecisionNames(told.category, told.metric, overlap, "moderate").measure
        measures = detection_measures(config)
        return Judging({default: measures[default], **measures})

    def deciding_value(self, evaluation: Path, rules: Rules) -> float | None:
        """Return the average precision that decides; None if no object of the split counts."""
        names = _precision_named(rules.metric)
        rows = read_average_precision(evaluation)
        row = next((row for row in rows if (row.category, row.metric, row.overlap, row.difficulty) == names), None)
        return None if row is None or not row.num_truth else row.r40

    def nothing_measured_text(self, rules: Rules) -> str:
        """Say which objects the split lacks."""
        names = _precision_named(rules.metric)
        return (
            f"no {names.category} of the split counts at difficulty {names.difficulty}, or one of them does not say its "
            f"direction (metric {rules.metric})"
        )

    def is_comparable(self, evaluation: Path) -> bool:
        """Say whether an evaluation has its objects, which those of former versions have not."""
        return has_measured_objects(evaluation)

    def never_comparable(self, champion: MonoDdleTrainConfig, challenger: MonoDdleTrainConfig, rules: Rules) -> str:
        """Say that a detector which was not trained on the class has no average precision of it."""
        category = _precision_named(rules.metric).category
        if category in champion.network.train_classes:
            return ""
        return f"it was not trained on {category} (train.network.classes), and retrain.metric is {rules.metric}"

    def compare_with_champion(self, champion: Path, challenger: Path, rules: Rules) -> Sequence[MeanDifference]:
        """Compare two evaluations at every difficulty, the one that decides first."""
        names = _precision_named(rules.metric)
        others = [names._replace(difficulty=one) for one in DIFFICULTIES if one != names.difficulty]
        return compare_detections(champion, challenger, [names, *others], left_out=rules.left_out)

    def comparison_text(self, differences: Sequence[MeanDifference]) -> str:
        """Return comparisons as a table for the console."""
        return comparison_text(differences_as_rows([one for one in differences if isinstance(one, PrecisionDifference)]))

    def measured_otherwise(self, champion: MonoDdleTrainConfig, challenger: MonoDdleTrainConfig) -> list[str]:
        """Say what of a champion's evaluation does not fit a challenger's: split, least heights, threshold or cameras."""
        differs = [
            f"train.evaluation.{name} {before} -> {now}"
            for name in ("split", "height_scale", "score_threshold")
            if (before := getattr(champion.evaluation, name)) != (now := getattr(challenger.evaluation, name))
        ]
        return [*differs, *(["cameras changed"] if champion.data.cameras != challenger.data.cameras else [])]

    def measure_as(
        self,
        network: nn.Module,
        champion: MonoDdleTrainConfig,
        challenger: MonoDdleTrainConfig,
        manifest: Manifest,
        machine: Machine,
        *,
        folder: Path,
        name: str,
    ) -> None:
        """Measure a champion's network on the challenger's frames, with its threshold and least heights."""
        device, wanted = network_device(machine.accelerator), challenger.evaluation
        seen = champion.data.model_copy(update={"cameras": challenger.data.cameras})
        config = champion.model_copy(update={"evaluation": wanted, "data": seen})
        evaluation = measured_network(network.to(device), manifest, config, machine, device, num_pictures=0)
        title = evaluation_title(name, manifest, split=wanted.split, height_scale=wanted.height_scale)
        write_detection_folder(folder, evaluation, title=f"{title}\n\nComputed in {PRECISION}.")


def _precision_named(measure: str) -> PrecisionNames:
    """Return the average precision that ``judging`` calls so."""
    return next(names for names in measured_precisions(STRICT_OVERLAP) if names.measure == measure)
