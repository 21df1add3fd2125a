from __future__ import annotations

import pytest

from storage_schemas.manifest import Manifest


@pytest.fixture(scope="session")
def objects_manifest(tiny_root, tmp_path_factory) -> Manifest:
    """The tiny database with two cameras and its objects: three key frames to train on, three to validate on."""
    from pipeline.recipe import parse_recipe
    from tests.model.mim4d.made_manifest import made

    folder = tmp_path_factory.mktemp("tiny-objects")
    recipe = {
        "source": {"kind": "nuscenes", "root": str(tiny_root), "version": "v1.0-mini"},
        "store": str(folder / "store"),
        "cameras": ["CAM_FRONT", "CAM_BACK"],
        "stages": {
            "index_windows": {"enabled": True, "num_frames": 1},
            "index_objects": {"enabled": True},
            "build_manifest": {"drop_last_keyframe": False},
        },
    }
    return made(parse_recipe(recipe, where="test"), folder / "cache")
