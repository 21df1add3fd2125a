"""The index is of the tables as they are, and a damaged one is made anew, without a word and with the same plan."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline.sources.nuscenes import index_cache
from pipeline.sources.nuscenes.config import NuScenesConfig
from pipeline.sources.nuscenes.source import NuScenesSource


@pytest.fixture
def root(tiny_root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_root, tmp_path / "data"))


def opened(root: Path, tmp_path: Path) -> NuScenesSource:
    return NuScenesSource(NuScenesConfig(kind="nuscenes", root=str(root), version="v1.0-mini"), tmp_path / "cache")


def index_of(tmp_path: Path) -> Path:
    (folder,) = (path for path in (tmp_path / "cache/index").iterdir() if path.is_dir())
    return folder


def content_of(source: NuScenesSource) -> tuple[object, ...]:
    reader = source.reader()
    return source.scenes(), [reader.scene_tables(scene.name) for scene in source.scenes()]


DAMAGE = {
    "nothing": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "cut by a byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "an empty list": lambda path: path.write_text("[]"),
    "an empty object": lambda path: path.write_text("{}"),
    "brackets": lambda path: path.write_text("[" * 100_000),
    "noise": lambda path: path.write_bytes(os.urandom(path.stat().st_size)),
    "a bit flipped": lambda path: flip(path),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("file", ["scenes.json", "keyframes.parquet", "sweeps.parquet", "boxes.parquet", "whole.json"])
def test_index_when_a_file_of_it_is_damaged_then_it_is_made_anew(root, tmp_path, file, damage):
    before = content_of(opened(root, tmp_path))
    DAMAGE[damage](index_of(tmp_path) / file)
    assert content_of(opened(root, tmp_path)) == before
    assert index_cache.is_whole(index_of(tmp_path))


def test_index_when_a_table_is_replaced_by_one_of_the_same_size_and_time_then_the_change_is_seen(root, tmp_path, monkeypatch):
    monkeypatch.setattr(index_cache, "UNSETTLED_NS", 0)  # so that the digest of the first table is kept
    table = root / "v1.0-mini/calibrated_sensor.json"
    before, status = opened(root, tmp_path).scenes(), table.stat()
    opened(root, tmp_path).scenes()
    text = table.read_text()
    records = json.loads(text)
    translation = json.dumps(records[0]["translation"])
    other = translation.replace(translation[1], "8" if translation[1] != "8" else "7", 1)
    table.write_text(text.replace(translation, other))
    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (table.stat().st_size, table.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert [scene.digest for scene in opened(root, tmp_path).scenes()] != [scene.digest for scene in before]


def test_index_when_a_table_is_touched_only_then_it_is_not_made_anew(root, tmp_path):
    opened(root, tmp_path).scenes()
    made = (index_of(tmp_path) / "whole.json").stat().st_mtime_ns
    os.utime(root / "v1.0-mini/sample.json", ns=(1, 1))
    opened(root, tmp_path).scenes()
    assert (index_of(tmp_path) / "whole.json").stat().st_mtime_ns == made


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}', "[" * 100_000, "null"])
def test_digests_of_tables_when_their_note_is_damaged_then_they_are_computed_again(root, tmp_path, content):
    before = content_of(opened(root, tmp_path))
    for note in (tmp_path / "cache/index").glob("tables-*.json"):
        note.write_text(content)
    assert content_of(opened(root, tmp_path)) == before


def test_digests_of_tables_when_a_table_is_as_last_time_then_it_is_not_read(root, tmp_path, monkeypatch):
    monkeypatch.setattr(index_cache, "UNSETTLED_NS", 0)
    opened(root, tmp_path).scenes()

    def refuse(path: Path) -> str:
        assert path.suffix != ".json" or path.parent.name != "v1.0-mini", f"{path} is read again"
        return digest_of_file(path)

    digest_of_file = index_cache.digest_of_file
    monkeypatch.setattr(index_cache, "digest_of_file", refuse)
    opened(root, tmp_path).scenes()


def test_run_when_the_index_is_cut_while_it_is_read_then_an_error_that_says_what_to_do(root, tmp_path):
    from storage_schemas.errors import StoreError

    source = opened(root, tmp_path)
    reader = source.reader()
    (index_of(tmp_path) / "sweeps.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"the index cache '.*sweeps.parquet' is damaged or gone: .* Run the same command again"):
        reader.scene_tables(source.scenes()[0].name)


def test_digests_of_tables_when_a_letter_of_their_note_is_another_then_they_are_computed_again(root, tmp_path, monkeypatch):
    monkeypatch.setattr(index_cache, "UNSETTLED_NS", 0)
    before = content_of(opened(root, tmp_path))
    (note,) = (tmp_path / "cache/index").glob("tables-*.json")
    text = note.read_text()
    digest = next(kept[1] for kept in json.loads(text).values() if isinstance(kept, list))
    note.write_text(text.replace(digest, digest[::-1]))
    assert content_of(opened(root, tmp_path)) == before
    assert note.read_text() == text
