"""Batches of the real drive hold what its files hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from model.data.ordered_loader import Placement
from model.semodepth.config import AugmentConfig, DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from storage_schemas.frames import radar_of_frame
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.flows.test_cli import BARE

pytestmark = pytest.mark.real_data


def test_batches_of_the_real_drive(shared, write_recipe, depthmill, tmp_path):
    root = shared / "data/kitti0001-as-nuscenes"
    stages = {"pack_images": {"mode": "reference"}, "accumulate_lidar": {"num_sweeps": 30, "moving": "keep"}}
    code, text = depthmill("run", write_recipe(root, stages=stages), *BARE)
    assert code == 0, text
    store = Store(tmp_path / "store")
    manifest = open_manifest(store)
    rows = {row["frame_key"]: row for row in manifest.rows()}
    config = DataConfig(split="train", batch_size=4, augment=AugmentConfig(flip_probability=0.5))
    with FrameLoader(manifest, config, placement=Placement(image_root=str(root))) as loader:
        batches = list(loader)
    assert sum(map(len, batches)) == 8 and loader.num_samples == 10
    for batch in batches:
        dense = dense_batch(batch, max_depth_m=80.0)
        for k, key in enumerate(batch.frame_keys):
            row = rows[key]

            def seen(array, is_flipped=bool(batch.views.is_flipped[k])):
                return array[:, ::-1] if is_flipped else array

            np.testing.assert_array_equal(dense.image_u8[k], seen(np.asarray(Image.open(root / row["file"]))))
            for name, layout in (("target_m", "depth_clean"), ("sparse_m", "depth_single")):
                steps = store.open_unit(manifest.unit_of(row, layout)).array("depth_m", row["frame"])
                np.testing.assert_array_equal(getattr(dense, name)[k], seen(steps / np.float32(256)))
            u, v, depth = radar_of_frame(store.open_unit(manifest.unit_of(row, "radar_points")), row["frame"])
            expected = np.zeros((row["height"], row["width"]), np.float32)
            for column, line, metres in sorted(zip(u, v, depth, strict=True), key=lambda point: -point[2]):
                expected[round(line), round(column)] = min(metres, 80.0)
            np.testing.assert_array_equal(dense.radar_m[k], seen(expected))
        assert torch.count_nonzero(dense.radar_m) > 50
