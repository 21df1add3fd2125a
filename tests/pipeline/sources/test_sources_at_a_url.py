"""Every kind of source reads a URL as it reads a disk: the same scenes, digests, tables and bytes; on a file system in memory."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipeline.recipe import parse_recipe, wanted_files
from pipeline.sources import open_source
from pipeline.sources.kitti_object.init import survey as survey_kitti
from pipeline.sources.nuscenes.init import survey as survey_nuscenes
from pipeline.sources.raw_files import RawFiles
from pipeline.sources.zju_4dradarcam.init import survey as survey_zju
from pipeline.wanted_files import WantedFiles
from storage_schemas.errors import RecipeError, SourceError
from storage_schemas.files import StoreFiles
from storage_schemas.remote import open_filesystem
from storage_schemas.remote_path import data_path
from storage_schemas.retries import RetryPolicy
from tests.tiny_kitti import write_tiny_kitti
from tests.tiny_nuscenes import write_tiny_nuscenes
from tests.tiny_zju import write_tiny_zju


def upload(root: Path, url: str) -> str:
    """Put every file of a folder below a URL."""
    files = {f"{url}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    open_filesystem(url, RetryPolicy()).pipe(files)
    return url


WRITERS: dict[str, Callable[[Path], Path]] = {
    "nuscenes": write_tiny_nuscenes,
    "kitti_object": lambda root: write_tiny_kitti(root, velodyne=True),
    "zju_4dradarcam": write_tiny_zju,
}
SURVEYS: dict[str, Callable[..., Any]] = {"nuscenes": survey_nuscenes, "kitti_object": survey_kitti, "zju_4dradarcam": survey_zju}


@pytest.fixture(scope="module", params=list(WRITERS))
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """Kind of source, a data set on a disk, and the same at a URL."""
    root = WRITERS[request.param](tmp_path_factory.mktemp("raw") / "data")
    return request.param, str(root), upload(root, f"memory://bucket-{uuid.uuid4().hex[:8]}/some/data")


def opened(kind: str, root: str, cache: Path) -> Any:
    source: dict[str, object] = {"kind": kind, "root": root}
    if kind == "nuscenes":
        source["version"] = "v1.0-mini"
    recipe = parse_recipe({"source": source, "store": "x"}, where="test")
    return open_source(recipe.source, cache, wanted_files(recipe))


def test_source_when_at_a_url_then_scenes_tables_and_bytes_are_those_of_a_disk(
    both: tuple[str, str, str], tmp_path: Path
) -> None:
    kind, root, url = both
    local, remote = opened(kind, root, tmp_path / "a"), opened(kind, url, tmp_path / "b")
    assert remote.scenes() == local.scenes()  # with their digests, which decide the fingerprints
    assert remote.release == local.release
    here: RawFiles = local.reader()
    there: RawFiles = pickle.loads(pickle.dumps(remote.reader()))  # as a worker gets it
    wanted = [WantedFiles({"CAM_FRONT": "keyframes", "LIDAR_TOP": "all"}), WantedFiles({"LIDAR_TOP": "all"})]
    for scene in local.scenes():
        assert repr(there.scene_tables(scene.name)) == repr(here.scene_tables(scene.name))  # type: ignore[attr-defined]
        files = list(dict.fromkeys(there.files_of(scene.name, wanted)))
        assert files == list(dict.fromkeys(here.files_of(scene.name, wanted)))
        assert len(files) > 3
        with there.reading_ahead(scene.name, wanted), here.reading_ahead(scene.name, wanted):
            for file in files:
                assert there.read_bytes(file) == here.read_bytes(file)
        assert there.digest_of(file for file in files if here.read_bytes(file)) == here.digest_of(
            file for file in files if here.read_bytes(file)
        )


def test_data_set_when_looked_at_for_init_then_found_and_described_as_on_a_disk(
    both: tuple[str, str, str], tmp_path: Path
) -> None:
    from flows.new_recipe.recognise import kind_of

    kind, root, url = both
    here, there = data_path(root, tmp_path), data_path(url, tmp_path)
    found = kind_of(there)
    assert found is not None and found.kind == kind
    local, remote = SURVEYS[kind](here, None), SURVEYS[kind](there, None)
    assert remote.summary == local.summary
    assert [(key.replace(url, root), why) for key, why in remote.lines("s", "")] == local.lines("s", "")


def test_source_when_opened_again_then_nothing_is_fetched(
    both: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, _, url = both
    first = opened(kind, url, tmp_path).scenes()
    read: list[str] = []
    for name in ("get", "get_range"):
        method = getattr(StoreFiles, name)
        monkeypatch.setattr(StoreFiles, name, lambda files, key, *args, m=method: read.append(key) or m(files, key, *args))
    assert opened(kind, url, tmp_path).scenes() == first
    assert read == []


def test_tables_when_they_change_at_the_url_then_the_index_is_made_anew(tmp_path: Path) -> None:
    root = write_tiny_nuscenes(tmp_path / "data")
    url = upload(root, f"memory://bucket-{uuid.uuid4().hex[:8]}/data")
    before = opened("nuscenes", url, tmp_path / "cache").scenes()
    table = "v1.0-mini/scene.json"
    fsspec.filesystem("memory").pipe_file(f"{url}/{table}", (root / table).read_bytes().replace(b"scene-0061", b"scene-0999"))
    after = opened("nuscenes", url, tmp_path / "cache").scenes()
    assert [scene.name for scene in before] == ["scene-0061", "scene-0103"]
    assert [scene.name for scene in after] == ["scene-0999", "scene-0103"]


def test_file_when_it_goes_and_comes_back_then_the_scene_is_left_out_only_meanwhile(tmp_path: Path) -> None:
    root = write_tiny_nuscenes(tmp_path / "data")
    url = upload(root, f"memory://bucket-{uuid.uuid4().hex[:8]}/data")
    memory = fsspec.filesystem("memory")
    gone = sorted(memory.find(f"{url}/samples/CAM_FRONT"))[:3]
    contents = {path: memory.cat_file(path) for path in gone}
    for path in gone:
        memory.rm_file(path)
    assert [bool(scene.left_out) for scene in opened("nuscenes", url, tmp_path / "cache").scenes()] == [True, False]
    memory.pipe(contents)
    assert [bool(scene.left_out) for scene in opened("nuscenes", url, tmp_path / "cache").scenes()] == [False, False]


def test_reader_when_a_file_is_missing_or_empty_then_says_its_url(tmp_path: Path) -> None:
    url = f"memory://bucket-{uuid.uuid4().hex[:8]}/data"
    fsspec.filesystem("memory").pipe({f"{url}/empty": b"", f"{url}/pointer": b"version https://git-lfs.github.com/spec/v1\n"})
    reader = RawFiles(data_path(url, tmp_path))
    with pytest.raises(SourceError, match=f"file missing: {url}/none. Upload it, then run the same command"):
        reader.read_bytes("none")
    with pytest.raises(SourceError, match=rf"file '{url}/empty' is empty \(0 bytes\). Upload it again"):
        reader.read_bytes("empty")
    with pytest.raises(SourceError, match=f"file '{url}/pointer' is a Git LFS pointer"):
        reader.read_bytes("pointer")
    with pytest.raises(SourceError, match="does not lie below the data root"):
        reader.read_bytes("../secret")


def test_root_when_nothing_lies_there_then_says_so_as_for_a_folder(tmp_path: Path) -> None:
    for kind in WRITERS:
        with pytest.raises(SourceError, match=r"source root 'memory://nowhere/x' does not exist. Set source.root in the recipe"):
            opened(kind, "memory://nowhere/x", tmp_path)


def test_what_is_written_or_mapped_when_at_a_url_then_is_refused(tmp_path: Path) -> None:
    from pipeline.mono_depth.maps import map_files

    with pytest.raises(
        SourceError, match=r"source root 's3://bucket/world' is a URL, and a simulated world is written to a disk"
    ):
        opened("synthetic", "s3://bucket/world", tmp_path)
    with pytest.raises(RecipeError, match=r"depth maps 's3://bucket/maps' are at a URL, and are read from a disk. Copy them"):
        map_files("s3://bucket/maps")
