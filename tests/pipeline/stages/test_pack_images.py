from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.stages.pack_images import check_image
from storage_schemas.dataset import open_dataset
from storage_schemas.errors import ManifestError, SourceError
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.flows.test_cli import BARE


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_check_image_when_whole_then_passes_and_when_cut_then_fails(kind):
    check_image(encoded(kind), height=6, width=9, where="x")
    with pytest.raises(SourceError, match="image 'x'"):
        check_image(encoded(kind)[:-30], height=6, width=9, where="x")


def test_check_image_when_zeros_follow_the_end_or_it_is_grey_or_has_alpha_then_passes():
    check_image(encoded("JPEG") + bytes(1024), height=6, width=9, where="x")
    for mode, kind in (("L", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("CMYK", "JPEG")):
        stream = io.BytesIO()
        Image.new(mode, (9, 6)).save(stream, kind)
        check_image(stream.getvalue(), height=6, width=9, where="x")


def test_check_image_when_grey_values_have_16_bits_then_is_refused_since_they_would_be_white():
    stream = io.BytesIO()
    Image.fromarray(np.full((6, 9), 40_000, np.uint16)).save(stream, "PNG")
    with pytest.raises(SourceError, match="image 'x' has 16 or 32 bits a pixel .*, expected 8 a channel.*Write it with 8 bits"):
        check_image(stream.getvalue(), height=6, width=9, where="x")


def test_images_when_packed_then_are_the_cameras_own_bytes(tiny_root, write_recipe, depthmill, tmp_path):
    depthmill("run", write_recipe(tiny_root), *BARE)
    store = Store(tmp_path / "store")
    manifest = open_manifest(store)
    for row in manifest.rows():
        unit = store.open_unit(manifest.unit_of(row, "images"))
        content = unit.array("encoded", row["frame"])[: int(unit.array("num_bytes", row["frame"]))].tobytes()
        assert content == (tiny_root / row["file"]).read_bytes()


def test_images_when_referenced_then_store_holds_no_pixels_but_their_digest(tiny_root, write_recipe, depthmill, tmp_path):
    code, text = depthmill("run", write_recipe(tiny_root, stages={"pack_images": {"mode": "reference"}}), *BARE)
    assert code == 0, text
    assert "0.0 MB referenced" in text
    manifest = open_manifest(Store(tmp_path / "store"))
    unit = manifest.store.open_unit(manifest.unit_of(manifest.rows()[0], "images"))
    assert "encoded" not in unit.array_names
    assert len(unit.table("files")["sha256"][0]) == 64
    with pytest.raises(ManifestError, match="refers to image files and holds no pixels; run with pack_images.mode: bytes"):
        open_dataset(manifest)["image"][0].compute(scheduler="sync")
