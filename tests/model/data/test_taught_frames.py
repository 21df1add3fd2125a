from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.semodepth.augment import View, stack_views
from model.semodepth.batch import Batch
from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from storage_schemas.errors import ManifestError
from tests.model.data import made_up_store
from tests.model.data.made_up_store import write_store

HEIGHT, WIDTH = 20, 30
VIEWS = st.builds(
    View,
    is_flipped=st.booleans(),
    scale=st.sampled_from([1.0, 0.6, 0.83, 1.37]),
    left_px=st.integers(-5, 9),
    top_px=st.integers(-4, 7),
    keeps_mono=st.booleans(),
)
MONO = DataConfig(batch_size=2, mono=True)


def batch_of(view: View | None, **fields) -> Batch:
    image = torch.zeros(1, HEIGHT, WIDTH, 3, dtype=torch.uint8)
    views = None if view is None else stack_views([view], height=18, width=25)
    keeps = None if view is None else torch.tensor([view.keeps_mono])
    return Batch(("s/c/1",), image, torch.eye(3)[None], torch.tensor([False]), **fields, keeps_mono=keeps, views=views)


def steps_of(seed: int, *, high: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(1, high, (1, HEIGHT, WIDTH)).astype(np.uint16))


def made_with_empty(tmp_path, monkeypatch, *, empty: tuple[int, ...]):
    """A store of 3 and 2 frames where the teacher's maps of the first scene are empty for some frames."""
    plain = made_up_store._depth

    def depth(rng, name, keys, *args):
        data = plain(rng, name, keys, *args)
        if name == "depth_mono":
            for frame in empty:
                if frame < len(keys) and "scene-0000" in keys[0]:
                    data.arrays["depth_m"][frame] = 0
                    data.arrays["num_measured"][frame] = 0
        return data

    monkeypatch.setattr(made_up_store, "_depth", depth)
    return write_store(tmp_path / "store", frames=(3, 2)).manifest


@given(VIEWS, st.integers(0, 2**31))
def test_teacher_when_a_view_is_taken_then_moves_and_scales_as_the_target_does(view, seed):
    steps = steps_of(seed, high=79 * 256)
    dense = dense_batch(batch_of(view, target_steps=steps, mono_steps=steps), max_depth_m=50.0, teacher_far_m=80.0)
    assert torch.equal(dense.teacher_m, dense.target_m)  # neither dropped nor clipped to the depth space
    assert torch.equal(dense.mono_m, dense.target_m.clamp(max=50.0) if view.keeps_mono else torch.zeros_like(dense.target_m))


@given(VIEWS, st.integers(0, 2**31))
def test_teacher_when_stored_at_the_far_end_then_nothing_whatever_the_view_scales_it_to(view, seed):
    steps = steps_of(seed, high=79 * 256)
    sky = torch.from_numpy(np.random.default_rng(seed + 1).random((1, HEIGHT, WIDTH)) < 0.5)
    far, near = (torch.where(sky, value, steps.int()).to(torch.uint16) for value in (80 * 256, 0))
    found = dense_batch(batch_of(view, mono_steps=far), max_depth_m=120.0, teacher_far_m=80.0).teacher_m
    assert torch.equal(found, dense_batch(batch_of(view, target_steps=near), max_depth_m=120.0).target_m)


def test_teacher_when_not_asked_for_then_is_absent():
    batch = batch_of(None, mono_steps=steps_of(0, high=5000))
    assert dense_batch(batch, max_depth_m=120.0).teacher_m is None
    assert dense_batch(batch_of(None), max_depth_m=120.0, teacher_far_m=80.0).teacher_m is None
    dense = dense_batch(batch, max_depth_m=120.0, teacher_far_m=80.0)
    assert torch.equal(dense.teacher_m, dense.mono_m)
    assert dense.teacher_m.data_ptr() != dense.mono_m.data_ptr()


def test_frame_when_its_teachers_map_is_empty_then_refused_by_name_or_left_out(tmp_path, monkeypatch):
    manifest = made_with_empty(tmp_path, monkeypatch, empty=(1,))
    with pytest.raises(
        ManifestError,
        match=r"frame 'scene-0000/CAM_FRONT/1000000000500000' has an empty teacher's map \(depth_mono\) in manifest "
        rf"{manifest.path.fingerprint} \(1 of 5 frames of split 'train'\)\. Its alignment found no fit, or the teacher saw nothing but sky, so .*"
        "set train.data.incomplete: leave_out to train without them, or switch distillation off",
    ):
        FrameLoader(manifest, MONO, with_teacher=True)
    rest = FrameLoader(manifest, MONO.model_copy(update={"incomplete": "leave_out", "batch_size": 1}), with_teacher=True)
    keys = {key for batch in rest for key in batch.frame_keys}
    assert len(keys) == 4
    assert "scene-0000/CAM_FRONT/1000000000500000" not in keys
    assert FrameLoader(manifest, MONO).num_samples == 5  # for the plug-in branch an empty map is as if it were dropped


def test_frames_when_all_maps_are_empty_then_refused_even_if_incomplete_ones_are_left_out(tmp_path, monkeypatch):
    manifest = made_with_empty(tmp_path, monkeypatch, empty=(0, 1, 2))
    config = MONO.model_copy(update={"incomplete": "leave_out"})
    assert FrameLoader(manifest, config, with_teacher=True).num_samples == 2
    rows = [row for row in manifest.rows() if row["scene"] == "scene-0000"]
    monkeypatch.setattr(type(manifest), "rows", lambda self: rows)
    with pytest.raises(ManifestError, match=r"\(3 of 3 frames of split 'train'\).* or the teacher, or switch distillation off"):
        FrameLoader(manifest, config, with_teacher=True)
