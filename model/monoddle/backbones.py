"""What brings an image to four levels of features: our own networks, or one of the package timm.

Reads   a normalised image (b, 3, h, w), sides that are multiples of 32
Writes  four levels (b, channels, h / stride, w / stride) at strides 4, 8, 16 and 32
Source  docs/method/monoddle.md#other-backbones
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from model.blocks.convnext import ConvNeXt
from model.blocks.resnet import ResNet50
from model.blocks.timm_package import NoTimmError, import_timm
from model.errors import WeightsFileError
from model.monoddle.dla import Dla34
from model.monoddle.hrnet import HrNet
from model.monoddle.network_config import OWN_BACKBONES, TIMM_PREFIX, MonoDdleConfig
from storage_schemas.errors import DepthmillError

LEVEL_STRIDES = (4, 8, 16, 32)
MESSAGE_LENGTH = 300
"""Characters kept of a message of timm's, which can list hundreds of keys."""

Levels = tuple[Tensor, Tensor, Tensor, Tensor]


class BackboneError(DepthmillError):
    """A backbone is missing, or does not give the levels that are needed."""


class Backbone(Protocol):
    """What the network needs of a backbone."""

    channels: tuple[int, int, int, int]
    """Of the levels, the finest first."""

    def __call__(self, image: Tensor) -> Levels:
        """Map a normalised image (b, 3, h, w) to levels at strides 4, 8, 16 and 32."""

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load the weights of a classification network from a local file."""


def make_backbone(config: MonoDdleConfig) -> Dla34 | HrNet | ResNet50 | ConvNeXt | TimmBackbone:
    """Make the backbone that a configuration asks for, with fresh weights.

    Raises:
        BackboneError: timm cannot be imported, has no such network, or the network lacks a level.
    """
    if config.backbone == "dla34":
        return Dla34(config.dla_widths, compat=config.compat)
    if config.backbone == "hrnet_w32":
        return HrNet()
    if config.backbone == "resnet50":
        return ResNet50()
    if config.backbone == "convnext_tiny":
        return ConvNeXt()
    if config.backbone == "convnextv2_tiny":
        return ConvNeXt(layer_scale=None)
    return TimmBackbone(config.backbone.removeprefix(TIMM_PREFIX))


class TimmBackbone(nn.Module):
    """A network of the package timm, cut before its classifier."""

    def __init__(self, name: str) -> None:
        """Make the network with fresh weights.

        Args:
            name: as timm calls it: ``hrnet_w48``.

        Raises:
            BackboneError: timm cannot be imported, has no such network, or the network lacks a level.
        """
        super().__init__()
        self.name = name
        self.net = _timm_features(name)
        strides: Sequence[int] = self.net.feature_info.reduction()
        channels: Sequence[int] = self.net.feature_info.channels()
        lacking = [stride for stride in LEVEL_STRIDES if stride not in strides]
        if lacking:
            raise BackboneError(
                f"backbone '{TIMM_PREFIX}{name}' gives levels at strides {', '.join(map(str, strides))}, "
                f"without stride {lacking[0]}; choose a network with strides {', '.join(map(str, LEVEL_STRIDES))}"
            )
        # by stride, not by place: some networks list finer levels first
        self.places = tuple(list(strides).index(stride) for stride in LEVEL_STRIDES)
        c4, c8, c16, c32 = (channels[place] for place in self.places)
        self.channels = (c4, c8, c16, c32)

    def forward(self, image: Tensor) -> Levels:
        """Map a normalised image (b, 3, h, w) to levels (b, channels, ...) at strides 4, 8, 16 and 32.

        Raises:
            BackboneError: the network gives its levels in another layout.
        """
        levels = self.net(image)
        at4, at8, at16, at32 = (levels[place] for place in self.places)
        if at4.shape[1] != self.channels[0]:
            raise BackboneError(
                f"backbone '{TIMM_PREFIX}{self.name}' gives levels of shape {tuple(at4.shape)}, expected {self.channels[0]} "
                "channels in second place; choose a convolutional network"
            )
        return at4, at8, at16, at32

    def load_imagenet_weights(self, path: str | Path) -> None:
        """Load a file that timm's ``create_model`` would load for this network.

        Raises:
            WeightsFileError: the file is missing or is not of this network, with what timm says of it.
        """
        if not Path(path).is_file():
            raise WeightsFileError(f"weights file '{path}' does not exist; give the path of a file of timm's {self.name}")
        options: dict[str, Any] = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
        timm = _timm_for(self.name)
        try:
            timm.create_model(
                self.name, **options
            )  # without its classifier it takes any file, and leaves out what it does not know
            loaded = timm.create_model(self.name, features_only=True, **options)
        except Exception as error:  # timm raises errors of many types for a foreign file
            said = " ".join(str(error).split())[:MESSAGE_LENGTH] or type(error).__name__
            raise WeightsFileError(f"weights file '{path}' does not load into timm's {self.name}: {said}") from error
        self.net.load_state_dict(loaded.state_dict())


def _timm_for(name: str) -> Any:
    try:
        return import_timm()
    except NoTimmError as error:
        instead = ", ".join(OWN_BACKBONES)
        raise BackboneError(
            f"backbone '{TIMM_PREFIX}{name}' needs the package timm: {error}. Or choose one of {instead}"
        ) from error


def _timm_features(name: str) -> Any:
    """Return timm's network of that name with fresh weights; called with an image, it gives a list of levels."""
    timm = _timm_for(name)
    try:
        return timm.create_model(name, features_only=True, pretrained=False)
    except RuntimeError as error:
        raise BackboneError(f"timm makes no backbone '{name}': {error}. See timm.list_models() for the names") from error
