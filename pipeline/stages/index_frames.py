"""Write the index of one scene: key frames, sweeps with poses, annotated boxes.

Why    Every later stage reads one small unit and never the tables of the whole release
Reads  the source's tables
Writes frames (keyframes, sweeps, boxes, scene)
"""

from __future__ import annotations

from pipeline.stage import NoParams, StageInput, StageResult, StageSpec
from storage_schemas.catalog import FRAMES
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData, num_rows


class Params(NoParams):
    """Nothing to choose: the index holds everything the source knows of a scene."""


def kernel(unit: StageInput, p: Params) -> StageResult:
    """Take one scene's rows out of the source's index."""
    tables = unit.raw.scene_tables(unit.scene)
    if not num_rows(tables["keyframes"]):
        raise SourceError(
            f"scene {unit.scene} has no camera key frames in sample_data.json; expected at least one. "
            "Leave the scene out with 'scenes:' in the recipe"
        )
    counts = {name: num_rows(tables[name]) for name in ("keyframes", "sweeps", "boxes")}
    return StageResult(
        UnitData(tables=tables),
        {name: float(count) for name, count in counts.items()},
        f"{counts['keyframes']} images, {counts['sweeps']} sweeps, {counts['boxes']} boxes",
    )


STAGE = StageSpec("index_frames", version=1, reads=(), writes=FRAMES, params=Params, kernel=kernel)
