"""How MIM4D is trained and measured by the common loop.

Source  docs/method/mim4d.md#rendering-loss, #optimisation, #evaluation
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn

from model.blocks.full_precision import PRECISION
from model.devices import network_device
from model.mim4d.batch import ClipBatch, views_of
from model.mim4d.clip_draws import draw_clips
from model.mim4d.clip_errors import read_clip_rows
from model.mim4d.comparison import clip_comparison_text, compare_clips
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.data import ClipLoader, clips_of
from model.mim4d.evaluation import RENDERING_FILE, evaluate_split, write_render_folder
from model.mim4d.judging import ClipJudging
from model.mim4d.loss import DIRECT, LOSS_VALUES, RECONSTRUCT, mim4d_losses
from model.mim4d.masked_convnext import OUTPUT_NORMS
from model.mim4d.measures import published_renderings, read_rendering_measures, rendering_measures
from model.mim4d.net import Mim4d
from model.mim4d.pictured_clips import write_pictures_of_split
from model.mim4d.probes.probe_files import probe_results, probes_are_due
from model.mim4d.probes.run_probes import probe_training
from model.mim4d.ray_errors import CONSTANT, REBUILT_SWAPPED, SWAPPED, RenderRow
from model.mim4d.reference import encoder_of, is_reference
from model.train.config import Machine
from model.train.family import check_split
from model.train.family_types import (
    Answer,
    CompareOptions,
    Draw,
    ExtraPart,
    Handed,
    Measured,
    OpenedNetwork,
    StepLosses,
    placement,
)
from model.train.measures import Measure
from model.train.onnx_file import Traceable
from model.train.slower_backbone import adamw_with_slower_backbone
from storage_schemas.errors import RecipeError
from storage_schemas.manifest import Manifest

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_BACKBONE = "backbone."

_FPN, _DEPTH_HEAD = "fpn", "depth_head"

_LIFT_ADVICE = (
    "Choose the same in both: train.network.lift with equal channels, first_level, num_extra_levels and num_depth_bins, and "
    "equal backbones; or leave the part out of train.take"
)

_ADVICE = (
    "Choose the same in both: train.network.backbone of the pre-training is resnet34 for SemoDepth, with equal base_channels, "
    "and resnet50 or convnext_t for a detector with backbone resnet50 or convnext_tiny"
)


class Mim4dFamily(ClipJudging):
    """Masked multi-view video pre-training with volume rendering."""

    name = "mim4d"
    config = Mim4dTrainConfig
    loss_columns: tuple[str, ...] = LOSS_VALUES
    evaluation_columns: tuple[str, ...] = RenderRow._fields
    board_columns: tuple[str, ...] = ("abs_rel", "rgb_l1")
    flow_name = "pretrain"
    noun = "a pre-training"
    plural = "pre-trainings"
    hub_task = "feature-extraction"
    evaluation_file = RENDERING_FILE
    evaluation_of = "a pre-training"
    keys_that_decide = (
        "evaluation.split", "evaluation.rays_per_camera", "data.held_out_share", "network.num_frames",
        "network.mask.hidden_ratio", "network.lift.low_m", "network.lift.high_m",
    )  # fmt: skip
    hands_over_backbone = True

    def network(self, config: Mim4dTrainConfig) -> Mim4d:
        """Return the network with random weights."""
        return Mim4d(config.network)

    def load_imagenet_weights(self, network: nn.Module, config: Mim4dTrainConfig) -> None:
        """Fill the backbone, if the configuration names a file."""
        assert isinstance(network, Mim4d)
        if config.imagenet_weights is not None:
            network.backbone.load_imagenet_weights(config.imagenet_weights)

    def backbone(self, network: nn.Module) -> nn.Module:
        """Return the backbone."""
        assert isinstance(network, Mim4d)
        return network.backbone

    def optimizer(self, network: nn.Module, config: Mim4dTrainConfig) -> torch.optim.Optimizer:
        """Return AdamW, slower for the backbone: it may begin with weights that are worth keeping."""
        assert isinstance(network, Mim4d)
        return adamw_with_slower_backbone(network, network.backbone, config)

    def loader(self, manifest: Manifest, config: Mim4dTrainConfig, fabric: Fabric, machine: Machine) -> ClipLoader:
        """Return the loader of this process."""
        return clips_of(manifest, config, config.data, placement=placement(machine, fabric))

    def losses(
        self, network: nn.Module, batch: ClipBatch, config: Mim4dTrainConfig, fabric: Fabric, *, epoch: float
    ) -> StepLosses:
        """Return the mean over the rendered frames of what direct and rebuilt volumes show otherwise than it was seen."""
        batch = batch.to(fabric.device)
        draws = draw_clips(batch, config.network, seed=config.seed, epoch=int(epoch))
        rendered = network(
            views_of(batch),
            is_seen=draws.is_seen,
            targets=draws.targets,
            origin_m=[rays.origin_m for rays in draws.rays],
            direction=[rays.direction for rays in draws.rays],
            generators=draws.generators,
        )
        values = mim4d_losses(rendered, draws.rays, sigma=config.network.lift.grid.sigma, config=config.network.loss)
        return StepLosses(values["loss"], values)

    def step_words(self, values: Mapping[str, float]) -> str:
        """Return how far off rendered depth is where the network saw the image, and the colour where it did not."""
        text = f"depth {values['direct_depth_visible_m']:.2f} m, hidden colour {values['direct_rgb_masked']:.3f}"
        rebuilt_m = values["reconstruct_depth_visible_m"]
        return text + (f"; rebuilt {rebuilt_m:.2f} m" if rebuilt_m == rebuilt_m else "")

    def measure(
        self, network: nn.Module, manifest: Manifest, config: Mim4dTrainConfig, machine: Machine, device: torch.device
    ) -> Measured:
        """Measure rendered depth and the controls; the score is the relative error of the rebuilt volumes, if there are any."""
        evaluation = evaluate_split(network, manifest, config, machine, device)
        mode = DIRECT if config.network.num_frames == 1 else RECONSTRUCT
        named_rows = [(name, evaluation.row(name)) for name in (mode, SWAPPED if mode == DIRECT else REBUILT_SWAPPED, CONSTANT)]
        rows_text = ", ".join(f"{name} {row.abs_rel:.3f}" for name, row in named_rows if row is not None)
        row = evaluation.row(mode)
        assert row is not None  # or there was nothing held out, which is an error
        return Measured(
            [row._asdict() for row in evaluation.rows], row.abs_rel, {"abs_rel": row.abs_rel}, f"validation AbsRel {rows_text}"
        )

    def is_better(self, now: Measured, best: dict[str, float], config: Mim4dTrainConfig) -> bool:
        """Say whether the error is the lowest so far; the last checkpoint always replaces the former where it is kept."""
        return config.keep == "last" or math.isnan(best["abs_rel"]) or now.best["abs_rel"] < best["abs_rel"]

    def board_label(self, row: Mapping[str, Any]) -> str:
        """Return the name under which TensorBoard draws a row."""
        return f"{row['volume']}/{row['frames']}_{row['pixels']}_{row['range_m']}"

    def evaluate(
        self,
        network: nn.Module,
        manifest: Manifest,
        config: Mim4dTrainConfig,
        machine: Machine,
        device: torch.device,
        *,
        folder: Path,
    ) -> int:
        """Measure, and write the tables and what pictures are made of; return the number of clips."""
        evaluation = evaluate_split(network, manifest, config, machine, device)
        title = f"{folder.name} on {config.evaluation.split} of manifest {manifest.path.fingerprint}, computed in {PRECISION}"
        write_render_folder(folder / "evaluation", evaluation, title=title)
        write_pictures_of_split(network, manifest, config, machine, device, folder=folder / "evaluation")
        return evaluation.num_clips

    def facts(self, device: torch.device) -> dict[str, Any]:
        """Return the precision of what was measured."""
        return {"measured_in": PRECISION}

    def handed_backbone(self, config: Mim4dTrainConfig, weights: Mapping[str, Tensor]) -> Handed:
        """Return the backbone; the norms that a masked ConvNeXt has on its levels are no part of another ConvNeXt."""
        chosen = config.network.backbone
        width = f" (base_channels {chosen.base_channels})" if chosen.name.startswith("resnet") else ""
        backbone = {key.removeprefix(_BACKBONE): value for key, value in weights.items() if key.startswith(_BACKBONE)}
        return Handed(backbone, f"{chosen.name}{width}", (OUTPUT_NORMS,), _ADVICE)

    def reference_pre_training(
        self, weights: Mapping[str, Any], *, path: Path
    ) -> tuple[Mim4dTrainConfig, dict[str, Tensor]] | None:
        """Return the encoder of a released pre-training of MIM4D or UniPAD."""
        if not is_reference(weights):
            return None
        network, encoder = encoder_of(weights, path=path)
        return Mim4dTrainConfig(network=network), encoder

    def handed_part(self, part: str, config: Mim4dTrainConfig, weights: Mapping[str, Tensor]) -> Handed | None:
        """Return the backbone, the feature pyramid or the depth head, which a network on the same volumes takes too."""
        if part not in (_FPN, _DEPTH_HEAD):
            return super().handed_part(part, config, weights)
        lift, prefix = config.network.lift, f"{part}."
        text = f"of {lift.channels} channels from level {lift.first_level}, {lift.num_extra_levels} extra"
        if part == _DEPTH_HEAD:
            text = f"of {lift.channels} channels and {lift.num_depth_bins} depth bins"
        found = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        return Handed(found, text, (), _LIFT_ADVICE)

    def extra_parts(self, config: Mim4dTrainConfig) -> Mapping[str, ExtraPart]:
        """Return the linear probes of the frozen backbone."""
        return {"probe": ExtraPart(probes_are_due, probe_training, probe_results)} if config.probe.steps else {}

    def evaluate_checkpoint(
        self,
        opened: OpenedNetwork[Mim4dTrainConfig],
        manifest: Manifest,
        machine: Machine,
        *,
        split: str,
        target: str,
        folder: Path,
        draw: Draw | None,
    ) -> Answer:
        """Measure rendered depth and colour on a split, beside the controls."""
        check_split(split)
        fingerprint, device = manifest.path.fingerprint, network_device(machine.accelerator)
        chosen = opened.config.model_copy(update={"evaluation": opened.config.evaluation.model_copy(update={"split": split})})
        evaluation = evaluate_split(opened.network.to(device), manifest, chosen, machine, device)
        title = f"{opened.name} on {split} of manifest {fingerprint}, computed in {PRECISION}"
        write_render_folder(folder, evaluation, title=title)
        # a mean of nothing is null: JSON has no NaN
        rows = [{name: None if value != value else value for name, value in row._asdict().items()} for row in evaluation.rows]
        data: dict[str, Any] = {"folder": str(folder), "manifest": fingerprint, "precision": PRECISION}
        data |= {"num_clips": evaluation.num_clips, "rows": rows}
        table = (folder / "table.md").read_text(encoding="utf-8")
        return Answer(data, f"{table}\nwrote {folder}: {evaluation.num_clips} clips")

    def compare(self, a: Path, b: Path, options: CompareOptions) -> Answer:
        """Compare two evaluations clip by clip."""
        comparisons = compare_clips(*(read_clip_rows(folder) for folder in (a, b)))
        return Answer(
            [comparison._asdict() for comparison in comparisons], f"a = {a}\nb = {b}\n{clip_comparison_text(comparisons)}"
        )

    def refuse_to_predict(self, checkpoint: str) -> NoReturn:
        """Say that a pre-trained network has nothing to write files of."""
        raise RecipeError(
            f"checkpoint '{checkpoint}' is of family mim4d, which predicts neither depth maps nor objects by itself: it renders "
            "what LiDAR rays meet. Measure it (depthmill evaluate), or hand its backbone to another family (train.backbone_from) "
            "and predict with that"
        )

    def traceable(self, opened: OpenedNetwork[Mim4dTrainConfig], size: tuple[int, int] | None) -> Traceable:
        """Refuse: what a pre-training computes is of no use outside training."""
        raise RecipeError(
            f"checkpoint '{opened.name}' is a pre-training, and its network needs clips of several cameras and rays to render. "
            "What it is for is its backbone: train a depth network or a detector with train.backbone_from, and write that as ONNX"
        )

    def measures(self, config: Mim4dTrainConfig) -> dict[str, Measure]:
        """Return every rendered volume's errors, and what the probes find."""
        return rendering_measures(config)

    def table_columns(
        self, first: Mim4dTrainConfig, variants: Sequence[Mapping[str, Measure]]
    ) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
        """Return what every variant has of rendered depth, hidden colour and the depth probe."""
        return published_renderings(variants)

    def read_measures(self, folder: Path) -> dict[str, float]:
        """Return errors of rendering and of the probes of a complete training, by name."""
        return read_rendering_measures(folder)
