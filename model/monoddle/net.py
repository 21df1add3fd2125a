"""The network: an image goes in, maps come out from which objects are read.

Source  docs/method/monoddle.md#network, #heads
Reads   image (b, 3, h, w) RGB, divided by 255, minus ImageNet's mean, divided by its deviation; h, w multiples of 32
Writes  raw head maps (b, channels, h / 4, w / 4); model/monoddle/heads.py says what they mean
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from torch import Tensor, nn

from model.errors import InputError
from model.monoddle.backbones import make_backbone
from model.monoddle.dla_up import DlaUp
from model.monoddle.heads import Heads
from model.monoddle.network_config import COARSEST_STRIDE, MonoDdleConfig


class MonoDdle(nn.Module):
    """The network; its options are in ``config``."""

    def __init__(self, config: MonoDdleConfig | None = None) -> None:
        """Make the network with fresh weights.

        Raises:
            BackboneError: the backbone is one of timm's and cannot be had.
        """
        super().__init__()
        self.config = config or MonoDdleConfig()
        self.backbone = make_backbone(self.config)
        self.neck = DlaUp(self.backbone.channels)
        self.heads = Heads(self.config, channels_in=self.backbone.channels[0])
        self._has_frozen_statistics = False

    def forward(self, image: Tensor, *, with_uncertainty: bool | None = None) -> dict[str, Tensor]:
        """Compute the raw maps of a batch.

        Args:
            image: (b, 3, h, w) normalised; any sides that are multiples of 32.
            with_uncertainty: whether the uncertainty head is computed. None: in training mode, if the network has it; only the
                distillation reads it, so inference does not pay for it.

        Returns:
            Maps (b, channels, h / 4, w / 4) float32 before any activation, by the head's name.

        Raises:
            InputError: the image's shape or dtype does not fit, or there is no uncertainty head to compute.
        """
        self._check(image)
        if with_uncertainty and not self.config.uncertainty:
            raise InputError("this network has no uncertainty head; build it with uncertainty=True")
        features = self.neck(self.backbone(image))
        maps: dict[str, Tensor] = self.heads(
            features, with_uncertainty=self.training if with_uncertainty is None else with_uncertainty
        )
        return maps

    def freeze_backbone(self, *, with_statistics: bool = True) -> None:
        """Let no training change the backbone's parameters.

        Args:
            with_statistics: its batch norms stay in evaluation mode as well, so that it computes the same of an image as always.
        """
        self.backbone.requires_grad_(False)
        self._has_frozen_statistics = with_statistics
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; a backbone with frozen statistics stays in evaluation mode."""
        super().train(mode)
        if self._has_frozen_statistics:
            self.backbone.eval()
        return self

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load the backbone's weights from a local file of a classification network.

        Raises:
            WeightsFileError: the file is missing or is not of this backbone.
        """
        self.backbone.load_imagenet_weights(path)

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point() or image.numel() == 0:
            raise InputError(
                f"image must be floating-point (b, 3, h, w), normalised, got {image.dtype} {tuple(image.shape)}; "
                "uint8 images (b, h, w, 3) have to be permuted, divided by 255 and normalised"
            )
        if any(side % COARSEST_STRIDE for side in image.shape[2:]):
            raise InputError(
                f"image is {image.shape[2]} x {image.shape[3]} (height x width), expected multiples of {COARSEST_STRIDE}; "
                "bring it to the network's input size first"
            )
