"""Bad input ends in one clear sentence: the thing, the value, what was expected, what to do next."""

from __future__ import annotations

import re

import pytest

from model.data import slots
from model.data.ordered_loader import Placement
from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from storage_schemas.errors import LayoutError, ManifestError, StoreError, UnitNotFoundError
from tests.model.data.made_up_store import remove_unit, write_store


def test_unit_when_pruned_then_said_before_anything_is_read(tmp_path):
    made = write_store(tmp_path, frames=(2, 2))
    path = remove_unit(made.manifest, "scene-0001/CAM_FRONT/2000000000000000", "depth_clean")
    text = (
        f"unit '{path.key}' of frame 'scene-0001/CAM_FRONT/2000000000000000' is not in store '{tmp_path}' "
        f"(1 of 8 units missing): it was pruned after manifest {made.manifest.path.fingerprint} was written. "
        "Run the recipe again to make it, or choose another manifest"
    )
    with pytest.raises(UnitNotFoundError, match=re.escape(text)):
        FrameLoader(made.manifest, DataConfig(batch_size=1))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unit_when_pruned_during_training_then_names_the_frame(tmp_path, num_workers):
    made = write_store(tmp_path, frames=(2, 2))
    with FrameLoader(
        made.manifest, DataConfig(batch_size=1, order="manifest"), placement=Placement(num_workers=num_workers)
    ) as loader:
        path = remove_unit(made.manifest, "scene-0001/CAM_FRONT/2000000000000000", "depth_clean")
        found = []
        with pytest.raises(UnitNotFoundError) as caught:
            for batch in loader:
                found.append(batch)
    assert len(found) == 2
    assert str(caught.value).startswith(f"frame 'scene-0001/CAM_FRONT/2000000000000000': unit '{path.key}' is not in store")
    assert "Traceback" not in str(caught.value)


def test_depth_of_another_size_than_its_image(tmp_path):
    made = write_store(tmp_path, frames=(2,), sizes={"scene-0000": (16, 24)})
    with pytest.raises(
        LayoutError,
        match=r"frame 'scene-0000/CAM_FRONT/\d+': depth_clean is 26x18 \(unit 'depth_clean/.*'\), the image is 24x16. "
        "Both must cover the same pixels: run the recipe again",
    ):
        next(iter(FrameLoader(made.manifest, DataConfig(batch_size=1))))


def test_image_of_another_size_than_the_manifest_says(tmp_path):
    made = write_store(tmp_path, frames=(2,), sizes={"scene-0000": (16, 24)})
    made.manifest.samples["height"], made.manifest.samples["width"] = [18, 18], [26, 26]
    with pytest.raises(StoreError, match=r"image 'samples/.*jpg' is 24x16, the manifest says 26x18. Run the recipe again"):
        next(iter(FrameLoader(made.manifest, DataConfig(batch_size=1))))


def test_images_of_different_sizes_in_one_split(tmp_path):
    made = write_store(tmp_path, frames=(2, 2), sizes={"scene-0001": (16, 24)})
    with pytest.raises(
        ManifestError, match=r"has images of different sizes: 26x18 \('scene-0000/.*'\), 24x16 \('scene-0001/.*'\)"
    ):
        FrameLoader(made.manifest, DataConfig(batch_size=1))


def test_split_when_empty_then_names_those_that_are_not(tmp_path):
    made = write_store(tmp_path, frames=(2, 3), split="val")
    with pytest.raises(ManifestError, match="split 'train' is empty in manifest .*, which has: 5 val. Say which scenes are"):
        FrameLoader(made.manifest, DataConfig(split="train"))
    with pytest.raises(
        ManifestError, match="camera 'CAM_BACK' has no frame in split 'val' of manifest .*; cameras there: CAM_FRONT"
    ):
        FrameLoader(made.manifest, DataConfig(split="val", cameras=("CAM_BACK",)))


