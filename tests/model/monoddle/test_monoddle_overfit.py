"""Overfit check (docs/method/monoddle.md#overfit-check): the tiny network overfits four frames, with and without a teacher."""

from __future__ import annotations

import pytest
import torch

from model.blocks.dense_teacher_loss import dense_teacher_loss
from model.monoddle.batch import DetectionBatch, normalized_images
from model.monoddle.data import DetectionLoader
from model.monoddle.heads import UNCERTAINTY_HEAD, depth_m_of
from model.monoddle.loss import detection_losses
from model.monoddle.net import MonoDdle
from model.monoddle.network_config import MonoDdleConfig
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.monoddle.made_up_detection_training import TINY_NETWORK, small_detection_config

pytestmark = pytest.mark.slow


@pytest.fixture
def batch(tiny_kitti_store) -> DetectionBatch:
    still = {"flip_probability": 0.0, "crop_probability": 0.0}
    config = small_detection_config(data={"batch_size": 4, "mono": True, "augment": still})
    manifest = open_manifest(Store(str(tiny_kitti_store)))
    with DetectionLoader(manifest, config.data, config.network, rules=config.targets) as loader:
        return next(iter(loader))


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def overfit(batch: DetectionBatch, form: str | None, *, teacher_of_step=None) -> tuple[list[float], MonoDdle]:
    """Take 300 steps on one batch; return the detector's own total of every step, and the network."""
    torch.manual_seed(0)
    network = MonoDdle(MonoDdleConfig.model_validate({**TINY_NETWORK, "uncertainty": True}))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    images, teacher_m, totals = normalized_images(batch.image_u8), batch.teacher_m, []
    for step in range(300):
        maps = network(images)
        total = detection_losses(maps, batch.targets)["total"]
        totals.append(float(total.detach()))
        if form is not None:
            seen = teacher_m if teacher_of_step is None else teacher_of_step(teacher_m, step)
            scale = maps[UNCERTAINTY_HEAD][:, 0] if form == "laplace" else None
            depth_m = depth_m_of(maps["depth"][:, 0])
            total = total + 0.5 * dense_teacher_loss(depth_m, seen, is_valid=seen > 0, form=form, log_scale=scale).loss
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return totals, network


def dense_error_m(network: MonoDdle, batch: DetectionBatch) -> torch.Tensor:
    with torch.no_grad():
        depth_m = depth_m_of(network(normalized_images(batch.image_u8))["depth"][:, 0])
    return (depth_m - batch.teacher_m).abs()[batch.teacher_m > 0]


def test_tiny_network_when_it_sees_four_frames_for_300_steps_then_its_loss_is_small(batch):
    totals, _ = overfit(batch, None)
    assert totals[0] > 10 and totals[100] < 4 and totals[-1] < 3


def test_tiny_network_when_distilled_by_l1_then_its_dense_depth_is_near_the_teacher(batch):
    totals, network = overfit(batch, "l1")
    assert dense_error_m(network, batch).mean() < 5
    assert totals[-1] < totals[0] / 3


def test_tiny_network_when_half_of_the_teacher_is_wrong_then_its_log_scale_is_higher_there(batch):
    width = batch.teacher_m.shape[2]

    def corrupted(teacher_m: torch.Tensor, step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(step)
        factor = torch.exp(0.5 * torch.randn(teacher_m.shape, generator=generator))
        factor[:, :, width // 2 :] = 1.0
        return teacher_m * factor

    _, network = overfit(batch, "laplace", teacher_of_step=corrupted)
    with torch.no_grad():
        log_scale = network.train()(normalized_images(batch.image_u8))[UNCERTAINTY_HEAD][:, 0]
    is_valid, is_left = batch.teacher_m > 0, torch.arange(width) < width // 2
    assert log_scale[is_valid & is_left].mean() > log_scale[is_valid & ~is_left].mean() + 0.5
