"""How SemoDepth is trained and measured by the common loop.

Source  docs/method/semodepth.md#composite-loss, #training, #depth-metrics
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.blocks.full_precision import PRECISION
from model.blocks.selective_scan import choose_engine
from model.errors import InputError
from model.semodepth.batch import Batch
from model.semodepth.comparison import comparison_text
from model.semodepth.config import SemoDepthTrainConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from model.semodepth.distill import distill_loss
from model.semodepth.evaluation import (
    WITHOUT_MONO,
    evaluate_checkpoint,
    write_evaluation_folder,
)
from model.semodepth.judging import DepthJudging, compared_evaluations, measured_network
from model.semodepth.loss import Losses, composite_loss
from model.semodepth.measures import depth_measures, read_depth_measures
from model.semodepth.net import SemoDepth
from model.semodepth.predict import Frame, predict_frames
from model.semodepth.predict_files import predict_files, predict_manifest
from model.semodepth.reference import load_reference
from model.semodepth.summary import summarise
from model.semodepth.traced_net import traceable_depth
from model.train.config import Machine
from model.train.family_types import (
    Answer,
    CompareOptions,
    Draw,
    ImageInputs,
    Measured,
    OpenedNetwork,
    ReferenceOptions,
    StepLosses,
    StepSize,
    placement,
    processes_of,
)
from model.train.known_families import parse_config
from model.train.measures import Measure
from model.train.onnx_file import Traceable
from storage_schemas.errors import RecipeError
from storage_schemas.evaluation import FRAME_METRICS
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DISTILL_COLUMNS = ("distill", "calibration", "teacher_mae_m", "teacher_log_scale")
"""What is written down of the distillation, in the order of ``distill.Distilled``; NaN without."""


class SemoDepthFamily(DepthJudging):
    """Radar-camera depth."""

    name = "semodepth"
    config = SemoDepthTrainConfig
    loss_columns: tuple[str, ...] = (*Losses._fields, *DISTILL_COLUMNS)
    evaluation_columns: tuple[str, ...] = (
        "radar", "group", "cap_m", "num_frames", "mae_mm", "rmse_mm", "imae_per_km", "irmse_per_km", "abs_rel", "sq_rel_m",
        "delta1", "delta2", "delta3",
    )  # fmt: skip
    board_columns: tuple[str, ...] = ("mae_mm", "rmse_mm", "delta1")
    noun = "a depth network"
    plural = "depth networks"
    hub_task = "depth-estimation"
    evaluation_file = f"{FRAME_METRICS.name}.parquet"
    evaluation_of = "depth"
    options = frozenset({"target", "max_depth", "plug_in", "metric", "cap", "radar"})
    keys_that_decide = ("evaluation.split", "evaluation.target")
    predicts = True
    step_size = StepSize(frame_gb=0.29, megapixel_gb=1.78, state_gb=0.61)
    small_training = MappingProxyType(
        {
            "network": {"base_channels": 16, "input_downscale": 3},
            "data": {"batch_size": 4},
            "learning_rate": 0.001,
            "max_steps": 250,
        }
    )

    def check_recipe(self, config: SemoDepthTrainConfig, *, where: str) -> None:
        """Refuse monocular depth that nothing takes, and classification weights of another width."""
        if config.data.mono and not config.network.plug_in and config.loss.distill.form == "none":
            raise RecipeError(
                f"recipe '{where}': train.data.mono is true, and the network has no branch for monocular depth. Set "
                "train.network.plug_in to true, train.loss.distill.form to distil from it, or train.data.mono to false"
            )
        if config.imagenet_weights is not None and config.network.base_channels != 64:
            raise RecipeError(
                f"recipe '{where}': train.imagenet_weights fit base_channels 64, train.network.base_channels is "
                f"{config.network.base_channels}. Leave one of the two out"
            )

    def start_tolerance(self, config: SemoDepthTrainConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Let a network without the branch for monocular depth be the start where only that branch is trained."""
        return (("plug_in", "absent_mono"), ("mono_embed.",)) if config.only_plug_in else ((), ())

    def network(self, config: SemoDepthTrainConfig) -> SemoDepth:
        """Return the network with random weights."""
        network: SemoDepth = SemoDepth(config.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.only_plug_in:
            network.train_only_plug_in()
        return network

    def load_imagenet_weights(self, network: nn.Module, config: SemoDepthTrainConfig) -> None:
        """Fill the encoder, if the configuration names a file."""
        assert isinstance(network, SemoDepth)
        if config.imagenet_weights is not None:
            network.load_imagenet_weights(config.imagenet_weights)

    def backbone(self, network: nn.Module) -> nn.Module:
        """Return the encoder."""
        assert isinstance(network, SemoDepth)
        return network.encoder

    def optimizer(self, network: nn.Module, config: SemoDepthTrainConfig) -> torch.optim.Optimizer:
        """Return plain Adam, with a rate of its own for the encoder if one is asked for."""
        weights = [weight for weight in network.parameters() if weight.requires_grad]
        if config.backbone_rate == 1.0:
            return torch.optim.Adam(weights, lr=config.learning_rate)
        of_encoder = {id(weight) for weight in self.backbone(network).parameters()}
        encoder = [weight for weight in weights if id(weight) in of_encoder]
        others = [weight for weight in weights if id(weight) not in of_encoder]
        groups = [
            {"params": encoder, "rate": config.backbone_rate, "lr": config.learning_rate * config.backbone_rate},
            {"params": others, "rate": 1.0, "lr": config.learning_rate},
        ]
        return torch.optim.Adam(groups)

    def loader(self, manifest: Manifest, config: SemoDepthTrainConfig, fabric: Fabric, machine: Machine) -> FrameLoader:
        """Return the loader of this process."""
        return FrameLoader(
            manifest,
            config.data,
            placement=placement(machine, fabric),
            with_teacher=config.loss.distill.is_on,
            with_confidence=config.loss.dense_weight == "confidence",
        )

    def losses(
        self, network: nn.Module, batch: Batch, config: SemoDepthTrainConfig, fabric: Fabric, *, epoch: float
    ) -> StepLosses | None:
        """Return the composite loss and, if asked for, the distillation; None if no process has a dense target."""
        raw: Any = network
        distill = config.loss.distill
        dense = dense_batch(
            batch.to(fabric.device),
            max_depth_m=config.network.max_depth_m,
            teacher_far_m=distill.far_m if distill.is_on else None,
        )
        assert dense.target_m is not None
        # data.radar: false trains a network of the camera alone
        radar_m = torch.zeros_like(dense.target_m) if dense.radar_m is None else dense.radar_m
        mono_m = dense.mono_m if config.gives_mono else None
        has_scale = distill.is_on and distill.reads_uncertainty
        answer = network(dense.image_u8, radar_m, mono_m, with_uncertainty=has_scale)
        normalized, log_scale = answer if has_scale else (answer, None)
        space = raw.module.depth_space
        processes = processes_of(fabric)
        composite = composite_loss(
            normalized,
            dense.target_m,
            dense.sparse_m,
            space=space,
            weights=config.loss,
            dense_weight=dense.target_weight,
            processes=processes,
        )
        if composite is None:
            return None
        if not distill.is_on:
            unknown = composite.loss.detach().new_tensor(math.nan)
            return StepLosses(composite.loss, {**composite._asdict(), **dict.fromkeys(DISTILL_COLUMNS, unknown)})
        assert dense.teacher_m is not None  # the configuration asks for it
        taught = distill_loss(
            normalized, dense.target_m, dense.teacher_m, space=space, config=distill, log_scale=log_scale, processes=processes
        )
        total = composite.loss + distill.weight * taught.loss
        return StepLosses(total, {**composite._asdict(), "loss": total, **dict(zip(DISTILL_COLUMNS, taught, strict=True))})

    def step_words(self, values: Mapping[str, float]) -> str:
        """Return the dense training error, and how far the network is from its teacher."""
        text = f"error on targets {values['mae_mm'] / 1000:.2f} m"
        teacher_mae_m = values["teacher_mae_m"]
        return text if math.isnan(teacher_mae_m) else f"{text}, {teacher_mae_m:.2f} m from the teacher"

    def measure(
        self, network: nn.Module, manifest: Manifest, config: SemoDepthTrainConfig, machine: Machine, device: torch.device
    ) -> Measured:
        """Measure with radar only; the score is MAE@80 m over all frames (of a network of the camera alone: without)."""
        quick = config.evaluation.model_copy(update={"without_radar": False, "num_strips": 0})
        config = config.model_copy(update={"evaluation": quick})
        evaluation = measured_network(network, manifest, config, replace(machine, num_workers=0), device)
        rows = [row._asdict() for row in summarise(evaluation.frames)]
        # rows with radar come first
        score = next((row["mae_mm"] for row in rows if row["group"] == "all" and row["cap_m"] == 80.0), math.inf)
        if evaluation.no_numbers:  # the metrics count a depth that is not a number as the nearest one
            score = math.nan
        target, split = config.evaluation.target, config.evaluation.split
        nothing = f"nothing is measured: no frame of {split} has a pixel of {target} up to 80 m"
        if math.isnan(score):
            nothing = f"the network's depths on {split} are not numbers; it is not kept"
        text = f"validation MAE@80 m {score:.0f} mm" if math.isfinite(score) else nothing
        return Measured(rows, score, {"mae_mm": score}, text)

    def is_better(self, now: Measured, best: dict[str, float], config: SemoDepthTrainConfig) -> bool:
        """Say whether the error is the lowest so far; where nothing is measured, the last network is kept."""
        return now.score < best["mae_mm"] or not math.isfinite(best["mae_mm"])

    def board_label(self, row: Mapping[str, Any]) -> str:
        """Return the name under which TensorBoard draws a row."""
        return f"radar_{row['radar']}/{row['group']}_{row['cap_m']:.0f}m"

    def evaluate(
        self,
        network: nn.Module,
        manifest: Manifest,
        config: SemoDepthTrainConfig,
        machine: Machine,
        device: torch.device,
        *,
        folder: Path,
    ) -> int:
        """Measure with and without radar, and with monocular depth given and withheld if the network takes it."""
        chosen, band = config.evaluation, config.data.rows
        title = f"{folder.name} on {chosen.split} of manifest {manifest.path.fingerprint}, truth {chosen.target}"
        title += f", rows {band[0]} to {band[1]}" if band else ""
        title += f", computed in {PRECISION}"
        if config.gives_mono:  # one checkpoint serves with and without; the table tells both
            withheld = measured_network(network, manifest, config, machine, device, withhold_mono=True)
            own_title = f"{title}, monocular depth withheld"
            write_evaluation_folder(folder / "evaluation" / WITHOUT_MONO, withheld, title=own_title)
            title += ", monocular depth given"
        evaluation = measured_network(network, manifest, config, machine, device)
        write_evaluation_folder(folder / "evaluation", evaluation, title=title)
        return len(set(evaluation.frames["frame_key"]))

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return which engine scanned, and the precision of what was measured."""
        return {"scan_engine": choose_engine(device).engine, "measured_in": PRECISION}

    def open_reference(self, path: Path, name: str, options: ReferenceOptions) -> OpenedNetwork[SemoDepthTrainConfig]:
        """Build the network of a public checkpoint; its keys say whether it has the branch, a recipe which rows it sees."""
        network = load_reference(path, max_depth_m=options.max_depth_m, plug_in=options.plug_in or None)
        group = None if options.train is None else options.train.get("data")
        rows = group.get("rows") if isinstance(group, dict) else None
        config: SemoDepthTrainConfig = parse_config(SemoDepthTrainConfig, {"data": {"rows": rows}}, where=options.where)
        return OpenedNetwork(network, name, config.model_copy(update={"network": network.config}))

    def evaluate_checkpoint(
        self,
        opened: OpenedNetwork[SemoDepthTrainConfig],
        manifest: Manifest,
        machine: Machine,
        *,
        split: str,
        target: str,
        folder: Path,
        draw: Draw | None,
    ) -> Answer:
        """Measure a network with and without radar, and with monocular depth given and withheld if it takes it."""
        return evaluate_checkpoint(opened, manifest, machine, split=split, target=target, folder=folder)

    def compare(self, a: Path, b: Path, options: CompareOptions) -> Answer:
        """Compare two evaluations of depth frame by frame."""
        comparisons = compared_evaluations(a, b, metric=options.metric, cap_m=options.cap_m, radar=options.radar)
        given_a, given_b = options.given
        return Answer(
            [comparison._asdict() for comparison in comparisons], f"a = {given_a}\nb = {given_b}\n{comparison_text(comparisons)}"
        )

    def traceable(self, opened: OpenedNetwork[SemoDepthTrainConfig], size: tuple[int, int] | None) -> Traceable:
        """Return a depth network for one frame of a size, with the readable recurrence in place of its kernels."""
        if size is None:
            raise RecipeError("a depth network takes any size of images, an ONNX file has one. Say it with --size, e.g. 352x1216")
        return traceable_depth(_depth_network(opened.network), size)

    def predict_image(self, opened: OpenedNetwork[SemoDepthTrainConfig], inputs: ImageInputs) -> NDArray[np.float32]:
        """Return the depth of an image, (h, w) float32 metres; without radar it is predicted from the image alone."""
        network = _depth_network(opened.network)
        radar_m = None if inputs.radar_m is None else np.nan_to_num(inputs.radar_m)  # NaN, as xarray masks it: no return
        for name, map_m in (("radar_m", radar_m), ("mono_m", inputs.mono_m)):
            if map_m is not None and map_m.shape != inputs.image_u8.shape[:2]:
                raise InputError(
                    f"{name} has shape {map_m.shape}, its image {inputs.image_u8.shape[:2]}. Give a map of the image's size"
                )
        seen_m = None if radar_m is None else np.minimum(radar_m, np.float32(network.config.max_depth_m)).astype(np.float32)
        (predicted,) = predict_frames(network, [Frame("image", inputs.image_u8, seen_m, inputs.mono_m)])
        return predicted.depth_m

    def takes_folder(self, folder: Path) -> bool:
        """Say whether a folder has images to predict."""
        return (folder / "image").is_dir()

    def predict_folder(
        self,
        opened: OpenedNetwork[SemoDepthTrainConfig],
        images: Path,
        out: Path,
        *,
        draw: Draw | None,
        machine: Machine,
    ) -> int:
        """Predict the depth of a folder's frames."""
        return predict_files(_depth_network(opened.network), images, out, draw=draw, machine=machine)

    def predict_split(
        self,
        opened: OpenedNetwork[SemoDepthTrainConfig],
        manifest: Manifest,
        out: Path,
        *,
        split: str,
        draw: Draw | None,
        machine: Machine,
    ) -> int:
        """Predict the depth of every frame of a split."""
        network, band = _depth_network(opened.network), opened.config.data.rows
        return predict_manifest(network, manifest, out, split=split, row_band=band, draw=draw, machine=machine)

    def predicted_text(self, count: int, out: Path) -> str:
        """Say what a prediction has written."""
        return f"wrote {count} depth maps to {out}"

    def measures(self, config: SemoDepthTrainConfig) -> dict[str, Measure]:
        """Return every metric at every cap, of all frames or those by day or night, with the radar seen or taken away."""
        return depth_measures(config)

    def table_columns(
        self, first: SemoDepthTrainConfig, variants: Sequence[Mapping[str, Measure]]
    ) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Return the columns of published tables."""
        return ("mae_mm@80", "rmse_mm@80", "delta1@80"), {}

    def read_measures(self, folder: Path) -> dict[str, float]:
        """Return the means of a complete training, by name."""
        return read_depth_measures(folder)


def _depth_network(network: nn.Module) -> SemoDepth:
    assert isinstance(network, SemoDepth)
    return network
