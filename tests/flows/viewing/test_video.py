"""A video is decoded again: frames, size, speed, and what its pictures show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import depthmill as dm
from flows.run.interchange import export_manifest, import_folder
from storage_schemas.errors import RecipeError

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'depthmill[video]'")

SCENE = "scene-0061"


def decoded(path: Path) -> tuple[str, float, list[np.ndarray]]:
    """Return codec, frames a second and frames (h, w, 3)."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return (
            stream.codec_context.name,
            float(stream.average_rate),
            [f.to_ndarray(format="rgb24") for f in container.decode(video=0)],
        )


@pytest.mark.parametrize(("name", "codec"), [("a.webm", "vp9"), ("a.mp4", "h264")])
def test_video_when_written_then_it_has_the_key_frames_at_the_speed_of_the_drive(
    tiny_store: Path, tmp_path: Path, name: str, codec: str, depthmill: Callable[..., tuple[int, str]]
) -> None:
    code, text = depthmill("video", tiny_store, SCENE, "--out", tmp_path / name)
    assert code == 0 and f"wrote {tmp_path / name}: {SCENE}, 2 key frames, CAM_FRONT" in text and "2 frames a second" in text
    found, fps, frames = decoded(tmp_path / name)
    assert found.removeprefix("lib") == codec and np.isclose(fps, 2.0, atol=0.05) and len(frames) == 2
    height, width = frames[0].shape[:2]
    assert f"{width}x{height}" in text and height % 2 == 0 and width % 2 == 0
    assert np.mean(np.abs(frames[0].astype(int) - frames[1].astype(int))) > 0  # the car moves


def test_video_when_pictures_are_chosen_then_only_they_are_shown(tiny_store: Path, tmp_path: Path) -> None:
    seen = dm.video(tiny_store, SCENE, out=tmp_path / "a.mp4", pictures=("clean", "truth"), fps=5)
    assert seen.data["pictures"] == ["clean"] and seen.text.endswith("Not there: truth") and seen.data["fps"] == 5


def test_scene_when_imported_without_cameras_then_it_is_filmed_and_not_put_into_space(tiny_store: Path, tmp_path: Path) -> None:
    export_manifest(str(tiny_store), tmp_path / "public", layout="semodepth")
    store = tmp_path / "imported"
    import_folder(tmp_path / "public", str(store), layout="semodepth")
    seen = dm.video(store, SCENE, out=tmp_path / "a.mp4")
    assert seen.data["frames"] == 2 and "clean" in seen.data["pictures"]
    pytest.importorskip("rerun", reason="rerun-sdk is not installed: pip install 'depthmill[view]'")
    with pytest.raises(RecipeError, match="has no camera matrix, so its pixels have no place in space: it was imported"):
        dm.view(store, SCENE, out=tmp_path / "a.rrd")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pictures": ("depth",)}, "--picture 'depth' is unknown; expected camera, single, accumulated, clean"),
        ({"fps": 0.0}, "--fps 0 is out of range; expected 0.2 to 60"),
    ],
)
def test_video_when_an_option_means_nothing_then_it_says_so(tiny_store: Path, options: dict, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        dm.video(tiny_store, SCENE, **options)


def test_video_when_pyav_is_not_installed_then_it_names_the_extra(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"needs PyAV, which is not installed here\. Run: pip install .*\[video\]"):
        dm.video(tiny_store)
