"""Measure rendered depth against LiDAR points that no ray was trained on, and rendered colour, beside controls.

Why     LiDAR rays share the ground and the horizon, and a frame resembles the one before it, so a network looks good that has
        learned no more than that. Each number stands beside what the same renderer shows of another clip's volume, of the nearest
        frame's volume as it is and warped to where the vehicle is, and beside one depth and one colour for all rays.
Source  docs/method/mim4d.md#evaluation, #pitfalls (12)
Writes  into a folder: rendering.csv, clips.csv and table.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.blocks.full_precision import full_precision
from model.data.ordered_loader import Placement
from model.mim4d.batch import ClipBatch, ClipViews, views_of
from model.mim4d.clip_draws import clip_generator, draw_rays
from model.mim4d.clip_errors import CLIPS_FILE, ClipRow, clip_rows
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.data import measured_clips
from model.mim4d.ego_warp import source_from_target, warp_volume
from model.mim4d.loss import DIRECT, RECONSTRUCT
from model.mim4d.net import Mim4d
from model.mim4d.network_config import Mim4dConfig
from model.mim4d.ray_errors import (
    ANY_RANGE,
    CONSTANT,
    COPIED,
    COPIED_WARPED,
    REBUILT_SWAPPED,
    SWAPPED,
    VOLUMES,
    RayErrors,
    RayTruth,
    RenderRow,
    cells_of,
)
from model.mim4d.rays import Rays
from model.train.config import Machine
from model.train.result_files import put_tables, read_rows, rows_as_csv
from storage_schemas.awaited import counted
from storage_schemas.errors import ManifestError
from storage_schemas.files import StoreFiles
from storage_schemas.manifest import Manifest

RENDERING_FILE = "rendering.csv"
EVALUATION_EPOCH = -1
"""Epoch of an evaluation's draws: they are the same every time, and differ from those of every training epoch."""

EVALUATION_SEED = 0
"""Seed of an evaluation's draws, not the training's: every network is measured with the same hidden patches and rays."""

_SAME_S = 1e-3
"""Frames whose distances in time differ by less, seconds, count as equally near."""


@dataclass
class RenderEvaluation:
    """What was measured.

    Attributes:
        rows: of every volume, those without any ray left out.
        num_clips: clips that were rendered.
        clips: of every clip by itself, the clips in the order they were rendered in.
    """

    rows: list[RenderRow]
    num_clips: int
    clips: list[ClipRow] = field(default_factory=list)

    def row(self, volume: str, *, frames: str = "all", pixels: str = "all") -> RenderRow | None:
        """Return the row over all ranges, None if the volume has no rays."""
        wanted = (volume, frames, pixels, ANY_RANGE)
        return next((row for row in self.rows if row[:4] == wanted), None)


@torch.no_grad()
def evaluate_renderings(
    network: Mim4d,
    clips: Callable[[], Iterator[ClipBatch]],
    *,
    rays_per_camera: int,
    seed: int,
    device: torch.device,
) -> RenderEvaluation:
    """Render every frame of every clip, and the controls.

    Args:
        network: in evaluation mode, on the device.
        clips: begins to deliver single clips, in the same order whenever it is called; clips of a scene one after the other.
        rays_per_camera: rays of one camera of one frame, at most.
        seed: of hidden patches and of the choice of rays.
        device: of the network.

    Raises:
        ManifestError: there is no clip, or no LiDAR point is held out.
    """
    config = network.config
    rays_config = config.render.rays.model_copy(update={"rays_per_camera": rays_per_camera})
    config = config.model_copy(update={"render": config.render.model_copy(update={"rays": rays_config})})
    by_clip: dict[str, dict[str, RayErrors]] = {}
    truth = RayTruth()
    other = _OtherScene(network, clips, config, seed=seed, device=device)
    for raw in counted(clips(), "clips are rendered and measured"):
        batch = raw.to(device)
        key = batch.window_keys[0]
        encoded = _encode(network, batch, config, seed=seed)
        swapped = other.volumes_for(key, encoded.volumes)
        by_volume = by_clip.setdefault(key, {})
        for frame, rays in enumerate(encoded.rays):
            cells = cells_of(rays, frame)
            truth.add(rays, cells, clip=key)
            for name, volume in _volumes_to_show(network, encoded, frame, swapped).items():
                seen = network.show(volume, rays.origin_m, rays.direction)
                by_volume.setdefault(name, RayErrors()).add(seen, rays, cells)
    if not truth.num_measured:
        raise ManifestError(
            f"{len(by_clip)} clips have no LiDAR point that is held out, so rendered depth cannot be measured. Choose another "
            "split in train.evaluation.split, or raise train.data.held_out_share"
        )
    for key, errors in truth.compared_with_constants().items():
        by_clip[key][CONSTANT] = errors
    sums = {name: RayErrors() for name in VOLUMES}
    for by_volume in by_clip.values():
        for name, errors in by_volume.items():
            sums[name].include(errors)
    rows = [row for name in VOLUMES for row in sums[name].rows(name)]
    return RenderEvaluation(rows, len(by_clip), [row for key, by_volume in by_clip.items() for row in clip_rows(key, by_volume)])


