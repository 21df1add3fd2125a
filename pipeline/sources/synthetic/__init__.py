"""TEMPORARY placeholder by the lead so that imports work; the owner of this folder overwrites it."""
from pydantic import BaseModel, ConfigDict
WORLD_VERSION = 0
class SyntheticParams(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    scenes: int = 2
    seconds: float = 20.0
    seed: int = 0
    image_size: tuple[int, int] = (1600, 900)
    cameras: tuple[str, ...] = ("CAM_FRONT",)
