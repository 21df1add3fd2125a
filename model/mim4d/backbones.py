"""The masked backbone that a configuration asks for."""

from __future__ import annotations

from model.mim4d.masked_convnext import CONVNEXT_SIZES, MaskedConvNeXt
from model.mim4d.masked_resnet import MaskedResNet34, MaskedResNet50
from model.mim4d.network_config import BackboneConfig


def make_backbone(config: BackboneConfig, *, first_level: int = 0) -> MaskedConvNeXt | MaskedResNet34 | MaskedResNet50:
    """Make the backbone with fresh weights; all are called alike, and tell the ``channels`` of their levels.

    Args:
        config: the options.
        first_level: finest level that is read. Norms of the levels before it get no gradient and are not trained: a parameter
            that waits for one would stop a training on several devices.
    """
    if config.name == "resnet34":
        return MaskedResNet34(config.base_channels)
    if config.name == "resnet50":
        return MaskedResNet50(config.base_channels)
    network = MaskedConvNeXt(
        CONVNEXT_SIZES[config.name],
        layer_scale=config.layer_scale,
        drop_path=config.drop_path,
        frozen_stages=config.frozen_stages,
    )
    network.norms[:first_level].requires_grad_(False)
    return network
