"""Learning (docs/method/uvtr.md#checks): the tiny network overfits two painted key frames, with either head."""

from __future__ import annotations

import pytest
import torch

from model.mim4d.batch import views_of
from model.uvtr.config import UvtrLossConfig
from model.uvtr.detect import look
from model.uvtr.detection_metric import PRESENT
from model.uvtr.evaluation import TruthFrame, evaluate_detections
from model.uvtr.loss import objects_losses
from model.uvtr.net import Uvtr
from model.uvtr.network_config import UvtrConfig
from tests.model.uvtr.made_up_key_frames import PAINTED, made_up_key_frame

NUM_STEPS = 260
SCENES = (0, 1)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("head", ["centres", "queries"])
def test_two_key_frames_when_overfitted_then_every_class_is_found(head):
    config = UvtrConfig.tiny(head=head, classes=PAINTED)
    torch.manual_seed(0)
    network = Uvtr(config).train()
    backbone = list(network.backbone.parameters())
    own = {id(one) for one in backbone}
    others = [one for one in network.parameters() if id(one) not in own]
    optimizer = torch.optim.AdamW([{"params": backbone, "lr": 1e-3}, {"params": others}], lr=2e-3, weight_decay=0.01)
    batches = [made_up_key_frame(seed, config) for seed in SCENES]
    totals = []
    for step in range(NUM_STEPS):
        batch = batches[step % len(batches)]
        terms = objects_losses(network(views_of(batch)).objects, batch.targets, UvtrLossConfig(), network=config)
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 35.0)
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] <= 0.15 * totals[0], totals[::20]
    network.eval()
    found = [look(network, batch, torch.device("cpu")).found[0] for batch in batches]
    frames = [TruthFrame(b.frame_keys[0], b.sample_tokens[0], b.objects[0], b.key_poses[0]) for b in batches]
    rows = {row.name: row for row in evaluate_detections(frames, found, official=False).rows}
    assert {name: round(rows[name].ap_at_2_m, 3) for name in PAINTED if rows[name].ap_at_2_m < 0.9} == {}
    assert rows[PRESENT].num_truth == sum(len(batch.objects[0]) for batch in batches)
