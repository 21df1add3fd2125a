from __future__ import annotations

import gc
import io

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.data.order import epoch_order, rank_spans
from model.data.ordered_loader import Placement, ResumeError
from model.semodepth.batch import Batch
from model.semodepth.config import AugmentConfig, DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from tests.model.data.made_up_store import write_store

EVERYTHING = DataConfig(batch_size=3, mono=True, order="manifest")
FRAMES = (5, 7, 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store"), frames=FRAMES)


def keys(batches) -> list[str]:
    return [key for batch in batches for key in batch.frame_keys]


def content(batch: Batch) -> dict[str, torch.Tensor]:
    dense = dense_batch(batch, max_depth_m=120.0)
    return {name: value.clone() for name, value in vars(dense).items() if isinstance(value, torch.Tensor)}


def radar_map(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The readable twin: returns drawn one by one, the nearest last."""
    found = np.zeros(shape, np.float32)
    for u, v, depth in sorted(points.tolist(), key=lambda point: -point[2]):
        found[round(v), round(u)] = min(depth, 120.0)
    return found


def test_batch_holds_what_the_store_holds(made):
    batches = list(FrameLoader(made.manifest, EVERYTHING))
    assert keys(batches) == [row["frame_key"] for row in made.manifest.rows()]
    assert [len(batch) for batch in batches] == [3, 3, 3, 3, 3, 1]
    for batch in batches:
        dense = dense_batch(batch, max_depth_m=120.0)
        assert batch.image_u8.dtype == torch.uint8 and batch.target_steps.dtype == torch.uint16
        for k, key in enumerate(batch.frame_keys):
            pixels = np.asarray(Image.open(io.BytesIO(made.image_files[key])).convert("RGB"))
            np.testing.assert_array_equal(dense.image_u8[k], pixels)
            np.testing.assert_array_equal(dense.target_m[k], made.depth[key, "depth_clean"] / np.float32(256))
            np.testing.assert_array_equal(dense.sparse_m[k], made.depth[key, "depth_single"] / np.float32(256))
            np.testing.assert_array_equal(dense.mono_m[k], made.depth[key, "depth_mono"] / np.float32(256))
            np.testing.assert_allclose(dense.radar_m[k], radar_map(made.radar[key], (18, 26)), rtol=1e-6)
            assert bool(batch.is_night[k]) == key.startswith("scene-0001")
        assert dense.intrinsics[0].tolist() == [[20.0, 0.0, 13.5], [0.0, 21.0, 8.25], [0.0, 0.0, 1.0]]


def test_modality_when_not_asked_for_then_is_absent(made):
    config = DataConfig(batch_size=2, radar=False, sparse_target=False, dense_target=None)
    batch = next(iter(FrameLoader(made.manifest, config)))
    dense = dense_batch(batch, max_depth_m=120.0)
    assert (batch.radar, batch.sparse, batch.target_steps, batch.mono_steps) == (None,) * 4
    assert (dense.radar_m, dense.sparse_m, dense.target_m, dense.mono_m) == (None,) * 4
    assert dense.image_u8.shape == (2, 18, 26, 3)


def test_every_number_of_workers_yields_the_same_bytes_over_two_epochs(made):
    config = DataConfig(
        batch_size=3, mono=True, seed=5, piece_frames=2, augment=AugmentConfig(flip_probability=0.5, scale_probability=0.5)
    )
    expected: list[tuple[tuple[str, ...], dict[str, torch.Tensor]]] = []
    for num_workers in (0, 1, 2):
        with FrameLoader(made.manifest, config, placement=Placement(num_workers=num_workers)) as loader:
            found = [(batch.frame_keys, content(batch)) for _ in range(2) for batch in loader]
        expected = expected or found
        assert [key for key, _ in found] == [key for key, _ in expected]
        for (_, one), (_, other) in zip(found, expected, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)
    assert [key for key, _ in expected[:5]] != [key for key, _ in expected[5:]]  # two epochs differ


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    num_ranks=st.integers(1, 8), workers=st.tuples(st.integers(0, 4), st.integers(0, 4)), stop=st.integers(0, 6), data=st.data()
)
def test_rank_with_any_workers_sees_its_share_and_resumes_anywhere_with_any_other(made, num_ranks, workers, stop, data):
    rank = data.draw(st.integers(0, num_ranks - 1))
    config = DataConfig(batch_size=2, seed=num_ranks, piece_frames=3, sparse_target=False, radar=False)
    order = epoch_order(FRAMES, seed=num_ranks, epoch=0, piece_frames=3)
    spans = rank_spans(16, start=0, rank=rank, num_ranks=num_ranks, batch_size=2, is_ragged=False)
    rows = made.manifest.rows()
    expected = [tuple(rows[order[position]]["frame_key"] for position in range(*span)) for span in spans]
    seen, state = [], None
    with FrameLoader(
        made.manifest, config, placement=Placement(rank=rank, num_ranks=num_ranks, num_workers=workers[0])
    ) as loader:
        state = loader.state_dict()
        for batch in loader:
            if len(seen) == stop:
                break
            seen.append(batch.frame_keys)
            state = loader.state_dict()
    with FrameLoader(
        made.manifest, config, placement=Placement(rank=rank, num_ranks=num_ranks, num_workers=workers[1])
    ) as loader:
        loader.load_state_dict(state)
        seen += [batch.frame_keys for batch in loader]
    assert seen == expected


def test_run_when_stopped_and_resumed_then_sees_what_it_would_have_seen(made):
    config = DataConfig(batch_size=3, seed=3, mono=True, augment=AugmentConfig(flip_probability=0.5))
    whole = FrameLoader(made.manifest, config)
    expected = [(batch.frame_keys, content(batch)) for _ in range(3) for batch in whole]
    for stop in range(1, 15):
        first, found = FrameLoader(made.manifest, config), []
        while len(found) < stop:
            for batch in first:
                found.append((batch.frame_keys, content(batch)))
                if len(found) == stop:
                    state = first.state_dict()
                    break
        second = FrameLoader(made.manifest, config)
        second.load_state_dict(state)
        while second.epoch < 3:
            found += [(batch.frame_keys, content(batch)) for batch in second]
        assert [key for key, _ in found] == [key for key, _ in expected]
        assert all(
            torch.equal(one[name], other[name]) for (_, one), (_, other) in zip(found, expected, strict=True) for name in one
        )


def test_epoch_left_early_begins_again_with_set_epoch(made):
    with FrameLoader(made.manifest, DataConfig(batch_size=2), placement=Placement(num_workers=1)) as loader:
        first = next(iter(loader)).frame_keys
        loader.set_epoch(0)
        assert len(loader) == 8
        again = [batch.frame_keys for batch in loader]
        assert again[0] == first
        assert len(again) == 8
        assert loader.epoch == 1


def test_batches_when_kept_then_stay_as_they_were_and_memory_comes_back_when_they_go(made):
    loader = FrameLoader(made.manifest, EVERYTHING)
    kept = list(loader)
    copies = [content(batch) for batch in kept]
    assert len(loader._pool) == 6
    image = kept[0].image_u8[0]  # one view is enough to keep the memory
    expected = image.clone()
    del kept
    gc.collect()
    for number, batch in enumerate(loader):
        assert all(torch.equal(value, copies[number][name]) for name, value in content(batch).items())
    assert len(loader._pool) == 6
    assert torch.equal(image, expected)


def test_loader_leaves_the_global_generators_alone(made):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    list(FrameLoader(made.manifest, DataConfig(augment=AugmentConfig(flip_probability=0.5))))
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002


def test_mono_when_training_then_dropped_for_half_of_the_samples(made):
    loader = FrameLoader(made.manifest, DataConfig(batch_size=4, mono=True))
    kept = torch.stack([content(batch)["mono_m"].amax((1, 2)) > 0 for _ in range(20) for batch in loader])
    assert 0.4 < kept.float().mean() < 0.6
    evaluated = FrameLoader(made.manifest, EVERYTHING)
    assert all(bool((content(batch)["mono_m"].amax((1, 2)) > 0).all()) for batch in evaluated)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_maps_made_on_a_gpu_are_those_made_on_the_cpu(made):
    config = DataConfig(batch_size=3, mono=True, augment=AugmentConfig(flip_probability=0.5, scale_probability=0.5))
    for batch in FrameLoader(made.manifest, config, placement=Placement(pin_memory=True)):
        on_gpu = content(batch.to("cuda", non_blocking=True))
        for name, value in content(batch).items():
            torch.testing.assert_close(on_gpu[name].cpu(), value, atol=1 if name == "image_u8" else 1e-5, rtol=1e-6)


def test_batch_moves_as_a_whole(made):
    batch = next(
        iter(FrameLoader(made.manifest, DataConfig(batch_size=3, mono=True, augment=AugmentConfig(flip_probability=0.5))))
    )
    moved = batch.to("meta")
    tensors = [moved.image_u8, moved.target_steps, moved.keeps_mono, moved.radar.depth, moved.sparse.row, moved.views.scale]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert moved.frame_keys == batch.frame_keys and moved.views.height == 18


def test_image_files_that_the_store_only_refers_to_are_read_from_the_source(tmp_path):
    made = write_store(tmp_path / "store", frames=(2,), image_root=tmp_path / "raw")
    batch = next(iter(FrameLoader(made.manifest, EVERYTHING, placement=Placement(image_root=str(tmp_path / "raw")))))
    pixels = np.asarray(Image.open(io.BytesIO(made.image_files[batch.frame_keys[1]])).convert("RGB"))
    np.testing.assert_array_equal(batch.image_u8[1], pixels)


def test_store_on_an_object_store_url_gives_the_same(made, tmp_path):
    remote = write_store(f"memory://loader-{tmp_path.name}", frames=FRAMES)
    for one, other in zip(FrameLoader(made.manifest, EVERYTHING), FrameLoader(remote.manifest, EVERYTHING), strict=True):
        assert one.frame_keys == other.frame_keys
        assert all(torch.equal(value, content(other)[name]) for name, value in content(one).items())


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"seed": 1}, "loader state has seed 1, this loader has 0: frames would come in another order"),
        (
            {"manifest": "ab"},
            "loader state has manifest ab, this loader has .*Resume with the manifest and data config of the run",
        ),
        ({"samples_seen": 17}, "loader state has seen 17 samples, an epoch has 16: the state is damaged"),
    ],
)
def test_state_of_other_data_is_refused(made, changed, text):
    loader = FrameLoader(made.manifest, DataConfig())
    with pytest.raises(ResumeError, match=text):
        loader.load_state_dict({**loader.state_dict(), **changed})


def test_share_when_training_then_only_so_many_frames_and_when_measuring_then_all(tmp_path):
    made = write_store(tmp_path, frames=(5, 7, 8))
    loader = FrameLoader(made.manifest, DataConfig(batch_size=2, share=0.5, sparse_target=False, radar=False, piece_frames=1))
    epochs = [{key for batch in loader for key in batch.frame_keys} for _ in range(2)]
    assert loader.num_samples == 10 and len(epochs[0]) == 10 and epochs[0] == epochs[1]
    rest = DataConfig(batch_size=2, share=0.5, order="manifest", sparse_target=False, radar=False)
    assert FrameLoader(made.manifest, rest).num_samples == 20
    assert "share" not in DataConfig().model_dump(mode="json") and DataConfig(share=0.5).model_dump()["share"] == 0.5
