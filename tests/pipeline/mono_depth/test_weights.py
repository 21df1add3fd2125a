from __future__ import annotations

import hashlib
import os

import pytest

from pipeline.mono_depth import weights
from pipeline.mono_depth.weights import weights_digest
from storage_schemas.errors import RecipeError


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "config.json").write_text("{}")
    (made / "README.md").write_text("words")
    return made


def test_digest_when_the_path_changes_then_stays_and_when_a_byte_changes_then_changes(folder, tmp_path):
    cache = tmp_path / "cache"
    first = weights_digest(str(folder), cache)
    assert first == weights_digest(str(folder), tmp_path / "other-cache")
    folder.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    assert weights_digest(str(moved), cache) == first
    (moved / "README.md").write_text("other words")
    assert weights_digest(str(moved), cache) == first
    (moved / "config.json").write_text('{"a": 1}')
    assert weights_digest(str(moved), cache) != first
    (moved / "config.json").write_text("{}")
    (moved / "model.safetensors").write_bytes(b"Weights")  # same size
    assert weights_digest(str(moved), cache) != first
    assert weights_digest(str(moved / "model.safetensors"), cache) == hashlib.sha256(b"Weights").hexdigest()


def test_digest_when_size_and_time_are_the_same_then_the_file_is_not_read_again(folder, tmp_path, monkeypatch):
    first = weights_digest(str(folder), tmp_path / "cache")
    monkeypatch.setattr(weights.hashlib, "file_digest", lambda *rest: pytest.fail("read again"))
    assert weights_digest(str(folder), tmp_path / "cache") == first
    monkeypatch.undo()
    stamp = (folder / "model.safetensors").stat().st_mtime_ns + 10**9
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(folder / "model.safetensors", ns=(stamp, stamp))
    assert weights_digest(str(folder), tmp_path / "cache") != first


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model.safetensors": 3}', '{"model.safetensors": {"size": 7}}'])
def test_digest_when_the_note_is_damaged_then_is_made_again(folder, tmp_path, content):
    cache = tmp_path / "cache"
    first = weights_digest(str(folder), cache)
    note = next((cache / "weights").iterdir())
    note.write_text(content)
    assert weights_digest(str(folder), cache) == first
    assert "sha256" in note.read_text()


def test_digest_when_the_cache_cannot_be_written_then_it_still_comes(folder, tmp_path):
    (tmp_path / "file").write_text("")
    assert weights_digest(str(folder), tmp_path / "file") == weights_digest(str(folder), tmp_path / "cache")


def test_digest_when_there_are_no_weights_then_says_what_to_set(tmp_path):
    with pytest.raises(
        RecipeError,
        match=r"nowhere' do not exist. Copy them there \(nothing is downloaded\), or set stages.predict_mono_depth.weights",
    ):
        weights_digest(str(tmp_path / "nowhere"), tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    with pytest.raises(
        RecipeError, match=r"the folder has no file that ends in .safetensors, .bin, .pt or .pth. Give the folder"
    ):
        weights_digest(str(tmp_path / "empty"), tmp_path / "cache")


def test_digest_when_a_letter_of_the_note_is_another_then_is_made_again(folder, tmp_path):
    cache = tmp_path / "cache"
    first = weights_digest(str(folder), cache)
    note = next((cache / "weights").iterdir())
    text = note.read_text()
    digest = hashlib.sha256(b"weights").hexdigest()
    note.write_text(text.replace(digest, digest[::-1]))
    assert weights_digest(str(folder), cache) == first
    assert note.read_text() == text
