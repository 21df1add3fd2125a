"""depthmill from Python: what the command line does, as functions that return values.

Examples:
    >>> import depthmill
    >>> depthmill.plan("recipe.yaml").to_do              # what a run would make, and why
    >>> depthmill.run("recipe.yaml")                     # make it
    >>> depthmill.assess("recipe.yaml", frames=20).text   # how wrong its depth is, on sampled frames
    >>> depthmill.open_dataset("recipe.yaml")            # all of it as one lazy xarray Dataset
    >>> depthmill.view("recipe.yaml", "scene-0061").path  # a Rerun recording of a scene
    >>> depthmill.open_unit("recipe.yaml", "depth_clean/scene-0061/CAM_FRONT")   # one unit, with cameras and poses
    >>> depthmill.video("recipe.yaml", "scene-0061").path  # a video of it
    >>> depthmill.train("recipe.yaml")                   # train on it and measure
    >>> depthmill.load_model("runs/trainings/1f0c").predict(image_u8, radar_m=radar_m)
    >>> depthmill.evaluate("runs/trainings/1f0c", "recipe.yaml").data
    >>> depthmill.compare("runs/trainings/1f0c", "runs/trainings/77ab").text
    >>> depthmill.analyse("runs/trainings/77ab").text    # where a detector is wrong

A mistake of the caller raises a ``DepthmillError`` whose text names the thing, the value, what was expected and a remedy. The
commands of the command line call these functions; what they print is ``text`` of the answer.
"""

from __future__ import annotations

from depthmill.networks import Model, analyse, compare, evaluate, load_model
from depthmill.recipes import assess, open_dataset, open_unit, plan, run, train
from depthmill.scenes import video, view
from storage_schemas.errors import DepthmillError

__all__ = [
    "DepthmillError", "Model", "analyse", "assess", "compare", "evaluate", "load_model", "open_dataset", "open_unit", "plan",
    "run", "train", "video", "view",
]  # fmt: skip