class _Encoded(NamedTuple):
    """One clip: what the network saw, made of it (1, T, C, Z, Y, X), and the rays of each frame."""

    views: ClipViews
    volumes: Tensor
    rays: list[Rays]


def _encode(network: Mim4d, batch: ClipBatch, config: Mim4dConfig, *, seed: int) -> _Encoded:
    generators = [clip_generator(key, seed=seed, epoch=EVALUATION_EPOCH) for key in batch.window_keys]
    frames = batch.image_u8.shape[1]
    targets = [(frame,) * len(batch) for frame in range(frames)]
    draws = draw_rays(batch, config, targets=targets, generators=generators, of_points=batch.is_held_out)
    views = views_of(batch)
    return _Encoded(views, network.volumes(views, draws.is_seen).float(), draws.rays)


def _volumes_to_show(network: Mim4d, encoded: _Encoded, frame: int, swapped: Tensor | None) -> dict[str, Tensor]:
    """Return the volumes that are rendered as if each were that of one frame."""
    views, volumes, _ = encoded
    volume_by_name = {DIRECT: volumes[:, frame]}
    if swapped is not None:
        volume_by_name[SWAPPED] = swapped[:, frame]
    if network.temporal is None:
        return volume_by_name
    volume_by_name[RECONSTRUCT] = network.reconstruct(volumes, views, [frame])
    if swapped is not None:
        volume_by_name[REBUILT_SWAPPED] = network.reconstruct(swapped, views, [frame])
    away_s = (views.time_s[0] - views.time_s[0, frame]).abs()
    away_s[frame] = torch.inf
    nearest = int((away_s < away_s.min() + _SAME_S).nonzero()[0])  # the newer of two that are as near
    moved = source_from_target(views.world_from_rig[:, nearest], views.world_from_rig[:, frame])
    volume_by_name[COPIED] = volumes[:, nearest]
    volume_by_name[COPIED_WARPED], _ = warp_volume(volumes[:, nearest], moved, grid=network.config.lift.grid)
    return volume_by_name


