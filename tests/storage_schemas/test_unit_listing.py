"""What a listing is believed: never an empty or a cut commit mark, and no more requests than that takes."""

from __future__ import annotations

import uuid

import pytest

from storage_schemas import unit_listing
from storage_schemas.errors import StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.lineage import LINEAGE_FILE, Identity, LineageRecord
from storage_schemas.store import Store, UnitPath
from storage_schemas.unit_listing import committed_units, list_units, marked_units, read_committed


def commit(store: Store, identity: Identity) -> UnitPath:
    """Write a commit mark alone."""
    path = UnitPath.of(identity)
    record = LineageRecord(
        identity=identity, fingerprint=path.fingerprint, files={}, counts={}, seconds=0, written_utc="2026-11-30T00:00:00+00:00",
        provenance={},
    )  # fmt: skip
    store.files.put(f"{path.key}/{LINEAGE_FILE}", record.to_json())
    return path


def identity(scene: str, *, layout: str = "depth_single", inputs: dict[str, str] | None = None) -> Identity:
    camera = "all" if layout == "manifest" else "CAM_FRONT"
    return Identity(
        stage="s", stage_version=1, layout=layout, layout_version=1, scene=scene, camera=camera, params={}, inputs=inputs or {},
        source=None,
    )  # fmt: skip


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(unit_listing, "LISTED_FROM", 0)
    return Store(f"memory://listing-{uuid.uuid4().hex[:8]}/store")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that were read."""
    keys: list[str] = []
    get = StoreFiles.get

    def note(files: StoreFiles, key: str) -> bytes:
        keys.append(key)
        return get(files, key)

    monkeypatch.setattr(StoreFiles, "get", note)
    return keys


def manifest_of(store: Store, paths: list[UnitPath]) -> UnitPath:
    return commit(
        store, identity("all", layout="manifest", inputs={path.key.rsplit("/", 1)[0]: path.fingerprint for path in paths})
    )


def test_units_when_a_younger_manifest_names_them_then_only_the_manifest_is_read(store: Store, reads: list[str]) -> None:
    paths = [commit(store, identity(f"scene-{number}")) for number in range(20)]
    manifest = manifest_of(store, paths)
    committed, listing = committed_units(store, [*paths, UnitPath("depth_single", "scene-x", "CAM_FRONT", "0" * 16)])
    assert committed == set(paths)
    assert listing is not None and set(listing.marks) == {*paths, manifest}
    assert reads == [f"{manifest.key}/{LINEAGE_FILE}"]


def test_marks_when_empty_cut_or_younger_than_the_manifest_then_are_looked_at(store: Store, reads: list[str]) -> None:
    paths = [commit(store, identity(f"scene-{number}")) for number in range(5)]
    manifest_of(store, paths)
    content = store.files.get(f"{paths[0].key}/{LINEAGE_FILE}")
    store.files.put(f"{paths[0].key}/{LINEAGE_FILE}", b"")
    store.files.put(f"{paths[1].key}/{LINEAGE_FILE}", content[:100])
    store.files.put(f"{paths[2].key}/{LINEAGE_FILE}", store.files.get(f"{paths[2].key}/{LINEAGE_FILE}"))
    new = commit(store, identity("scene-new"))
    reads.clear()
    committed, listing = committed_units(store, [*paths, new])
    assert committed == {*paths[2:], new}
    assert sorted(key.split("/")[1] for key in reads) == ["all", "scene-1", "scene-2", "scene-new"]
    assert listing is not None
    assert marked_units(store, ["depth_single"]) == {*paths, new}  # prune and verify see those that cannot be read, too


def test_manifest_when_cut_or_damaged_then_stands_for_nothing(store: Store, reads: list[str]) -> None:
    paths = [commit(store, identity(f"scene-{number}")) for number in range(3)]
    manifest = manifest_of(store, paths)
    key = f"{manifest.key}/{LINEAGE_FILE}"
    store.files.put(key, store.files.get(key)[:-20])
    reads.clear()
    assert committed_units(store, paths)[0] == set(paths)
    assert len(reads) == 4


def test_times_when_the_server_gives_none_then_every_mark_is_read(
    store: Store, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [commit(store, identity(f"scene-{number}")) for number in range(3)]
    manifest_of(store, paths)
    monkeypatch.setattr("storage_schemas.remote_listing._TIMES", ())
    assert committed_units(store, paths)[0] == set(paths)
    assert sorted(key.split("/")[1] for key in reads) == ["scene-0", "scene-1", "scene-2"]


def test_listing_when_a_unit_has_no_mark_then_it_has_a_time_and_no_mark(store: Store) -> None:
    path = UnitPath("depth_single", "scene-1", "CAM_FRONT", "0" * 16)
    store.files.put(f"{path.key}/zarr.json", b"{}")
    store.files.put("depth_single/scene-1/stray", b"")
    listing = list_units(store, ["depth_single", "frames"])
    assert not listing.marks
    (found, written), *more = listing.newest.items()
    assert (found, more) == (path, [])
    assert isinstance(written, float)


def test_few_units_when_asked_for_then_nothing_is_listed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_listing, "LISTED_FROM", 256)
    path = commit(store, identity("scene-1"))
    absent = UnitPath("depth_single", "scene-2", "CAM_FRONT", "0" * 16)
    assert committed_units(store, [path, absent]) == ({path}, None)


@pytest.mark.parametrize("kind", ["disk", "url"])
def test_lineages_when_read_then_cut_ones_are_left_out_and_damaged_ones_say_why(kind: str, store: Store, tmp_path) -> None:
    store = store if kind == "url" else Store(tmp_path)
    whole, cut, damaged = (commit(store, identity(f"scene-{number}")) for number in range(3))
    for path, content in ((cut, b'{"identity": '), (damaged, b'{\n "identity": 3\n}')):
        store.files.put(f"{path.key}/{LINEAGE_FILE}", content)
    records = read_committed(store, [whole, cut, damaged, UnitPath("depth_single", "none", "CAM_FRONT", "0" * 16)])
    assert set(records) == {whole, damaged}
    assert isinstance(records[damaged], StoreError) and "is damaged" in str(records[damaged])
