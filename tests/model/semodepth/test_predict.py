from __future__ import annotations

import numpy as np
import pytest
import torch

from model.semodepth.net import SemoDepth
from model.semodepth.network_config import SemoDepthConfig
from model.semodepth.predict import Frame, PredictionError, manifest_frames, place_network, predict_frames
from storage_schemas.errors import ManifestError
from tests.model.data.made_up_store import write_store


class BrightnessNetwork:
    """A stand-in whose depth is the red channel plus radar, and which notes the batches that it was given."""

    def __init__(self) -> None:
        self.config = SemoDepthConfig(max_depth_m=80.0)
        self.shapes: list[tuple[int, ...]] = []
        self.mono: list[bool] = []

    def predict(self, image_u8, radar_m, mono_m=None):
        self.shapes.append(image_u8.shape)
        self.mono.append(mono_m is not None)
        return torch.as_tensor(image_u8[..., 0].astype(np.float64) + radar_m)


def made_up_frame(name: str, value: int, *, height: int = 4, width: int = 6, radar: bool = True, mono: bool = False) -> Frame:
    nothing = np.zeros((height, width), np.float32)
    return Frame(name, np.full((height, width, 3), value, np.uint8), nothing + 0.5 if radar else None, nothing if mono else None)


def test_predict_frames_when_sizes_and_mono_change_then_batches_are_equal_and_the_order_stays():
    network = BrightnessNetwork()
    frames = [made_up_frame(f"a{k}", k) for k in range(3)]
    frames += [made_up_frame(f"b{k}", k, width=8) for k in range(2)]
    frames += [made_up_frame("c", 9, width=8, mono=True)]
    found = list(predict_frames(network, frames, batch_size=2))
    assert [one.frame.name for one in found] == ["a0", "a1", "a2", "b0", "b1", "c"]
    assert network.shapes == [(2, 4, 6, 3), (1, 4, 6, 3), (2, 4, 8, 3), (1, 4, 8, 3)] and network.mono == [False] * 3 + [True]
    for one in found:
        assert one.depth_m.dtype == np.float32 and np.all(one.depth_m == one.frame.image_u8[..., 0] + 0.5)


def test_predict_frames_when_a_frame_has_no_radar_then_the_network_sees_none():
    found = list(predict_frames(BrightnessNetwork(), [made_up_frame("a", 7, radar=False)]))
    assert np.all(found[0].depth_m == 7) and found[0].frame.radar_m is None


def test_predict_frames_when_nothing_is_asked_yet_then_reads_one_batch_ahead_only():
    read = []

    def frames():
        for k in range(9):
            read.append(k)
            yield made_up_frame(str(k), k)

    next(predict_frames(BrightnessNetwork(), frames(), batch_size=2))
    assert read == [0, 1, 2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_predict_frames_when_the_prediction_is_no_number_then_names_the_frame(value):
    network = BrightnessNetwork()
    network.predict = lambda image_u8, radar_m, mono_m=None: torch.full(image_u8.shape[:3], value)
    with pytest.raises(PredictionError, match="frame 'a': the network predicts depth that is not a number.*another checkpoint"):
        list(predict_frames(network, [made_up_frame("a", 1)]))


def test_predict_frames_when_the_prediction_has_another_size_then_says_so():
    network = BrightnessNetwork()
    network.predict = lambda image_u8, radar_m, mono_m=None: torch.zeros(1, 2, 2)
    with pytest.raises(PredictionError, match=r"predicts \(1, 2, 2\) for images \(1, 4, 6\)"):
        list(predict_frames(network, [made_up_frame("a", 1)]))


def test_predict_frames_when_the_batch_is_empty_then_says_so():
    with pytest.raises(ValueError, match="batch_size is 0, expected 1 or more"):
        list(predict_frames(BrightnessNetwork(), [], batch_size=0))


def test_predict_frames_when_the_network_is_real_then_depth_is_its_own_in_any_batch():
    torch.manual_seed(0)
    network = SemoDepth(SemoDepthConfig(base_channels=16)).eval()
    place_network(network, "cpu")
    rng = np.random.default_rng(0)
    radar = np.where(rng.random((64, 96)) < 0.01, 20, 0).astype(np.float32)
    frames = [Frame(str(k), rng.integers(0, 255, (64, 96, 3), dtype=np.uint8), radar) for k in range(2)]
    together, alone = (list(predict_frames(network, frames, batch_size=size)) for size in (2, 1))
    for one, other in zip(together, alone, strict=True):
        assert one.depth_m.shape == (64, 96) and np.all((one.depth_m >= 0.5) & (one.depth_m <= 120))
        np.testing.assert_allclose(one.depth_m, other.depth_m, rtol=1e-4)


def test_manifest_frames_when_a_split_is_read_then_frames_are_the_stores_and_radar_is_clipped(tmp_path):
    made = write_store(tmp_path / "store", frames=(3, 2), split="val")
    found = list(manifest_frames(made.manifest, split="val", max_depth_m=80.0, with_mono=True))
    assert [frame.name for frame in found] == list(made.image_files)
    for frame in found:
        points = made.radar[frame.name]
        assert frame.image_u8.shape == (18, 26, 3) and frame.radar_m is not None and frame.radar_m.max() <= 80.0
        assert 0 < np.count_nonzero(frame.radar_m) <= len(points) or len(points) == 0
        np.testing.assert_array_equal(frame.mono_m, np.minimum(made.depth[frame.name, "depth_mono"] / np.float32(256), 80))
    assert np.count_nonzero(found[0].image_u8 != found[1].image_u8) > 0  # each its own memory


def test_manifest_frames_when_the_split_is_empty_then_says_which_there_are(tmp_path):
    made = write_store(tmp_path / "store", frames=(2,), split="train")
    with pytest.raises(ManifestError, match="split 'val' is empty in manifest .* which has: 2 train"):
        next(manifest_frames(made.manifest, split="val", max_depth_m=80.0))
