from __future__ import annotations

import io
import os
import re

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from model.data.images import decode_image, read_image
from storage_schemas.errors import SourceError, StoreError


def encoded(kind: str, mode: str = "RGB", **options) -> bytes:
    y, x = np.mgrid[:30, :50]
    pixels = np.stack([5 * x, 8 * y, (x * y) % 256], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


FILES = {
    "jpeg 4:2:0": encoded("JPEG", quality=90),
    "jpeg 4:4:4": encoded("JPEG", quality=95, subsampling=0),
    "progressive": encoded("JPEG", progressive=True),
    "grey": encoded("JPEG", "L"),
    "png": encoded("PNG"),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name):
    out = np.zeros((30, 50, 3), np.uint8)
    decode_image(FILES[name], out, where="a.jpg")
    np.testing.assert_array_equal(out, np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGB")))


@pytest.mark.parametrize(
    ("content", "size", "text"),
    [
        (FILES["grey"][:-300], (30, 50), "image 'a.jpg' cannot be decoded: .*Copy it again"),
        (b"not an image", (30, 50), "image 'a.jpg' cannot be decoded: cannot identify image file"),
        (FILES["jpeg 4:2:0"], (50, 30), "image 'a.jpg' is 50x30, the manifest says 30x50. Run the recipe again"),
        (FILES["png"], (31, 50), "image 'a.jpg' is 50x30, the manifest says 50x31. Run the recipe again"),
    ],
)
def test_image_when_damaged_or_of_another_size_then_says_so(content, size, text):
    with pytest.raises(StoreError, match=re.compile(text)):
        decode_image(content, np.zeros((*size, 3), np.uint8), where="a.jpg")


def test_image_when_its_format_starts_another_program_then_refused_and_nothing_is_started(tmp_path, monkeypatch):
    started = tmp_path / "started"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {started}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # where it was looked for before
    file = io.BytesIO()
    Image.new("RGB", (20, 12)).save(file, "EPS")
    path = tmp_path / "a.jpg"
    path.write_bytes(file.getvalue())
    with pytest.raises(SourceError, match=r"a.jpg' cannot be read: it is no image of a known format \(JPEG, PNG, TIFF, .*\)"):
        read_image(path)
    with pytest.raises(StoreError, match="cannot be decoded"):
        decode_image(file.getvalue(), np.zeros((12, 20, 3), np.uint8), where="a.jpg")
    assert not started.exists()
