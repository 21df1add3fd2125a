"""Probe the network of a training: learn both probes on the training split, measure them on the evaluation's.

Why     a number says nothing of pre-training unless it stands beside the same probe of the same network with random weights, of
        the weights that it began with, and beside what is known without any features.
Reads   best.pt, clips of both splits
Writes  probe/table.md, then probe/probes.json, which says that the probes are complete
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from model.blocks.full_precision import full_precision
from model.devices import network_device
from model.mim4d.batch import ClipBatch, views_of
from model.mim4d.clip_draws import clip_generator
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.data import ClipLoader, clips_of, measured_clips
from model.mim4d.depth_head import DepthBins
from model.mim4d.net import Mim4d
from model.mim4d.probes.depth_points import DepthPoints, depth_points, features_at
from model.mim4d.probes.depth_probe import (
    NUM_DEPTH_BINS,
    DepthErrors,
    RowMedians,
    depth_loss,
    probed_depth_m,
    row_medians,
)
from model.mim4d.probes.frozen_networks import FrozenFrame, encode_key_frame, probed_level, probed_networks
from model.mim4d.probes.linear_probe import LinearProbe, Loss, drawn_rows, fit_linear_probe, rows_per_clip
from model.mim4d.probes.occupancy_probe import ScoreCounts, VoxelFrequency, occupancy_loss, probed_scores
from model.mim4d.probes.occupancy_truth import occupied_voxels, seen_voxels
from model.mim4d.probes.probe_files import (
    MEDIAN,
    ROW_MEDIAN,
    VOXEL_FREQUENCY,
    ProbeAbout,
    ProbeResults,
    probes_are_due,
    write_probes,
)
from model.train.config import Machine
from model.train.family_types import placement
from storage_schemas.awaited import counted
from storage_schemas.errors import ManifestError
from storage_schemas.manifest import Manifest

_EPOCH = -2
"""Epoch of the probes' draws; those of training are 0 and more, that of the evaluation is -1."""


def probe_training(config: Mim4dTrainConfig, manifest: Manifest, folder: Path, machine: Machine) -> None:
    """Probe a training's best checkpoint; nothing happens if that is done already, or switched off.

    Args:
        config: of the training.
        manifest: the pinned data.
        folder: of the training.
        machine: where.

    Raises:
        WeightsFileError: the training has no best.pt yet.
        ManifestError: there is no point to learn from or to measure on.
        StoreError: the folder cannot be written.
    """
    if not probes_are_due(config, folder):
        return
    device = network_device(machine.accelerator)
    networks = probed_networks(config, folder, device=device)
    with (
        full_precision(device.type),
        _training_clips(manifest, config, machine) as learned,
        measured_clips(manifest, config, placement=placement(machine)) as measured,
    ):
        results = run_probes(
            networks,
            config,
            learn_from=(batch.to(device) for batch in counted(learned, "probes learn from clips")),
            num_clips=learned.num_samples,
            measure_on=(batch.to(device) for batch in counted(measured, "probes are measured on clips")),
        )
    write_probes(folder, results)


def run_probes(
    networks: dict[str, Mim4d],
    config: Mim4dTrainConfig,
    *,
    learn_from: Iterable[ClipBatch],
    num_clips: int,
    measure_on: Iterable[ClipBatch],
) -> ProbeResults:
    """Probe networks that differ in their weights alone.

    Args:
        networks: by the name of their row; ``frozen``.
        config: of the training.
        learn_from: single clips on the networks' device, whose points that are not held out are learned from.
        num_clips: how many these are, to share the memory out.
        measure_on: single clips on the networks' device, whose held-out points are measured on.

    Raises:
        ManifestError: there is no point to learn from or to measure on.
    """
    probes = _Probes(networks, config)
    return _measure(probes, _learn(probes, learn_from, num_clips=num_clips), measure_on)


@dataclass(frozen=True)
class _Probes:
    """What is the same for all clips."""

    networks: dict[str, Mim4d]
    config: Mim4dTrainConfig

    @property
    def bins(self) -> DepthBins:
        lift = self.config.network.lift
        return DepthBins(lift.near_m, lift.far_m, NUM_DEPTH_BINS)

    def frames(self, batch: ClipBatch) -> dict[str, FrozenFrame]:
        """Return what each network makes of the key frame of a single clip."""
        views = views_of(batch)
        return {name: encode_key_frame(network, views) for name, network in self.networks.items()}


