"""The network: images of all cameras go in; what is found around the vehicle comes out.

What    the encoder of MIM4D lifts the images of each key frame into voxels, volumes of key frames before are brought to where the
        vehicle stands now, convolutions mix what stands side by side, and a head says objects.
Source  docs/method/uvtr.md#network; UVTR, arXiv 2206.00630; MIM4D, arXiv 2403.08760
Reads   key frames with those before them (``ClipViews``), of b key frames T of each
Writes  ``Found``: raw answers of the heads; ``decode`` makes objects of them
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from model.mim4d.batch import ClipViews
from model.mim4d.encoder import VolumeEncoder
from model.uvtr.bev_augment import TO_LIDAR
from model.uvtr.box_code import decode
from model.uvtr.centre_head import CentreHead, CentreMaps
from model.uvtr.detections import Detections
from model.uvtr.network_config import UvtrConfig
from model.uvtr.query_head import QueryHead, QueryLayers
from model.uvtr.segmentation_head import SegmentationHead
from model.uvtr.voxel_convs import PastVolumes, VoxelConvs


class Found(NamedTuple):
    """What the network says of b key frames.

    Attributes:
        objects: raw answers of the head of objects.
        covered: (b, rows, columns) logits that a vehicle covers a cell of the ground; None of a network that does not say it.
        depths: per level, the finest first, (b, cameras, num_bins, y, x) float32: how likely a cell of the newest images is how
            deep.
    """

    objects: CentreMaps | QueryLayers
    covered: Tensor | None
    depths: tuple[Tensor, ...]


class Uvtr(VolumeEncoder):
    """The network; its options are in ``config``."""

    def __init__(self, config: UvtrConfig | None = None) -> None:
        """Make the network with fresh weights; one of single key frames has no ``past``."""
        config = config or UvtrConfig()
        lift = config.lift
        super().__init__(config.backbone, lift, input_px=config.input_px, first_trained_level=lift.first_level)
        self.config = config
        self.past = PastVolumes(lift.channels, num_frames=config.num_frames, grid=lift.grid) if config.num_frames > 1 else None
        self.voxel_convs = VoxelConvs(lift.channels, config.voxels)
        self.head: CentreHead | QueryHead
        if config.head == "centres":
            self.head = CentreHead(lift.channels, config.num_classes, config.centres, grid=lift.grid)
        else:
            self.head = QueryHead(lift.channels, config.num_classes, config.queries, grid=lift.grid)
        self.segmentation = None
        if config.segmentation.enabled:
            self.segmentation = SegmentationHead(lift.channels, config.segmentation, grid=lift.grid, ground=config.ground)

    def forward(self, views: ClipViews, *, generators: list[torch.Generator] | None = None) -> Found:
        """Look at key frames.

        Args:
            views: b key frames with those before them, the newest first.
            generators: of each key frame, for what is drawn in training; None: torch's own.

        Raises:
            InputError: shapes do not fit together.
        """
        volume, depths = self._volume_and_depths(views, generators)
        return Found(self.head(volume), None if self.segmentation is None else self.segmentation(volume), depths)

    def volume(self, views: ClipViews, *, generators: list[torch.Generator] | None = None) -> Tensor:
        """Return the volumes (b, C, Z, Y, X) that the heads read, in the rig frame of the newest key frame.

        Arguments and errors are those of ``forward``.
        """
        return self._volume_and_depths(views, generators)[0]

    def _volume_and_depths(self, views: ClipViews, generators: list[torch.Generator] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        lifted, chances = self._lifted(views, slice(0, 1), generators)
        depths = tuple(chance[:, 0] for chance in chances)
        if self.past is None:
            return self._mixed(lifted[:, 0]), depths
        with torch.no_grad():  # the past is looked at, not learned from: a training costs little more than of single frames
            before, _ = self._lifted(views, slice(1, None), generators)
        # poses need more digits than bfloat16 has
        with torch.autocast(lifted.device.type, enabled=False):
            together = torch.cat((lifted, before), dim=1)
            volume = self.past(together, views.world_from_rig, views.time_s)
        return self._mixed(volume), depths

    def _lifted(self, views: ClipViews, frames: slice, generators: list[torch.Generator] | None) -> tuple[Tensor, list[Tensor]]:
        of_frames = ClipViews(*(values[:, frames] for values in views))
        features, chances = self.in_depth(self.pyramid(of_frames.image, generators=generators))
        return self.put_into_voxels(features, chances, of_frames), chances

    def _mixed(self, volume: Tensor) -> Tensor:
        mixed: Tensor = self.voxel_convs(volume.contiguous())
        return mixed

    @torch.no_grad()
    def decode(self, found: Found) -> list[Detections]:
        """Return the objects of each key frame in its rig frame, the surest first, labelled as in ``CLASSES``."""
        head, answers, most = self.head, found.objects, self.config.max_detections
        if isinstance(head, CentreHead):
            assert isinstance(answers, CentreMaps)
            results = head.found(answers, most)
        else:
            assert isinstance(answers, QueryLayers)
            results = head.found(answers, most)
        labels = torch.tensor(self.config.labels)
        return [self._detections(scores, labels[classes.cpu()], codes) for scores, classes, codes in results]

    def _detections(self, scores: Tensor, labels: Tensor, codes: Tensor) -> Detections:
        decoded = decode(codes.double(), code=self.config.code).cpu()
        boxes = (TO_LIDAR.undone(decoded) if self.config.frame == "lidar" else decoded).numpy()
        return Detections(
            centers_m=boxes[:, :3],
            sizes_wlh_m=boxes[:, 3:6],
            yaws_rad=boxes[:, 6],
            velocities_mps=boxes[:, 7:9],
            labels=labels.numpy(),
            scores=scores.double().cpu().numpy(),
        )
