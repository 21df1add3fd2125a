from __future__ import annotations

import io
import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from model.data.images import decode_image
from model.data.row_band import RowBand
from model.semodepth.config import AugmentConfig, DataConfig
from model.semodepth.data import FrameLoader
from model.semodepth.dense import dense_batch
from model.semodepth.predict import manifest_frames
from storage_schemas.errors import ManifestError, StoreError
from tests.model.data.made_up_store import write_store

HEIGHT, WIDTH = 18, 26
MAPS = ("image_u8", "radar_m", "sparse_m", "target_m", "mono_m")
BANDS = st.integers(0, HEIGHT - 1).flatmap(lambda first: st.tuples(st.just(first), st.integers(first + 1, HEIGHT)))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("store"), frames=(3, 2), height=HEIGHT, width=WIDTH)


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def interlaced() -> bytes:
    """An interlaced PNG of no filter, written by hand: Pillow reads them and writes none."""
    import struct
    import zlib

    pixels = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx] if row.size)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


FILES = {
    "jpeg": encoded("JPEG", quality=90),
    "progressive": encoded("JPEG", progressive=True),
    "png": encoded("PNG"),
    "grey png": encoded("PNG", "L"),
    "palette png": encoded("PNG", "P"),
    "png with alpha": encoded("PNG", "RGBA"),
    "interlaced png": interlaced(),
}


@pytest.mark.parametrize("name", FILES)
@given(band=BANDS)
@settings(max_examples=15, deadline=None)
def test_image_when_a_band_is_decoded_then_equals_those_rows_of_the_whole(name, band):
    first, stop = band
    out = np.zeros((stop - first, WIDTH, 3), np.uint8)
    decode_image(FILES[name], out, where="a.png", band=RowBand(first, stop, HEIGHT))
    whole = np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGB"))
    np.testing.assert_array_equal(out, whole[first:stop])


def test_image_when_of_another_size_than_the_band_is_cut_from_then_both_whole_sizes_are_named():
    with pytest.raises(StoreError, match=re.escape("image 'a.png' is 26x18, the manifest says 26x20")):
        decode_image(FILES["png"], np.zeros((5, WIDTH, 3), np.uint8), where="a.png", band=RowBand(2, 7, 20))


@given(band=BANDS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_band_when_read_then_equals_the_crop_of_the_whole_frames(made, band):
    first, stop = band
    settings_of_both = {"batch_size": 2, "mono": True, "order": "manifest"}
    whole = list(FrameLoader(made.manifest, DataConfig(**settings_of_both)))
    cut = list(FrameLoader(made.manifest, DataConfig(**settings_of_both, rows=band)))
    for one, other in zip(whole, cut, strict=True):
        assert one.frame_keys == other.frame_keys
        before, after = dense_batch(one, max_depth_m=120.0), dense_batch(other, max_depth_m=120.0)
        for name in MAPS:
            torch.testing.assert_close(getattr(after, name), getattr(before, name)[:, first:stop], rtol=0, atol=0, msg=name)
        expected = before.intrinsics.clone()
        expected[:, 1, 2] -= first
        torch.testing.assert_close(after.intrinsics, expected, rtol=0, atol=0)


def test_band_when_looked_at_mirrored_then_is_the_mirrored_crop(made):
    flipped = AugmentConfig(flip_probability=1.0, mono_dropout=0.0)
    both = [
        dense_batch(
            next(iter(FrameLoader(made.manifest, DataConfig(batch_size=4, augment=flipped, rows=rows)))), max_depth_m=80.0
        )
        for rows in (None, (4, 13))
    ]
    assert both[0].frame_keys == both[1].frame_keys
    for name in ("image_u8", "radar_m", "sparse_m", "target_m"):
        torch.testing.assert_close(getattr(both[1], name), getattr(both[0], name)[:, 4:13], rtol=0, atol=0)
    assert both[0].intrinsics[0].tolist() == [[20.0, 0.0, 12.5], [0.0, 21.0, 8.25], [0.0, 0.0, 1.0]]
    assert both[1].intrinsics[0].tolist() == [[20.0, 0.0, 12.5], [0.0, 21.0, 4.25], [0.0, 0.0, 1.0]]


def test_band_when_cropped_at_random_then_the_crop_lies_inside_the_band(made):
    augment = AugmentConfig(crop_px=(5, 8), mono_dropout=0.0)
    loader = FrameLoader(made.manifest, DataConfig(batch_size=1, augment=augment, rows=(6, 12), radar=False, sparse_target=False))
    assert loader.image_size == (5, 8)
    for batch in loader:
        dense = dense_batch(batch, max_depth_m=80.0)
        top, left = (round(8.25 - dense.intrinsics[0, 1, 2].item()), round(13.5 - dense.intrinsics[0, 0, 2].item()))
        assert 6 <= top <= 7
        expected = made.depth[batch.frame_keys[0], "depth_clean"][top : top + 5, left : left + 8] / np.float32(256)
        np.testing.assert_array_equal(dense.target_m[0], expected)


def test_band_when_frames_are_predicted_then_is_what_the_network_sees(tmp_path):
    made = write_store(tmp_path, frames=(2,), split="val")
    whole, cut = (list(manifest_frames(made.manifest, split="val", max_depth_m=80.0, row_band=rows)) for rows in (None, (2, 8)))
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_array_equal(other.image_u8, one.image_u8[2:8])
        np.testing.assert_array_equal(other.radar_m, one.radar_m[2:8])


def test_band_when_it_reaches_out_of_the_image_then_says_what_fits(made):
    with pytest.raises(
        ManifestError,
        match=re.escape("data.rows is [10, 19], but images of split 'train' of manifest ")
        + ".*"
        + re.escape("have 18 rows ('scene-0000/CAM_FRONT/1000000000000000'); expected a band within [0, 18]. Correct data.rows"),
    ):
        FrameLoader(made.manifest, DataConfig(batch_size=1, rows=(10, 19)))


@pytest.mark.parametrize("rows", [(5, 5), (7, 3), (-1, 4)])
def test_band_when_it_holds_no_row_then_is_refused(rows):
    with pytest.raises(ValidationError, match=re.escape("expected [first, stop] with 0 <= first < stop, e.g. [240, 540]")):
        DataConfig(rows=rows)


def test_configuration_without_a_band_when_written_then_is_as_before_the_key_existed():
    assert "rows" not in DataConfig().model_dump(mode="json")
    assert DataConfig(rows=(1, 2)).model_dump(mode="json")["rows"] == [1, 2]
    assert DataConfig.model_validate_json(DataConfig(rows=(1, 2)).model_dump_json()).rows == (1, 2)


def test_camera_when_the_manifest_does_not_know_it_then_is_not_a_number(tmp_path, monkeypatch):
    from tests.model.data import made_up_store

    row = made_up_store._row
    monkeypatch.setattr(made_up_store, "_row", lambda *given, **named: {**row(*given, **named), "intrinsic_px": []})
    made = write_store(tmp_path, frames=(2,))
    assert torch.isnan(next(iter(FrameLoader(made.manifest, DataConfig(batch_size=2)))).intrinsics).all()