@dataclass
class _Rows:
    """Training rows of one kind of probe, clip by clip, on the CPU; all networks are probed at the same places."""

    features: dict[str, list[Tensor]]
    targets: list[Tensor] = field(default_factory=list)
    total: int = 0

    def add(self, features: dict[str, Tensor], targets: Tensor, *, generator: torch.Generator, num_clips: int) -> Tensor:
        """Keep some of the rows (n, channels) and targets (n) of one clip; return which."""
        channels = next(iter(features.values())).shape[1]
        kept = drawn_rows(len(targets), rows_per_clip(num_clips, channels=channels), generator=generator)
        self.total += len(targets)
        self.targets.append(targets[kept])
        for name, values in features.items():
            self.features[name].append(values[kept.to(values.device)].cpu())
        return kept

    def fit(self, *, outputs: int, loss: Loss, config: Mim4dTrainConfig) -> dict[str, LinearProbe]:
        """Fit the probe of each network."""
        targets = torch.cat(self.targets)
        probes = {}
        for name, parts in self.features.items():
            probes[name] = fit_linear_probe(
                torch.cat(parts),
                targets,
                outputs=outputs,
                loss=loss,
                steps=config.probe.steps,
                learning_rate=config.probe.learning_rate,
                generator=torch.Generator().manual_seed(config.seed),
            )
        return probes


@dataclass(frozen=True)
class _Learned:
    """What was learned on the training split."""

    depth: dict[str, LinearProbe]
    medians: RowMedians
    occupancy: dict[str, LinearProbe]
    thresholds: dict[str, int]
    frequency: VoxelFrequency
    num_clips: int
    num_points: int


def _learn(probes: _Probes, clips: Iterable[ClipBatch], *, num_clips: int) -> _Learned:
    config = probes.config
    network, lift = config.network, config.network.lift
    points_rows, voxel_rows = (_Rows({name: [] for name in probes.networks}) for _ in range(2))
    frequency = VoxelFrequency(lift.grid.num_voxels)
    v_px: list[Tensor] = []
    for batch in clips:
        generator = clip_generator(batch.window_keys[0], seed=config.seed, epoch=_EPOCH)
        frames = probes.frames(batch)
        points = depth_points(batch, network, held_out=False)
        kept = points_rows.add(
            _depth_features(frames, points, network.input_px), points.depth_m.cpu(), generator=generator, num_clips=num_clips
        )
        v_px.append(points.uv_px[:, 1].cpu()[kept])
        is_seen, is_occupied = _voxels(batch, config)
        frequency.add(is_seen=is_seen, is_occupied=is_occupied)
        voxel_rows.add(_voxel_features(frames, is_seen), is_occupied[is_seen].float(), generator=generator, num_clips=num_clips)
    if not points_rows.total or not 0 < frequency.num_occupied.sum() < frequency.num_seen.sum():
        raise ManifestError(
            f"{num_clips} clips of split '{config.data.split}' have {points_rows.total} LiDAR points in the key frame's images, "
            f"and {int(frequency.num_occupied.sum())} of {int(frequency.num_seen.sum())} seen voxels hold one. That gives probes "
            "nothing to learn from. Raise train.probe.clips, look at the clips, or set train.probe.steps to 0"
        )
    _, stride_px = probed_level(lift)
    depth_m = torch.cat(points_rows.targets)
    occupancy = voxel_rows.fit(outputs=1, loss=occupancy_loss(frequency.share), config=config)
    return _Learned(
        depth=points_rows.fit(outputs=NUM_DEPTH_BINS, loss=depth_loss(probes.bins), config=config),
        medians=row_medians(torch.cat(v_px), depth_m, height_px=network.input_px[0], stride_px=stride_px),
        occupancy=occupancy,
        thresholds={
            name: _counted(probed_scores(probe, torch.cat(voxel_rows.features[name])), torch.cat(voxel_rows.targets)).best()
            for name, probe in occupancy.items()
        },
        frequency=frequency,
        num_clips=num_clips,
        num_points=len(depth_m),
    )