class _OtherScene:
    """Keeps the volumes of a clip of another scene than the current one.

    It is the last clip of the scene before. The first scene has none before it, so the first clip of the second is looked for
    ahead; if there is a single scene, its last clip is taken, and for this one its first.
    """

    def __init__(
        self,
        network: Mim4d,
        clips: Callable[[], Iterator[ClipBatch]],
        config: Mim4dConfig,
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        ahead = _clip_of_another_scene(clips())
        self._ahead_key = None if ahead is None else ahead.window_keys[0]
        self._before: Tensor | None = None
        if ahead is not None:
            self._before = _encode(network, ahead.to(device), config, seed=seed).volumes
        self._first: Tensor | None = None
        self._last: Tensor | None = None
        self._scene: str | None = None

    def volumes_for(self, key: str, volumes: Tensor) -> Tensor | None:
        """Return another clip's volumes; None if there is no other clip.

        Args:
            key: of the current clip.
            volumes: of the current clip, for those that come after it.
        """
        scene = _scene_of(key)
        if self._first is None:
            self._first = volumes
        elif self._scene != scene:
            self._before = self._last
        is_only_scenes_last = self._scene == scene and key == self._ahead_key
        self._scene, self._last = scene, volumes
        return self._first if is_only_scenes_last else self._before


def _clip_of_another_scene(clips: Iterator[ClipBatch]) -> ClipBatch | None:
    """Return the first clip of another scene than the first clip's, or the last clip, or None if there is a single clip."""
    first, last = next(clips, None), None
    if first is None:
        raise ManifestError("there is no clip to measure on. Choose another split in train.evaluation.split")
    for last in clips:
        if _scene_of(last.window_keys[0]) != _scene_of(first.window_keys[0]):
            break
    return last


def _scene_of(key: str) -> str:
    return key.rpartition("/")[0]


def write_render_folder(folder: Path, evaluation: RenderEvaluation, *, title: str) -> None:
    """Write an evaluation's tables.

    Raises:
        StoreError: the folder cannot be written.
    """
    StoreFiles(folder).put("table.md", f"{title}\n\n{render_table(evaluation.rows)}\n".encode())
    clips, rows = rows_as_csv(ClipRow, evaluation.clips), rows_as_csv(RenderRow, evaluation.rows)
    put_tables(folder, {CLIPS_FILE: clips, RENDERING_FILE: rows})


def read_rendering(folder: Path) -> list[RenderRow]:
    """Return the rows that ``write_render_folder`` wrote.

    Raises:
        StoreError: the file is missing or damaged; names it.
    """
    missing = f"'{folder}' holds no evaluation of MIM4D ({RENDERING_FILE} is missing). Run depthmill evaluate"
    return read_rows(RenderRow, folder / RENDERING_FILE, missing=missing)


def render_table(rows: Sequence[RenderRow]) -> str:
    """Return the rows as Markdown: over all ranges, and the relative error by range."""
    lines = [
        "| volume | frames | pixels | AbsRel | RMSE m | delta<1.25 | rays | colour L1 | colours |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        if row.range_m == ANY_RANGE:
            lines.append(
                f"| {row.volume} | {row.frames} | {row.pixels} | {row.abs_rel:.3f} | {row.rmse_m:.2f} | {row.delta1:.3f} "
                f"| {row.num_rays} | {row.rgb_l1:.3f} | {row.num_colours} |"
            )
    by_range = [row for row in rows if row.range_m != ANY_RANGE]
    ranges = sorted({row.range_m for row in by_range}, key=lambda range_m: int(range_m.split("-")[0]))
    row_of = {(row.volume, row.range_m): row for row in by_range}
    lines += ["", f"| AbsRel at m | {' | '.join(ranges)} |", f"|---|{'--:|' * len(ranges)}"]
    for volume in dict.fromkeys(row.volume for row in by_range):
        texts = (f"{row_of[volume, range_m].abs_rel:.3f}" if (volume, range_m) in row_of else "" for range_m in ranges)
        lines.append(f"| {volume} | {' | '.join(texts)} |")
    return "\n".join(lines)


def single_clips(manifest: Manifest, config: Mim4dTrainConfig, machine: Machine) -> Iterator[ClipBatch]:
    """Yield every clip of the evaluation's split once, in the manifest's order, in batches of one.

    Raises:
        ManifestError: the split has no windows, or frames lack a store.
    """
    with measured_clips(manifest, config, placement=Placement(image_root=machine.image_root)) as loader:
        yield from loader


def evaluate_split(
    network: nn.Module, manifest: Manifest, config: Mim4dTrainConfig, machine: Machine, device: torch.device
) -> RenderEvaluation:
    """Measure a network, and leave it in the mode it was in.

    Args:
        network: of MIM4D, on the device.
        manifest: an opened manifest.
        config: of its training; ``evaluation`` says the split and how many rays.
        machine: where images are.
        device: of the network.

    Raises:
        ManifestError: the split has no windows, frames lack a store, or no LiDAR point is held out.
    """
    assert isinstance(network, Mim4d)
    was_training = network.training
    network.eval()
    try:
        with full_precision(device.type):
            return evaluate_renderings(
                network,
                lambda: single_clips(manifest, config, machine),
                rays_per_camera=config.evaluation.rays_per_camera,
                seed=EVALUATION_SEED,
                device=device,
            )
    finally:
        network.train(was_training)
