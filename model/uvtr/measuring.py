"""How detectors are measured, compared, judged and used: the part of the family that needs no training.

Source  docs/method/uvtr.md#metric, #interval, #warnings
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.blocks.full_precision import PRECISION
from model.devices import network_device
from model.train.config import Machine
from model.train.family import Family, check_split
from model.train.family_types import Answer, CompareOptions, Draw, Measured, OpenedNetwork, ResultsOptions, choice_of
from model.train.judging import Judging, MeanDifference, Rules
from model.train.known_families import parse_config
from model.train.measures import Measure
from model.uvtr.comparison import MetricDifference, compare_metrics, metric_comparison_text, metric_differences
from model.uvtr.config import UvtrTrainConfig
from model.uvtr.detection_metric import MetricRow
from model.uvtr.evaluation import (
    METRIC_FILE,
    BoxEvaluation,
    put_pictures,
    read_metric,
    read_segmentation,
    remove_pictures,
    write_box_folder,
)
from model.uvtr.match_files import MATCHES_FILE, read_matches
from model.uvtr.measured_split import measure_results, measure_split
from model.uvtr.measures import DECIDES, ERRORS_OF_PRESENT, HEADLINE, SEGMENTATION, metric_measures, values_of
from model.uvtr.nuscenes_metric import check_devkit
from model.uvtr.nuscenes_results import is_result_file
from model.uvtr.predict_files import predict_split
from storage_schemas.manifest import Manifest


class BoxMeasuring(Family[UvtrTrainConfig]):
    """The part of the family that measures."""

    evaluation_columns: tuple[str, ...] = MetricRow._fields
    board_columns: tuple[str, ...] = ("ap", "ap_at_2_m", "ap_at_4_m", "nds")
    rising_columns: frozenset[str] = frozenset({"ap", "ap_at_2_m", "ap_at_4_m", "nds"})
    evaluation_file = METRIC_FILE
    evaluation_of = "a detector of all cameras"
    options = frozenset({"pictures"})
    predicts = True
    keys_that_decide = ("evaluation.split", "evaluation.official")
    retrain_refusal = ""

    def check_recipe(self, config: UvtrTrainConfig, *, where: str) -> None:
        """Check that what measures the result is there, before hours of work; RecipeError if it is not."""
        if config.evaluation.official:
            check_devkit()

    def measure(
        self, network: nn.Module, manifest: Manifest, config: UvtrTrainConfig, machine: Machine, device: torch.device
    ) -> Measured:
        """Measure during training, without the devkit; the score is the mean AP of present classes at 2 and 4 m."""
        evaluation = measure_split(network, manifest, config, machine, device, official=False, num_pictures=0)
        value = values_of(evaluation.rows).get(DECIDES)
        rows = [row._asdict() for row in evaluation.rows if row.num_truth]
        if value is None:
            text = f"nothing is measured: no object of {config.evaluation.split} counts"
            rows = [evaluation.rows[0]._asdict()]
            return Measured(rows, math.inf, {"present_ap": math.nan}, text, len(evaluation.matches.frames))
        text = f"validation AP of present classes at 2 and 4 m {value:.3f}"
        if evaluation.segmentation is not None:
            text += f", vehicles on the ground IoU {evaluation.segmentation.iou:.3f}"
        return Measured(rows, -value, {"present_ap": value}, text, len(evaluation.matches.frames))

    def is_better(self, now: Measured, best: dict[str, float], config: UvtrTrainConfig) -> bool:
        """Say whether the precision is the highest so far; the last checkpoint always replaces the former where it is kept."""
        return config.keep == "last" or math.isnan(best["present_ap"]) or now.best["present_ap"] > best["present_ap"]

    def board_label(self, row: Mapping[str, Any]) -> str:
        """Return the name under which TensorBoard draws a row."""
        return str(row["name"]).replace(" ", "_")

    def evaluate(
        self,
        network: nn.Module,
        manifest: Manifest,
        config: UvtrTrainConfig,
        machine: Machine,
        device: torch.device,
        *,
        folder: Path,
    ) -> int:
        """Measure, and write tables, the result file and what pictures are made of; return the number of key frames."""
        chosen = config.evaluation
        evaluation = measure_split(
            network, manifest, config, machine, device, official=chosen.official, num_pictures=chosen.num_pictures
        )
        write_box_folder(folder / "evaluation", evaluation, title=_title(folder.name, manifest, chosen.split))
        return len(evaluation.matches.frames)

    def evaluate_checkpoint(
        self,
        opened: OpenedNetwork[UvtrTrainConfig],
        manifest: Manifest,
        machine: Machine,
        *,
        split: str,
        target: str,
        folder: Path,
        draw: Draw | None,
    ) -> Answer:
        """Measure a detector on a split."""
        check_split(split)
        choice, chosen = choice_of(draw), opened.config.evaluation.model_copy(update={"split": split})
        if chosen.official:
            check_devkit()
        config, device = opened.config.model_copy(update={"evaluation": chosen}), network_device(machine.accelerator)
        evaluation = measure_split(
            opened.network.to(device),
            manifest,
            config,
            machine,
            device,
            official=chosen.official,
            num_pictures=0 if draw is None else chosen.num_pictures if choice.spread is None else choice.spread,
        )
        remove_pictures(folder)
        write_box_folder(folder, evaluation, title=_title(opened.name, manifest, split))
        if draw is not None:
            put_pictures(folder, evaluation, draw)
        return _answer(folder, manifest, evaluation)

    def takes_results(self, path: Path) -> bool:
        """Say whether a path leads to a result file of the nuScenes detection task."""
        return is_result_file(path)

    def evaluate_results(self, path: Path, manifest: Manifest, options: ResultsOptions, *, split: str, folder: Path) -> Answer:
        """Measure a result file of the nuScenes detection task, whoever wrote it."""
        check_split(split)
        config = UvtrTrainConfig()
        if options.train is not None and options.train.get("family") == self.name:
            config = parse_config(UvtrTrainConfig, options.train, where=options.where)
        if config.evaluation.official:
            check_devkit()
        evaluation = measure_results(path, manifest, config, split=split)
        write_box_folder(folder, evaluation, title=f"{path.name} on {split} of manifest {manifest.path.fingerprint}")
        return _answer(folder, manifest, evaluation)

    def compare(self, a: Path, b: Path, options: CompareOptions) -> Answer:
        """Compare two evaluations, with an interval over scenes."""
        differences = compare_metrics(read_matches(a), read_matches(b))
        data = [{**difference._asdict(), **difference.shares} for difference in differences]
        return Answer(data, f"a = {a}\nb = {b}\n{metric_comparison_text(differences)}")

    def predict_split(
        self,
        opened: OpenedNetwork[UvtrTrainConfig],
        manifest: Manifest,
        out: Path,
        *,
        split: str,
        draw: Draw | None,
        machine: Machine,
    ) -> int:
        """Find the objects of every key frame of a split: a result file, and a picture of each key frame."""
        check_split(split)
        return predict_split(opened, manifest, out, split=split, draw=draw, machine=machine)

    def predicted_text(self, count: int, out: Path) -> str:
        """Say what a prediction has written."""
        return f"wrote the objects of {count} key frames to {out}"

    # ablations

    def measures(self, config: UvtrTrainConfig) -> dict[str, Measure]:
        """Return every figure of the metric, of the classes that are trained."""
        network = config.network
        return metric_measures(classes=network.classes, with_segmentation=network.segmentation.enabled)

    def table_columns(
        self, first: UvtrTrainConfig, variants: Sequence[Mapping[str, Measure]]
    ) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Return the means, the vehicles on the ground where every variant has them, the errors, and each class."""
        extra = (SEGMENTATION,) if all(SEGMENTATION in measures for measures in variants) else ()
        classes = tuple(f"{name}/ap" for name in first.network.classes if all(f"{name}/ap" in names for names in variants))
        return (*HEADLINE, *extra), {"Errors of present classes": ERRORS_OF_PRESENT, "AP of classes": classes}

    def read_measures(self, folder: Path) -> dict[str, float]:
        """Return the figures of a complete training, by name."""
        values = values_of(read_metric(folder / "evaluation"))
        segmentation = read_segmentation(folder / "evaluation")
        if segmentation is not None and not math.isnan(segmentation.iou):
            values[SEGMENTATION] = segmentation.iou
        return values

    # champions

    def judging(self, config: UvtrTrainConfig) -> Judging:
        """Return every figure that the matches of an evaluation give, the mean AP of present classes first."""
        return Judging(metric_measures(classes=config.network.classes))

    def deciding_value(self, evaluation: Path, rules: Rules) -> float | None:
        """Return the figure that decides; None if no object of the split counts for it."""
        return values_of(read_metric(evaluation)).get(rules.metric)

    def nothing_measured_text(self, rules: Rules) -> str:
        """Say what the split lacks."""
        return f"no object of the split counts for it (metric {rules.metric})"

    def is_comparable(self, evaluation: Path) -> bool:
        """Say whether an evaluation has its matches."""
        return (evaluation / MATCHES_FILE).is_file()

    def never_comparable(self, champion: UvtrTrainConfig, challenger: UvtrTrainConfig, rules: Rules) -> str:
        """Say that a detector which was not trained on a class has no figure of it."""
        name = rules.metric.partition("/")[0]
        trained = champion.network.classes
        if name in (*trained, "present", "official"):
            return ""
        return f"it was not trained on {name} (train.network.classes), and retrain.metric is {rules.metric}"

    def compare_with_champion(self, champion: Path, challenger: Path, rules: Rules) -> Sequence[MeanDifference]:
        """Compare two evaluations: the figure that decides first, then the others of the headline."""
        names = [rules.metric, *(name for name in HEADLINE if name != rules.metric)]
        return metric_differences(read_matches(champion), read_matches(challenger), names, left_out=rules.left_out)

    def comparison_text(self, differences: Sequence[MeanDifference]) -> str:
        """Return comparisons as a table for the console."""
        return metric_comparison_text([one for one in differences if isinstance(one, MetricDifference)])

    def measured_otherwise(self, champion: UvtrTrainConfig, challenger: UvtrTrainConfig) -> list[str]:
        """Say what of a champion's evaluation does not fit a challenger's: the split or the cameras."""
        before, now = champion.evaluation.split, challenger.evaluation.split
        differs = [f"train.evaluation.split {before} -> {now}"] if before != now else []
        return [*differs, *(["cameras changed"] if champion.data.cameras != challenger.data.cameras else [])]

    def measure_as(
        self,
        network: nn.Module,
        champion: UvtrTrainConfig,
        challenger: UvtrTrainConfig,
        manifest: Manifest,
        machine: Machine,
        *,
        folder: Path,
        name: str,
    ) -> None:
        """Measure a champion's network on the challenger's key frames."""
        device, chosen = network_device(machine.accelerator), challenger.evaluation
        data = champion.data.model_copy(update={"cameras": challenger.data.cameras})
        config = champion.model_copy(update={"evaluation": chosen, "data": data})
        evaluation = measure_split(
            network.to(device), manifest, config, machine, device, official=chosen.official, num_pictures=0
        )
        write_box_folder(folder, evaluation, title=_title(name, manifest, chosen.split))


def _title(name: str, manifest: Manifest, split: str) -> str:
    return f"{name} on {split} of manifest {manifest.path.fingerprint}\n\nComputed in {PRECISION}."


def _answer(folder: Path, manifest: Manifest, evaluation: BoxEvaluation) -> Answer:
    # a mean of nothing is null: JSON has no NaN
    rows = [{name: None if value != value else value for name, value in row._asdict().items()} for row in evaluation.rows]
    data: dict[str, Any] = {"folder": str(folder), "manifest": manifest.path.fingerprint, "precision": PRECISION}
    data |= {"num_key_frames": len(evaluation.matches.frames), "warnings": evaluation.warnings, "rows": rows}
    data |= {"groups": [group._asdict() for group in evaluation.groups]}
    if evaluation.segmentation is not None:
        data["segmentation"] = evaluation.segmentation._asdict()
    table = (folder / "table.md").read_text(encoding="utf-8")
    return Answer(data, f"{table}\nwrote {folder}: {len(evaluation.matches.frames)} key frames")