def _measure(probes: _Probes, learned: _Learned, clips: Iterable[ClipBatch]) -> ProbeResults:
    config = probes.config
    network = config.network
    depth = {name: DepthErrors() for name in (*probes.networks, ROW_MEDIAN, MEDIAN)}
    occupancy = {name: ScoreCounts() for name in (*probes.networks, VOXEL_FREQUENCY)}
    frequency = learned.frequency.scores()
    num_clips = 0
    for batch in clips:
        num_clips += 1
        frames = probes.frames(batch)
        points = depth_points(batch, network, held_out=True)
        true_m = points.depth_m.cpu()
        for name, features in _depth_features(frames, points, network.input_px).items():
            depth[name].add(probed_depth_m(learned.depth[name], features.cpu(), probes.bins), true_m)
        depth[ROW_MEDIAN].add(learned.medians.at(points.uv_px[:, 1].cpu()), true_m)
        depth[MEDIAN].add(torch.full_like(true_m, learned.medians.median_m), true_m)
        is_seen, is_occupied = _voxels(batch, config)
        truth = is_occupied[is_seen]
        for name, features in _voxel_features(frames, is_seen).items():
            _count(occupancy[name], probed_scores(learned.occupancy[name], features.cpu()), truth)
        _count(occupancy[VOXEL_FREQUENCY], frequency[is_seen], truth)
    if not depth[MEDIAN].sums[0].sum() or not occupancy[VOXEL_FREQUENCY].counts[1].sum():
        raise ManifestError(
            f"{num_clips} clips of split '{config.evaluation.split}' have no LiDAR point that is held out in the key frame's "
            "images, or none in a seen voxel, so probes cannot be measured. Choose another split in train.evaluation.split, "
            "raise train.data.held_out_share, or set train.probe.steps to 0"
        )
    thresholds = {**learned.thresholds, VOXEL_FREQUENCY: learned.frequency.threshold()}
    _, stride_px = probed_level(network.lift)
    return ProbeResults(
        about=ProbeAbout(
            train_split=config.data.split,
            split=config.evaluation.split,
            num_train_clips=learned.num_clips,
            num_train_points=learned.num_points,
            num_clips=num_clips,
            stride_px=stride_px,
            seed=config.seed,
            settings=config.probe.model_dump(mode="json"),
        ),
        depth=[row for name, errors in depth.items() for row in errors.rows(name)],
        occupancy=[counts.row(name, threshold=thresholds[name]) for name, counts in occupancy.items()],
    )


def _depth_features(frames: dict[str, FrozenFrame], points: DepthPoints, image_px: tuple[int, int]) -> dict[str, Tensor]:
    return {name: features_at(frame.level, points, image_px=image_px) for name, frame in frames.items()}


def _voxel_features(frames: dict[str, FrozenFrame], is_seen: Tensor) -> dict[str, Tensor]:
    """Return the features (n, channels) of the voxels that are seen."""
    return {name: frame.volume.flatten(1)[:, is_seen.to(frame.volume.device)].T for name, frame in frames.items()}


def _voxels(batch: ClipBatch, config: Mim4dTrainConfig) -> tuple[Tensor, Tensor]:
    """Return which voxels are seen and which occupied, on the CPU."""
    lift = config.network.lift
    return seen_voxels(batch, lift).cpu(), occupied_voxels(batch, lift.grid).cpu()


def _counted(scores: Tensor, is_occupied: Tensor) -> ScoreCounts:
    counts = ScoreCounts()
    _count(counts, scores, is_occupied > 0)
    return counts


def _count(counts: ScoreCounts, scores: Tensor, is_occupied: Tensor) -> None:
    counts.add(scores, num_empty=(~is_occupied).long(), num_occupied=is_occupied.long())


def _training_clips(manifest: Manifest, config: Mim4dTrainConfig, machine: Machine) -> ClipLoader:
    """Return a loader of the clips to learn from, one by one: those of the training, or as many of them as are asked for."""
    data = config.data.model_copy(update={"batch_size": 1, "order": "shuffled"})  # in which order a share can be read
    loader = clips_of(manifest, config, data, placement=placement(machine))
    wanted = config.probe.clips
    if wanted is None or wanted >= loader.num_samples:
        return loader
    share = data.share * wanted / loader.num_samples
    return clips_of(manifest, config, data.model_copy(update={"share": share}), placement=placement(machine))
