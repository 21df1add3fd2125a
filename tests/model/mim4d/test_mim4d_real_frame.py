from __future__ import annotations

import pytest
import torch

from flows.reports.mim4d import write_report
from flows.reports.mim4d.files import read_files
from flows.run.bare_loop import BareLoop
from flows.run.making import make_units
from flows.run.opening import open_recipe
from flows.settings import Settings
from model.families import evaluate_training, train
from model.mim4d.config import Mim4dTrainConfig
from model.mim4d.evaluation import read_rendering
from model.train.config import Machine
from pipeline.recipe import parse_recipe
from storage_schemas.manifest import open_manifest

CAMERAS = ["CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]


@pytest.mark.slow
@pytest.mark.real_data
def test_network_when_overfitted_to_the_real_key_frame_then_held_out_depth_and_colour_are_found(shared, tmp_path):
    """One frame, so it is measured on what it was trained on; but on LiDAR points that no ray went to, behind hidden patches."""
    source = {"kind": "nuscenes", "root": str(shared / "data" / "nuscenes-keyframe"), "version": "v1.0-mini"}
    stages = {"index_windows": {"enabled": True, "num_frames": 1}, "build_manifest": {"drop_last_keyframe": False}}
    recipe = {"source": source, "store": str(tmp_path / "store"), "cameras": CAMERAS, "stages": stages}
    opened = open_recipe(parse_recipe(recipe, where="test"), Settings(workers=1, cache_dir=tmp_path / "cache"))
    made = make_units(opened, BareLoop(), report=False)
    assert made.num_failed == 0
    config = Mim4dTrainConfig.model_validate(
        {
            "network": {
                "input_px": [96, 160],
                "num_frames": 1,
                "backbone": {"name": "convnext_mini", "layer_scale": 0.1, "drop_path": 0},
                "lift": {
                    "channels": 32,
                    "num_depth_bins": 32,
                    "far_m": 48.0,
                    "low_m": [-38.4, -38.4, -2.4],
                    "high_m": [38.4, 38.4, 5.6],
                    "num_voxels_zyx": [5, 48, 48],
                    "volume_channels": 16,
                },
                "render": {"num_coarse": 24, "num_fine": 8, "rays": {"rays_per_camera": 64, "max_radius_m": 38.0}},
            },
            "evaluation": {"split": "train", "picture_width_px": 40, "flight_frames": 4},
            "learning_rate": 3e-3,
            "backbone_rate": 0.5,
            "warm_up_epochs": 5,
            "epochs": 200,
            "evaluate_every_epochs": 200,
        }
    )
    machine = Machine("cpu", image_root=source["root"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(config, open_manifest(opened.store), tmp_path / "training", machine=machine)
        evaluate_training(config, open_manifest(opened.store), tmp_path / "training", machine=machine)
    finally:
        torch.set_num_threads(threads)
    rows = {(row.volume, row.pixels): row for row in read_rendering(tmp_path / "training/evaluation") if row.range_m == "all"}
    assert rows["direct", "all"].num_rays > 1000
    for pixels in ("masked", "visible"):
        assert rows["direct", pixels].abs_rel < 0.4 * rows["constant", pixels].abs_rel
        assert rows["direct", pixels].rgb_l1 < 0.75 * rows["constant", pixels].rgb_l1
    found = read_files(tmp_path / "training")
    assert found.clips is not None and found.flight is not None
    (clip,) = found.clips
    assert clip.cameras == tuple(CAMERAS) and 0.2 < 1 - clip.is_seen.mean() < 0.4
    shown = clip.views_of_volume["direct"]
    # the lower edge of every picture is road, some metres away, and the upper part is farther
    assert ((shown.depth_m[:, -2:] > 1.5) & (shown.depth_m[:, -2:] < 12)).mean() > 0.9
    half = shown.depth_m.shape[1] // 2
    assert (shown.depth_m[:, half - 2 : half].mean(axis=(1, 2)) > 1.5 * shown.depth_m[:, -2:].mean(axis=(1, 2))).all()
    assert write_report(tmp_path / "training").stat().st_size > 100_000
