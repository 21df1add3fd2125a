"""The whole program of the devkit on our result file says what our evaluation says: filters, matching, figures."""

from __future__ import annotations

import numpy as np
import pytest

from model.uvtr.config import KeyFrameDataConfig
from model.uvtr.detections import Detections
from model.uvtr.evaluation import BoxEvaluation, TruthFrame, evaluate_detections
from model.uvtr.frame_matches import ERRORS
from model.uvtr.key_frames import choose_key_frames
from model.uvtr.nuscenes_results import results_as_json
from model.uvtr.objects import FrameObjects, objects_of
from storage_schemas.catalog import OBJECTS
from storage_schemas.layout import columns_from_rows
from tests.conftest import NEEDS_DEVKIT
from tests.pipeline.stages import test_index_objects as real_objects

_THEIR_ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")


def shaken(objects: FrameObjects, seed: int, *, scale: float = 1.0) -> Detections:
    """Return every object, also those that do not count, found a little off."""
    generator, number = np.random.default_rng(seed), len(objects)
    return Detections(
        objects.centers_m + scale * generator.normal(0, 0.4, (number, 3)),
        objects.sizes_wlh_m * (1 + scale * generator.uniform(-0.2, 0.2, (number, 3))),
        objects.yaws_rad + scale * generator.normal(0, 0.2, number),
        np.nan_to_num(objects.velocities_mps) + scale * generator.normal(0, 0.3, (number, 2)),
        objects.labels,
        generator.uniform(0.05, 1.0, number),
    )


def by_their_program(evaluation: BoxEvaluation, database, tmp_path, *, split: str):
    """Return what the devkit makes of the result file and its own tables."""
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    path = tmp_path / "results.json"
    path.write_bytes(results_as_json(evaluation.found))
    config = config_factory("detection_cvpr_2019")
    return DetectionEval(database, config, str(path), split, str(tmp_path / "out"), verbose=False).evaluate()[0]


def check_same(evaluation: BoxEvaluation, metrics, *, tolerance: float) -> None:
    rows = evaluation.rows
    np.testing.assert_allclose(rows[0].ap, metrics.mean_ap, atol=1e-9)
    np.testing.assert_allclose(rows[0].nds, metrics.nd_score, atol=tolerance)
    for row in rows[2:]:
        np.testing.assert_allclose(row.ap, metrics.mean_dist_aps[row.name], atol=1e-9, err_msg=row.name)
    errors = [metrics.tp_errors[name] for name in _THEIR_ERRORS]
    np.testing.assert_allclose([getattr(rows[0], name) for name in ERRORS], errors, atol=tolerance)


def test_result_file_when_measured_by_the_devkits_program_then_figures_are_ours(objects_manifest, tiny_root, tmp_path):
    database = pytest.importorskip("nuscenes.nuscenes", reason=NEEDS_DEVKIT).NuScenes("v1.0-mini", str(tiny_root), verbose=False)
    chosen = choose_key_frames(objects_manifest, KeyFrameDataConfig(split="val"), num_frames=1).frames
    frames = [TruthFrame(one.clip.key, one.sample_token, one.objects, one.clip.moments[0].world_from_rig) for one in chosen]
    found = [shaken(frame.objects, seed) for seed, frame in enumerate(frames)]

    evaluation = evaluate_detections(frames, found, official=False)
    assert 0.0 < evaluation.rows[0].ap < 0.1  # of one class in ten
    check_same(evaluation, by_their_program(evaluation, database, tmp_path, split="mini_val"), tolerance=1e-6)


@pytest.mark.real_data
@pytest.mark.parametrize("scale", [0.0, 1.0], ids=["exact", "shaken"])
def test_real_key_frame_when_measured_by_the_devkits_program_then_figures_are_ours(shared, tmp_path, scale):
    root = shared / "data" / "nuscenes-keyframe"
    database = pytest.importorskip("nuscenes.nuscenes", reason=NEEDS_DEVKIT).NuScenes("v1.0-mini", str(root), verbose=False)
    objects, rigs, _ = real_objects.objects_of(root, tmp_path, "scene-0061")
    scene = objects_of(
        {name: columns_from_rows(OBJECTS.table(name), table) for name, table in (("objects", objects), ("rigs", rigs))}
    )
    frames = [
        TruthFrame(f"scene-0061/{time}", token, of_frame, pose)
        for token, time, of_frame, pose in zip(
            scene.sample_tokens, scene.times_us, scene.frames, scene.world_from_rig, strict=True
        )
    ]
    found = [shaken(frame.objects, 0, scale=scale).where(frame.objects.has_returns) for frame in frames]

    evaluation = evaluate_detections(frames, found, official=True)
    assert sum(row.num_truth > 0 for row in evaluation.rows[2:]) == 5
    assert (evaluation.rows[1].ap > 0.9999) == (scale == 0.0)
    check_same(
        evaluation, by_their_program(evaluation, database, tmp_path, split="mini_train"), tolerance=5e-4
    )  # headings: the road is not level