def test_fewer_frames_than_ranks(tmp_path):
    made = write_store(tmp_path, frames=(3,))
    with pytest.raises(
        ManifestError, match="split 'train' has 3 frames for 4 ranks, expected at least one frame a rank. Start fewer"
    ):
        FrameLoader(made.manifest, DataConfig(order="manifest"), placement=Placement(rank=0, num_ranks=4))
    with pytest.raises(
        ManifestError, match="has 3 frames, one training step of 1 ranks with batch_size 4 takes 4. Lower batch_size to 3 or less"
    ):
        FrameLoader(made.manifest, DataConfig(batch_size=4))
    with pytest.raises(ValueError, match="rank is 3, expected 0 to 2 for 3 ranks"):
        FrameLoader(made.manifest, DataConfig(batch_size=1), placement=Placement(rank=3, num_ranks=3))


def test_frames_without_a_store_asked_for(tmp_path):
    made = write_store(tmp_path, frames=(2, 3), without={"scene-0001": ("radar_points",)})
    with pytest.raises(
        ManifestError,
        match=r"frame 'scene-0001/.*' has no radar_points in manifest .* \(3 frames of split 'train' lack a store asked for\). "
        "Run the stage that makes it, do not ask for it, or set incomplete: leave_out",
    ):
        FrameLoader(made.manifest, DataConfig(batch_size=1))
    assert FrameLoader(made.manifest, DataConfig(batch_size=1, incomplete="leave_out")).num_samples == 2
    assert FrameLoader(made.manifest, DataConfig(batch_size=1, radar=False)).num_samples == 5
    with pytest.raises(ManifestError, match="no frame of split 'train' .* has all of images, depth_truth"):
        FrameLoader(made.manifest, DataConfig(dense_target="depth_truth", incomplete="leave_out"))


def test_image_files_when_the_source_is_missing_or_changed(tmp_path):
    made = write_store(tmp_path / "store", frames=(1,), image_root=tmp_path / "raw")
    config = DataConfig(batch_size=1)
    with pytest.raises(
        ManifestError, match="refers to image files and holds no pixels. Give the folder of the data set as image_root"
    ):
        next(iter(FrameLoader(made.manifest, config)))
    with pytest.raises(StoreError, match=f"jpg' is not below image_root '{tmp_path}'. Restore it, or correct image_root"):
        next(iter(FrameLoader(made.manifest, config, placement=Placement(image_root=str(tmp_path)))))
    file = next((tmp_path / "raw").rglob("*.jpg"))
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(StoreError, match="has changed since unit 'images/.*' noted its digest. Restore the file"):
        next(iter(FrameLoader(made.manifest, config, placement=Placement(image_root=str(tmp_path / "raw")))))


@pytest.mark.parametrize(("layout", "shard"), [("images", "encoded/c/0/0"), ("depth_clean", "depth_m/c/0/0/0")])
def test_damaged_bytes_name_the_frame(tmp_path, layout, shard):
    made = write_store(tmp_path, frames=(1,))
    file = tmp_path / made.manifest.unit_of(made.manifest.rows()[0], layout).key / shard
    content = bytearray(file.read_bytes())
    content[3:200] = bytes(197)
    file.write_bytes(content)
    with pytest.raises(
        StoreError, match="frame 'scene-0000/CAM_FRONT/1000000000000000': .*not those that were written .CRC-32C.. Run"
    ):
        next(iter(FrameLoader(made.manifest, DataConfig(batch_size=1))))


def test_memory_when_too_small_for_what_is_read_ahead_then_said_before_anything_is_read(monkeypatch, tmp_path):
    made = write_store(tmp_path, frames=(4,))
    monkeypatch.setattr(slots, "free_memory_bytes", lambda: 10_000)
    loader = FrameLoader(made.manifest, DataConfig(batch_size=1), placement=Placement(num_workers=3))
    said = r"0 MB of memory are free, the loader needs \d MB: 8 batches of \d MB are read ahead. .*DEPTHMILL_LOADER_WORKERS"
    with pytest.raises(slots.SharedMemoryError, match=said):
        next(iter(loader))


def test_config_with_a_typo_is_refused():
    with pytest.raises(ValueError, match="batchsize"):
        DataConfig(batchsize=3)
