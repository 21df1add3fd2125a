"""Small data of every source, and the recipes that a store, trainings of every family and an ablation are made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.tiny_kitti import write_tiny_kitti
from tests.tiny_nuscenes import write_tiny_nuscenes
from tests.tiny_zju import write_tiny_zju

CAMERAS = ["CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"]
RADARS = ["RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT", "RADAR_BACK_LEFT", "RADAR_BACK_RIGHT"]

SIMULATED_STAGES: dict[str, Any] = {
    "index_windows": {"enabled": True, "num_frames": 2, "frames": "sweep", "stride": 3},
    "project_radar": {"channels": RADARS, "past_sweeps": 2, "target_motion": "doppler"},
    "predict_mono_depth": {"teacher": "truth", "short_side_px": 32, "truth_noise": 0.2},
    "accumulate_lidar": {"num_sweeps": 40, "moving": "drop", "moving_mps": 0.25},  # carry has changed since
    "clean_horizon": {"near_m": 12.5, "min_neighbors": 4},
    "interpolate_depth": {"of": "depth_single"},
    "project_boxes": {"enabled": True},
    "build_manifest": {"drop_last_keyframe": False},
}
"""Every stage that a drive can have, none with its defaults alone."""

PLANE = {"predict_mono_depth": {"teacher": "plane_and_boxes"}, "align_mono_depth": {"method": "as_is", "sky": "none"}}

SEMODEPTH = {
    "network": {"base_channels": 8, "plug_in": True, "uncertainty": True},
    "loss": {"distill": {"form": "laplace"}},
    "data": {"batch_size": 6, "mono": True, "dense_target": "depth_interpolated", "augment": {"flip_probability": 0.5}},
    "evaluation": {"target": "depth_truth", "num_strips": 1},
    "evaluate_every_epochs": 0.5,
    "max_steps": 6,
}
MONODDLE = {
    "family": "monoddle",
    "network": {"dla_widths": [8, 8, 16, 16, 24, 32], "head_width": 16, "input_px": [32, 96], "max_objects": 5, "uncertainty": True},
    "data": {"mono": True, "batch_size": 2},
    "distill": {"form": "laplace"},
    "targets": {"min_height_px": 2},  # the images are 38 pixels high, and at 25 nothing would be learned
    "evaluation": {"height_scale": 0.1, "score_threshold": 0.005, "num_pictures": 1},
    "warm_up_epochs": 0,
    "evaluate_every_epochs": 0.5,
    "max_steps": 3,
}  # fmt: skip
MIM4D = {
    "family": "mim4d",
    "network": {
        "input_px": [32, 64],
        "num_frames": 2,
        "backbone": {"name": "convnext_mini", "layer_scale": 0.1},
        "lift": {
            "channels": 16, "num_depth_bins": 8, "far_m": 32.0, "low_m": [-25.6, -25.6, -5.0], "high_m": [25.6, 25.6, 3.0],
            "num_voxels_zyx": [5, 8, 8], "volume_channels": 8, "norm_groups": 4,
        },
        "temporal": {"embed_channels": 16, "short_hidden": 16, "long_hidden": 16},
        "render": {
            "rays": {"rays_per_camera": 8}, "num_coarse": 8, "num_fine": 4, "hidden": 8, "num_geometry": 4, "sdf_layers": 3,
            "rgb_layers": 2,
        },
    },
    "data": {"held_out_share": 0.3},
    "evaluation": {"rays_per_camera": 8, "num_pictures": 1, "picture_width_px": 16, "flight_frames": 2},
    "probe": {"steps": 2},
    "evaluate_every_epochs": 0.2,
    "max_steps": 3,
}  # fmt: skip
SMALL = {
    "network": {"base_channels": 8},
    "data": {"batch_size": 6},
    "evaluation": {"target": "depth_truth", "num_strips": 0, "without_radar": False},
    "max_steps": 2,
}
ABLATION = {"seeds": [0], "variants": {"baseline": {}, "+ slower": {"learning_rate": 3e-5}}}

TRAINED = {"semodepth": "simulated", "monoddle": "kitti", "mim4d": "simulated"}
"""Families, each with the store that it is trained on here."""

STORES = ("simulated", "kitti", "zju", "nuscenes")


DEMO: dict[str, Any] = {
    "source": {"kind": "synthetic", "scenes": 6, "seconds": 6, "seed": 0, "image_size": [800, 450]},
    "cameras": ["CAM_FRONT"],
    "stages": {
        "accumulate_lidar": {"num_sweeps": 160, "moving": "drop", "moving_mps": 0.5},
        "clean_horizon": {
            "upper_fraction": 0.45, "near_m": 20, "mono_disagree_m": 30, "near_mono_m": 25, "window_px": 7, "min_neighbors": 10,
            "mad_factor": 3, "floor_m": 10,
        },
        "build_manifest": {"drop_last_keyframe": True},
    },
}  # fmt: skip
"""The recipe of ``depthmill demo``; too large to be made here, but a plan of it is made from its parameters alone."""

PLANNED = (*STORES, "demo")
"""Recipes whose plans are compared: no raw data but what is written here decides their fingerprints."""


def write_worlds(folder: Path) -> dict[str, Path]:
    """Write the raw data of the sources that are not simulated, and all recipes; return the recipes by name.

    Names: those of PLANNED, which have no training; the families; ``ablation``, which ``retrain`` uses too.
    """
    simulated = {"kind": "synthetic", "scenes": 2, "seconds": 1.5, "seed": 3, "image_size": [96, 64], "lidar_azimuth_steps": 120}
    stores: dict[str, dict[str, Any]] = {
        "simulated": {"source": {**simulated, "root": str(folder / "raw" / "simulated")}, "cameras": CAMERAS, "stages": SIMULATED_STAGES},
        "kitti": {
            "source": {"kind": "kitti_object", "root": str(write_tiny_kitti(folder / "raw" / "kitti")), "splits": ["train", "val"]},
            "stages": PLANE,
        },
        "zju": {"source": {"kind": "zju_4dradarcam", "root": str(write_tiny_zju(folder / "raw" / "zju")), "frames_per_scene": 3}},
        "nuscenes": {
            "source": {"kind": "nuscenes", "root": str(write_tiny_nuscenes(folder / "raw" / "nuscenes")), "version": "v1.0-mini"},
            "stages": {"predict_mono_depth": {"teacher": "plane_and_boxes"}},
        },
    }  # fmt: skip
    recipes = {name: {**data, "store": str(folder / "stores" / name)} for name, data in stores.items()}
    for family, train in (("semodepth", SEMODEPTH), ("monoddle", MONODDLE), ("mim4d", MIM4D)):
        recipes[family] = {**recipes[TRAINED[family]], "train": train}
    recipes["demo"] = {**DEMO, "store": str(folder / "stores" / "demo")}
    recipes["ablation"] = {**recipes["simulated"], "train": SMALL, "ablation": ABLATION}
    paths = {}
    for name, data in recipes.items():
        paths[name] = folder / f"{name}.yaml"
        paths[name].write_text(yaml.safe_dump(data, sort_keys=False))
    return paths
