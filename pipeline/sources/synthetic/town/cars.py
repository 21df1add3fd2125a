"""The two cars of nuScenes: where each carries LiDAR and cameras, and how its cameras project.

Scenes of real data come from both, so what a network learns of depth by pixel on one car is a little wrong on the other. The
numbers are those of the drives scene-0103 (Boston) and scene-0916 (Singapore), rounded. Both see the horizon at 0.536 of the
image's height; the built-in rig of `rig.py` sees it at 0.512.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pipeline.sources.synthetic.rig import LIDAR

Numbers = tuple[float, ...]

# channel: translation m, rotation w x y z, then of a camera at 1600 x 900 the focal length and the principal point, px
_BOSTON: Final[dict[str, tuple[Numbers, ...]]] = {
    LIDAR: ((0.986, 0.0, 1.84), (0.70675, -0.0153, 0.0174, -0.70708)),
    "CAM_FRONT": ((1.722, 0.005, 1.495), (0.50772, -0.49734, 0.49837, -0.49648), (1252.8, 826.6, 470.0)),
    "CAM_FRONT_RIGHT": ((1.581, -0.499, 1.517), (0.20335, -0.19146, 0.67857, -0.67936), (1256.7, 817.8, 452.0)),
    "CAM_FRONT_LEFT": ((1.575, 0.501, 1.507), (0.68121, -0.66875, 0.21017, -0.21108), (1257.9, 827.2, 450.9)),
    "CAM_BACK": ((0.055, 0.011, 1.568), (0.5068, -0.49776, -0.49878, 0.49659), (796.9, 857.8, 476.9)),
    "CAM_BACK_LEFT": ((1.049, 0.483, 1.562), (0.70486, -0.69073, -0.11209, 0.11617), (1255.0, 829.6, 467.2)),
    "CAM_BACK_RIGHT": ((1.059, -0.467, 1.551), (0.13819, -0.13797, -0.68933, 0.69763), (1250.0, 825.4, 462.5)),
}
_SINGAPORE: Final[dict[str, tuple[Numbers, ...]]] = {
    LIDAR: ((0.944, 0.0, 1.84), (0.7078, -0.00649, 0.01065, -0.70631)),
    "CAM_FRONT": ((1.701, 0.016, 1.511), (0.4998, -0.50303, 0.49978, -0.49737), (1266.4, 816.3, 491.5)),
    "CAM_FRONT_RIGHT": ((1.551, -0.493, 1.496), (0.20603, -0.20269, 0.68245, -0.67136), (1260.8, 808.0, 495.3)),
    "CAM_FRONT_LEFT": ((1.524, 0.495, 1.509), (0.67573, -0.67363, 0.21214, -0.21123), (1272.6, 826.6, 479.8)),
    "CAM_BACK": ((0.028, 0.003, 1.579), (0.50379, -0.4974, -0.49418, 0.50455), (809.2, 829.2, 481.8)),
    "CAM_BACK_LEFT": ((1.036, 0.485, 1.591), (0.69242, -0.70316, -0.11648, 0.11203), (1256.7, 792.1, 492.8)),
    "CAM_BACK_RIGHT": ((1.015, -0.481, 1.562), (0.12281, -0.1324, -0.70043, 0.6905), (1259.5, 807.3, 501.2)),
}


def car_of(seed: int, index: int) -> dict[str, Any]:
    """Return the calibration of scene `index`, as a recorded drive has it; of two scenes in a row each car drives one."""
    pair, place = divmod(index, 2)
    numbers = (_BOSTON, _SINGAPORE)[int(np.random.default_rng((seed, pair, 101, 3)).permutation(2)[place])]
    return {channel: _entry(*values) for channel, values in numbers.items()}


def _entry(translation: Numbers, rotation: Numbers, projection: Numbers | None = None) -> dict[str, Any]:
    """Return one sensor's entry of a calibration."""
    entry: dict[str, Any] = {"translation": list(translation), "rotation": list(rotation)}
    if projection is not None:
        focal, column, row = projection
        entry["intrinsic"] = [[focal, 0.0, column], [0.0, focal, row], [0.0, 0.0, 1.0]]
    return entry
