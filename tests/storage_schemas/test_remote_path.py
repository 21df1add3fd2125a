"""Folders and files at a URL answer as those on a disk do; on fsspec's file system in memory."""

from __future__ import annotations

import pickle
import uuid
from pathlib import Path

import fsspec
import pytest

from storage_schemas.errors import SourceError
from storage_schemas.regular_files import open_regular, read_regular, read_text
from storage_schemas.remote_data import common_beginning
from storage_schemas.remote_path import DataPath, RemotePath, data_path, fetch_all, file_size, folder_names

CONTENTS = {
    "v1/scene.json": b"[]",
    "v1/sample_data.json": b"[{}]",
    "samples/CAM/a.jpg": b"a" * 10,
    "samples/CAM/b.jpg": b"b" * 20,
    "samples/LIDAR/a.bin": b"c" * 9000,
    "list.txt": b"one\r\ntwo\n",
}


@pytest.fixture(params=["disk", "url"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> DataPath:
    """The same data set in two places."""
    if request.param == "disk":
        for name, content in CONTENTS.items():
            (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / name).write_bytes(content)
        return data_path(str(tmp_path / "data"), tmp_path / "cache")
    url = f"memory://bucket-{uuid.uuid4().hex[:8]}/data"
    for name, content in CONTENTS.items():
        fsspec.filesystem("memory").pipe_file(f"{url}/{name}", content)
    return data_path(url, tmp_path / "cache")


def test_path_when_asked_then_answers_as_a_path_on_a_disk(root: DataPath) -> None:
    assert folder_names(root) == ["list.txt", "samples", "v1"]
    assert folder_names(root / "samples" / "CAM") == ["a.jpg", "b.jpg"]
    assert folder_names(root / "none") == []
    assert (root.is_dir(), (root / "v1").is_dir(), (root / "list.txt").is_dir(), (root / "none").is_dir()) == (
        True,
        True,
        False,
        False,
    )
    assert ((root / "list.txt").is_file(), (root / "v1").is_file(), (root / "none").is_file()) == (True, False, False)
    assert ((root / "v1").exists(), (root / "list.txt").exists(), (root / "none").exists()) == (True, True, False)
    assert [str(path) for path in root.glob("*/sample_data.json")] == [f"{root}/v1/sample_data.json"]
    assert sorted(path.name for path in (root / "samples/CAM").glob("*.jpg")) == ["a.jpg", "b.jpg"]
    assert [path.name for path in root.glob("*/CAM")] == ["CAM"]
    assert sorted(path.name for path in (root / "samples").iterdir()) == ["CAM", "LIDAR"]
    file = root / "samples/CAM/a.jpg"
    assert (file.name, file.stem, str(file.parent), file_size(file)) == ("a.jpg", "a", f"{root}/samples/CAM", 10)
    assert (root / "v1").parent == root


def test_file_when_read_then_has_its_content_and_errors_are_those_of_a_disk(root: DataPath) -> None:
    assert read_regular(root / "samples/LIDAR/a.bin") == CONTENTS["samples/LIDAR/a.bin"]
    assert read_text(root / "list.txt") == "one\ntwo\n"
    with open_regular(root / "samples/LIDAR/a.bin", most_bytes=10_000) as stream:
        stream.seek(8990)
        assert stream.read(100) == b"c" * 10
    with pytest.raises(FileNotFoundError):
        read_regular(root / "none.txt")
    with pytest.raises(SourceError, match=r"a.bin' has 9,000 bytes, expected at most 10"):
        open_regular(root / "samples/LIDAR/a.bin", most_bytes=10)


def test_file_when_it_changes_then_the_next_opening_reads_what_is_there_now(tmp_path: Path) -> None:
    url, memory = f"memory://bucket-{uuid.uuid4().hex[:8]}", fsspec.filesystem("memory")
    memory.pipe_file(f"{url}/data/a", b"first content")
    assert read_regular(data_path(f"{url}/data", tmp_path) / "a") == b"first content"
    memory.pipe_file(f"{url}/data/a", b"other content")
    assert read_regular(data_path(f"{url}/data", tmp_path) / "a") == b"other content"


def test_large_file_when_it_changes_while_it_is_fetched_then_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, memory = f"memory://bucket-{uuid.uuid4().hex[:8]}", fsspec.filesystem("memory")
    monkeypatch.setattr("storage_schemas.remote_data.PIECE_BYTES", 100)
    memory.pipe_file(f"{url}/data/a", b"x" * 950)
    path = data_path(f"{url}/data", tmp_path) / "a"
    assert isinstance(path, RemotePath)
    assert path.read_bytes() == b"x" * 950
    whole = path.data.files.get_range

    def change_then_get(key: str, start: int, stop: int) -> bytes:
        if start == 0:
            memory.pipe_file(f"{url}/data/a", b"y" * 950)
        return whole(key, start, stop)

    memory.pipe_file(f"{url}/data/a", b"z" * 950)
    path = data_path(f"{url}/data", tmp_path) / "a"
    monkeypatch.setattr(path.data.files, "get_range", change_then_get)
    with pytest.raises(
        SourceError, match=r"a' has changed while it was fetched. Run the same command again when nobody writes there"
    ):
        path.read_bytes()
    assert (data_path(f"{url}/data", tmp_path) / "a").read_bytes() == b"y" * 950


def test_head_when_a_copy_is_there_or_not_then_is_the_beginning(tmp_path: Path) -> None:
    url = f"memory://bucket-{uuid.uuid4().hex[:8]}"
    content = bytes(range(256)) * 40
    fsspec.filesystem("memory").pipe_file(f"{url}/a", content)
    path = data_path(url, tmp_path) / "a"
    assert isinstance(path, RemotePath)
    for _ in range(2):
        assert path.read_head() == content[:4096]
    path.read_bytes()
    assert path.read_head() == content[:4096]


def test_path_when_pickled_then_reads_and_looks_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"memory://bucket-{uuid.uuid4().hex[:8]}"
    fsspec.filesystem("memory").pipe_file(f"{url}/data/a", b"content")
    path = data_path(f"{url}/data", tmp_path)
    assert isinstance(path, RemotePath)
    assert folder_names(path) == ["a"]
    fsspec.filesystem("memory").pipe_file(f"{url}/data/b", b"new")
    monkeypatch.setenv("DEPTHMILL_RAW_CACHE_DIR", str(tmp_path / "of this worker"))
    sent = pickle.loads(pickle.dumps(path))
    assert folder_names(sent) == ["a", "b"]
    assert (path.data.cache.folder, sent.data.cache.folder) == (tmp_path / "raw", tmp_path / "of this worker")
    assert (sent / "b").read_bytes() == b"new"


def test_files_when_fetched_ahead_then_missing_ones_are_left_to_the_reader(tmp_path: Path) -> None:
    url = f"memory://bucket-{uuid.uuid4().hex[:8]}"
    fsspec.filesystem("memory").pipe_file(f"{url}/data/a", b"content")
    root = data_path(f"{url}/data", tmp_path)
    fetch_all([root / "a", root / "none", tmp_path / "local"], RemotePath.read_bytes)
    with pytest.raises(FileNotFoundError):
        read_regular(root / "none")


def test_root_when_it_cannot_be_one_then_says_why(tmp_path: Path) -> None:
    assert data_path("file:///tmp/x", tmp_path) == Path("/tmp/x")
    with pytest.raises(
        SourceError,
        match="source root 's3://' names no bucket. Set source.root in the recipe to a URL such as s3://bucket/folder",
    ):
        data_path("s3://", tmp_path)
    with pytest.raises(SourceError, match="'::' chains file systems, and a data set lies in one"):
        data_path("simplecache::s3://bucket/x", tmp_path)


def test_beginning_when_names_share_it_then_is_that() -> None:
    assert common_beginning(["a/x12", "a/x13", "a/x1"]) == "a/x1"
    assert common_beginning(["a", "b"]) == ""
