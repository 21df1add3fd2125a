"""Write the index of one scene's images at the rate of its cameras: those between key frames too.

Why    Clips of video need images a twelfth of a second apart; every other stage needs key frames only. With one index for both,
       clips would make all other units again with six times the rows. So these images have an index of their own
Reads  the source's tables
Writes camera_sweeps
"""

from __future__ import annotations

from pipeline import capability
from pipeline.stage import CameraSweepReader, NoParams, StageInput, StageResult, StageSpec
from storage_schemas.catalog import CAMERA_SWEEPS
from storage_schemas.layout import UnitData, num_rows


class Params(NoParams):
    """Nothing to choose: the recipe's ``source.camera_sweeps`` says whether there is such an index."""


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Take one scene's rows out of the source's index."""
    assert isinstance(unit.raw, CameraSweepReader)  # the plan has this stage only for scenes with such images
    tables = unit.raw.camera_sweeps(unit.scene)
    count, num_keyframes = num_rows(tables["camera_sweeps"]), sum(tables["camera_sweeps"]["is_keyframe"])
    return StageResult(
        UnitData(tables=tables),
        {"images": float(count), "keyframes": float(num_keyframes)},
        f"{count} images, {count - num_keyframes} of them between key frames",
    )


STAGE = StageSpec(
    "index_camera_sweeps",
    version=1,
    reads=(),
    writes=CAMERA_SWEEPS,
    params=Params,
    kernel=kernel,
    needs=capability.CAMERA_SWEEPS,
)
