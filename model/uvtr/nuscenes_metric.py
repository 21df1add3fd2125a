"""The nuScenes detection metric as the devkit computes it, on boxes of our own index: no tables of a release are opened.

Source nuScenes-devkit 1.2.0, ``nuscenes.eval.detection``; docs/method/uvtr.md#metric
Why    Opening the tables of a trainval release takes the devkit a minute and 6 GB. Its functions need nothing but the boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from model.uvtr.classes import CLASSES
from model.uvtr.detection_metric import NOT_MEASURED, ClassFigures
from model.uvtr.frame_matches import ERRORS, ERRORS_AT_M, THRESHOLDS_M, MeasuredFrame
from model.uvtr.nuscenes_results import quaternions_of
from model.uvtr.world_boxes import WorldBoxes
from storage_schemas.errors import RecipeError
from storage_schemas.install_command import install_command

DEVKIT = "nuscenes-devkit"
"""The distribution whose metric is official."""

_NAMES = dict(zip(ERRORS, ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"), strict=True))


class OfficialFigures(NamedTuple):
    """What the devkit says.

    Attributes:
        classes: of the ten classes.
        mean_ap: mAP.
        nds: nuScenes detection score.
        errors: five mean errors, in the order of ``ERRORS``.
    """

    classes: ClassFigures
    mean_ap: float
    nds: float
    errors: tuple[float, ...]


def check_devkit() -> None:
    """Check that the devkit is installed, without importing it, which takes seconds.

    Raises:
        RecipeError: it is not.
    """
    try:
        metadata.version(DEVKIT)
    except metadata.PackageNotFoundError as error:
        raise RecipeError(
            "mAP and NDS of nuScenes are computed by nuscenes-devkit, which is not installed here. Run: "
            f"{install_command('devkit')}. Where it cannot be installed, set train.evaluation.official to false: depthmill then "
            "computes both itself, by the same rules"
        ) from error


def official_figures(frames: Sequence[MeasuredFrame]) -> OfficialFigures:
    """Return what the devkit's functions say of key frames.

    Args:
        frames: with the boxes that count only, see ``world_boxes.that_count``; a frame without boxes is one too.

    Raises:
        RecipeError: the devkit is not installed.
    """
    check_devkit()
    from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.data_classes import DetectionMetrics

    config = config_factory("detection_cvpr_2019")
    truth, found = (_eval_boxes({frame.sample_token: getattr(frame, of) for frame in frames}) for of in ("truth", "found"))
    metrics = DetectionMetrics(config)
    ap, errors = np.zeros((len(CLASSES), len(THRESHOLDS_M))), np.zeros((len(CLASSES), len(ERRORS)))
    for label, name in enumerate(CLASSES):
        curves = {
            threshold_m: accumulate(truth, found, name, config.dist_fcn_callable, threshold_m) for threshold_m in THRESHOLDS_M
        }
        for number, (threshold_m, curve) in enumerate(curves.items()):
            ap[label, number] = calc_ap(curve, config.min_recall, config.min_precision)
            metrics.add_label_ap(name, threshold_m, ap[label, number])
        for number, error in enumerate(ERRORS):
            is_measured = error not in NOT_MEASURED.get(name, ())
            mean = calc_tp(curves[ERRORS_AT_M], config.min_recall, _NAMES[error]) if is_measured else np.nan
            errors[label, number] = mean
            metrics.add_label_tp(name, _NAMES[error], mean)
    means = tuple(metrics.tp_errors[_NAMES[error]] for error in ERRORS)
    return OfficialFigures(ClassFigures(ap, errors), metrics.mean_ap, metrics.nd_score, means)


def _eval_boxes(boxes: dict[str, WorldBoxes]) -> Any:
    """Return the devkit's collection of the boxes of key frames, by sample token."""
    from nuscenes.eval.common.data_classes import EvalBoxes
    from nuscenes.eval.detection.data_classes import DetectionBox

    collection = EvalBoxes()
    for token, of_frame in boxes.items():
        quaternions = quaternions_of(of_frame.rotations)
        collection.add_boxes(
            token,
            [
                DetectionBox(
                    sample_token=token,
                    translation=tuple(of_frame.centers_m[row].tolist()),
                    size=tuple(of_frame.sizes_wlh_m[row].tolist()),
                    rotation=tuple(quaternions[row].tolist()),
                    velocity=tuple(of_frame.velocities_mps[row].tolist()),
                    num_pts=int(of_frame.num_points[row]),
                    detection_name=CLASSES[of_frame.labels[row]],
                    detection_score=float(of_frame.scores[row]),
                    attribute_name=str(of_frame.attributes[row]),
                )
                for row in range(len(of_frame))
            ],
        )
    return collection
