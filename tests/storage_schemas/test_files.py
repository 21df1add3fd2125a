from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from storage_schemas.errors import StoreAccessError, StoreError
from storage_schemas.files import StoreFiles, folder_written_whole, written_whole
from tests.flows.test_cli import BARE


@pytest.fixture(params=["path", "file", "memory"])
def files(request, tmp_path):
    roots = {"path": str(tmp_path / "s"), "file": f"file://{tmp_path / 's'}", "memory": f"memory://{tmp_path.name}/s"}
    return StoreFiles(roots[request.param])


def test_files_when_written_then_listed_read_and_deleted_the_same_everywhere(files):
    files.put("a/one", b"1")
    files.put("a/b/two", b"22")
    files.put("a/b/two", b"222")
    assert files.get("a/b/two") == b"222"
    assert (files.exists("a/one"), files.exists("a/b"), files.exists("a/none")) == (True, False, False)
    assert files.names("a") == ["b", "one"]
    assert files.names("none") == []
    assert files.keys("a") == files.keys("") == ["a/b/two", "a/one"]
    assert files.keys("a/b") == ["a/b/two"]
    assert files.keys("none") == []
    with pytest.raises(FileNotFoundError):
        files.get("a/none")
    files.remove("a/one")
    files.remove("a/one")
    files.remove_tree("a")
    files.remove_tree("a")
    assert files.keys("") == []


def test_tree_when_its_name_looks_like_a_pattern_then_only_it_is_deleted(files):
    files.put("scene[1]/x", b"")
    files.put("scene1/x", b"")
    files.remove_tree("scene[1]")
    assert files.keys("") == ["scene1/x"]


@pytest.mark.parametrize(
    ("number", "said"), [(errno.EACCES, "permission denied. Ask for read permission"), (errno.EIO, "Check the disk")]
)
def test_local_file_when_the_disk_refuses_then_nothing_is_known_about_it(number, said, tmp_path, monkeypatch):
    files = StoreFiles(tmp_path)
    files.put("a", b"")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("storage_schemas.files.open_regular", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    for doing, action in (("read", lambda: files.get("a")), ("list", lambda: files.names(""))):
        with pytest.raises(StoreAccessError, match=f"cannot {doing} '.*{said}"):
            action()


def test_local_tree_when_it_cannot_be_deleted_then_says_so(tmp_path, monkeypatch):
    files = StoreFiles(tmp_path)
    files.put("unit/lineage.json", b"")
    with monkeypatch.context() as patch:

        def deny(path: Path) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        patch.setattr("shutil.rmtree", deny)
        files.put("unit/a", b"")
        with pytest.raises(StoreAccessError, match="cannot delete '.*/unit': Permission denied. Give this user write permission"):
            files.remove_tree("unit")
        assert files.names("unit") == ["a", "lineage.json"]  # a unit that cannot go stays where it was

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(
        StoreAccessError, match="cannot delete '.*': Read-only file system. Give this user write permission on the store"
    ):
        files.remove_tree("unit")


def test_store_when_its_path_is_not_utf8_then_every_unit_is_written_and_read(
    tiny_root, write_recipe, depthmill, tmp_path, monkeypatch
):
    folder = tmp_path / os.fsdecode(b"drives-\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    recipe = write_recipe(tiny_root, store="store").rename(folder / "recipe.yaml")
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert depthmill("verify", recipe)[0] == 0
    assert "13 of 13 up to date" in depthmill("status", recipe)[1]
    code, text = depthmill("inspect", folder / "none")
    assert code == 2
    assert "does not exist or is empty" in text


def test_url_when_it_is_not_utf8_then_says_so(depthmill):
    with pytest.raises(
        StoreError, match=r"store 's3://bucket/\\udcff' is not UTF-8, which a URL must be. Choose another 'store:'"
    ):
        StoreFiles(os.fsdecode(b"s3://bucket/\xff"))


def test_file_and_folder_when_writing_fails_then_the_former_ones_stay_and_nothing_is_beside_them(tmp_path):
    file, folder = tmp_path / "a" / "file", tmp_path / "a" / "folder"
    with written_whole(file) as stream:
        stream.write(b"former")
        assert not file.exists()
    folder.mkdir()
    with pytest.raises(RuntimeError, match="stopped"), written_whole(file, is_flushed=False) as stream:
        stream.write(b"half")
        raise RuntimeError("stopped")
    with pytest.raises(RuntimeError, match="stopped"), folder_written_whole(folder) as unfinished:
        (unfinished / "half").write_bytes(b"")
        raise RuntimeError("stopped")
    assert file.read_bytes() == b"former" and list(folder.iterdir()) == [] and sorted(file.parent.iterdir()) == [file, folder]
    with folder_written_whole(folder) as unfinished:
        (unfinished / "whole").write_bytes(b"")
    assert [path.name for path in folder.iterdir()] == ["whole"] and sorted(file.parent.iterdir()) == [file, folder]
