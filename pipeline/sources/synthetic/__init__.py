"""A simulated world, written as a nuScenes database that the nuScenes devkit loads, with exact depth beside it.

For tests, the tutorial and everything that needs a known truth. It has the errors of real supervision:
airborne LiDAR returns, a moving truck nobody annotated, poses that are slightly off, sensors that fire at different
times. `write_world` makes it; `simulate_scene` and `write_tables` are its two halves, for parallel work.

Reads nothing except, if wanted, the ego motion of recorded drives.
"""

from pipeline.sources.synthetic.config import WORLD_VERSION, SyntheticParams, scene_names, version_name
from pipeline.sources.synthetic.database import is_complete, scene_digest, write_tables, write_world
from pipeline.sources.synthetic.rows import SceneTables
from pipeline.sources.synthetic.simulate import simulate_scene

__all__ = [
    "WORLD_VERSION",
    "SceneTables",
    "SyntheticParams",
    "is_complete",
    "scene_digest",
    "scene_names",
    "simulate_scene",
    "version_name",
    "write_tables",
    "write_world",
]
