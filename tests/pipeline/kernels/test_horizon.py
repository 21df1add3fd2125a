from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipeline.kernels.horizon import passes_twin
from pipeline.stages.clean_horizon import Params, clean_frame

METRES = st.one_of(st.just(0), st.integers(1, 40 * 256), st.sampled_from([256 * 5, 256 * 16, 256 * 30, 256 * 60]))
MAPS = hnp.arrays(np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, min_side=3, max_side=14), elements=METRES)
PARAMS = st.builds(
    Params,
    upper_fraction=st.sampled_from([0.0, 0.45, 0.5, 1.0]),
    near_m=st.sampled_from([2.0, 20.0, 33.3]),
    window_px=st.sampled_from([1, 3, 7]),
    min_neighbors=st.integers(1, 12),
    mad_factor=st.sampled_from([0.0, 1.0, 3.0, 2.7]),
    floor_m=st.sampled_from([0.0, 0.5, 10.0]),
    mono_disagree_m=st.sampled_from([0.0, 5.0, 30.0]),
)


@settings(max_examples=300, deadline=None)
@given(MAPS, PARAMS, st.booleans(), st.integers(0, 2**32 - 1))
def test_fast_kernel_agrees_with_twin_and_only_removes(steps, p, has_mono, seed):
    mono = np.random.default_rng(seed).uniform(-5, 80, steps.shape).astype(np.float32) if has_mono else None
    a, b, c = passes_twin(steps, mono, **p.model_dump())
    found = clean_frame(steps, mono, p)
    dropped = b | c
    assert (found.num_candidates, found.num_by_mono, found.num_by_window) == (a.sum(), b.sum(), c.sum())
    assert found.num_dropped == dropped.sum()
    assert np.array_equal(found.steps, np.where(dropped, 0, steps))


def test_input_when_cleaned_then_is_not_changed():
    steps = np.full((20, 20), 60 * 256, np.uint16)
    steps[4, 4] = 5 * 256
    before = steps.copy()
    found = clean_frame(steps, None, Params())
    assert np.array_equal(steps, before)
    assert found.num_dropped == 1
    assert found.steps[4, 4] == 0


@pytest.mark.real_data
@pytest.mark.parametrize("case", ["default", "wide"])
@pytest.mark.parametrize("mono", ["mono_none", "mono_ramp"])
def test_clean_when_fed_the_golden_maps_then_digests_and_counts_are_golden(case, mono, shared):
    golden = json.loads((shared / "data/golden/kitti0001_clean.json").read_text())
    chosen = golden["cases"][case]
    params = Params(**{**golden["params"], **chosen.get("params", {})})
    frames = chosen.get("frames", chosen)
    assert len(frames) == 22
    for name, want in frames.items():
        steps = np.asarray(Image.open(shared / "data/golden/acc160_keep" / name)).astype(np.uint16)
        height, width = steps.shape
        rows = np.arange(height, dtype=np.float32)[:, None]
        ramp = np.clip(np.float32(60) * (np.float32(1) - rows / np.float32(height)) + np.float32(5), 2, 80).astype(np.float32)
        found = clean_frame(steps, np.broadcast_to(ramp, (height, width)).copy() if mono == "mono_ramp" else None, params)
        counts = {"A": found.num_candidates, "A_and_B": found.num_by_mono, "C": found.num_by_window, "dropped": found.num_dropped}
        assert counts == {key: want[mono][key] for key in counts}, name
        assert hashlib.sha256(found.steps.astype("<u2").tobytes()).hexdigest() == want[mono]["sha256"], name
