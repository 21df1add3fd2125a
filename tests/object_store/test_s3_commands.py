"""The commands on ``store: s3://...``, damage and repair, and what they cost in requests."""

from __future__ import annotations

import json
import shutil

import pytest

from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from pipeline.verify import all_units
from storage_schemas.catalog import known_layouts
from storage_schemas.dataset import open_dataset
from storage_schemas.lineage import LINEAGE_FILE
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store, UnitPath
from storage_schemas.unit_listing import list_units
from tests.flows.test_cli import BARE, digests
from tests.object_store.test_whole_pipeline import unit_files
from tests.process_tree import wait_until


@pytest.fixture
def built(tiny_root, tiny_store, write_recipe, bucket):
    """A filled store and its recipe."""
    store, local = Store(f"s3://{bucket}/store"), Store(tiny_store)
    keys = [key for path in all_units(local) for key in local.files.keys(path.key)]
    store.files.filesystem.pipe({store.files.path(key): local.files.get(key) for key in keys})
    return write_recipe(tiny_root, store=store.root), store


@pytest.fixture
def built_locally(tiny_root, tiny_store, write_recipe, tmp_path):
    """The same on a disk."""
    shutil.copytree(tiny_store, tmp_path / "store")
    return write_recipe(tiny_root), Store(tmp_path / "store")


def test_commands_when_store_is_remote_then_answer_as_for_a_local_one(
    built, depthmill, tmp_path, tiny_store, tiny_root, write_recipe
):
    recipe, store = built
    manifest = open_manifest(store)
    code, text = depthmill("status", recipe)
    assert code == 0, text
    assert "13 of 13 up to date" in text
    assert depthmill("verify", recipe)[1].startswith("13 units")
    code, text = depthmill("inspect", store.root)
    assert "depth_accumulated       2 units" in text
    assert "made by build_manifest v1" in depthmill("inspect", recipe, manifest.path.key)[1]
    assert json.loads(depthmill("inspect", store.root, manifest.rows()[0]["frame_key"], "--json")[1])["scene"] == "scene-0061"
    code, text = depthmill("report", recipe, "--out", tmp_path / "remote.html")
    assert code == 0, text
    code, text = depthmill("prune", recipe)
    assert text.strip() == "0 units no manifest names; --delete removes them"
    code, text = depthmill("export", store.root, "--out", tmp_path / "out")
    assert code == 0, text
    code, text = depthmill("export", tiny_store, "--out", tmp_path / "local")
    assert code == 0, text
    assert digests(tmp_path / "out/data") == digests(tmp_path / "local/data")
    code, text = depthmill("import", tmp_path / "out", "--store", f"{store.root}-imported")
    assert code == 0, text
    assert "imported 4 samples as manifest" in text
    assert open_dataset(manifest)["depth_clean_m"].isel(frame=0).notnull().any()


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        pytest.param("remote", "bit", marks=pytest.mark.slow),
        ("local", "bit"),
        ("local", "cut lineage"),
        ("local", "lost file"),
        pytest.param("remote", "cut lineage", marks=pytest.mark.slow),
        pytest.param("remote", "lost file", marks=pytest.mark.slow),
    ],
)
def test_unit_when_damaged_then_verify_finds_it_and_run_repairs_it(kind, damage, request, depthmill):
    recipe, store = request.getfixturevalue("built" if kind == "remote" else "built_locally")
    before = unit_files(store)
    path = sorted(store.units("depth_clean"))[0]
    key = f"{path.key}/{LINEAGE_FILE if damage == 'cut lineage' else 'depth_m/c/0/0/0'}"
    content = bytearray(store.files.get(key))
    if damage == "bit":
        content[len(content) // 2] ^= 1
        store.files.put(key, bytes(content))
    elif damage == "cut lineage":
        store.files.put(key, bytes(content[:100]))
    else:
        store.files.remove(key)
    code, text = depthmill("verify", recipe)
    assert code == 1
    assert f"FAULT {path.key}" in text
    assert {"bit": "content differs from what was written (sha256)", "cut lineage": "is damaged", "lost file": "file missing"}[
        damage
    ] in text
    assert (
        "1 fault, 1 unit damaged\nNext: the same command with --delete-damaged, then depthmill run, which makes them again"
        in text
    )
    assert path in store.marked("depth_clean")  # nothing is deleted unasked
    code, text = depthmill("verify", recipe, "--delete-damaged")
    assert code == 1
    assert f"deleted {path.key}\nNext: depthmill run makes them again, with the same bytes" in text
    code, text = depthmill("run", recipe, *BARE)
    assert (code, "done: 1 ok" in text) == (0, True), text
    assert depthmill("verify", recipe)[0] == 0
    assert unit_files(store) == before


def test_manifest_when_missing_then_plan_says_so_and_run_makes_the_same(built_locally, depthmill):
    recipe, store = built_locally
    path = open_manifest(store).path
    store.files.remove_tree(path.key)
    assert "build_manifest             0      1  new" in depthmill("plan", recipe)[1]
    code, text = depthmill("export", recipe, "--out", "out")
    assert code == 2
    assert "the manifest of this recipe is not there yet (new). Run depthmill run first" in text
    assert depthmill("run", recipe, *BARE)[0] == 0
    assert open_manifest(store).path == path


def test_verify_when_a_newer_depthmill_wrote_then_does_not_delete(built_locally, depthmill):
    recipe, store = built_locally
    path = sorted(store.units("depth_clean"))[0]
    record = json.loads(store.files.get(f"{path.key}/{LINEAGE_FILE}"))
    record["identity"]["layout_version"] = 99
    store.files.put(f"{path.key}/{LINEAGE_FILE}", json.dumps(record).encode())
    code, text = depthmill("verify", recipe, "--delete-damaged")
    assert code == 1
    assert "1 fault, 0 units damaged\nNext: do what the FAULT lines say" in text
    assert store.has(path)


def test_prune_when_remote_then_deletes_only_what_nothing_names(built, depthmill):
    recipe, store = built
    assert depthmill("run", recipe, *BARE, "--set", "stages.clean_horizon.near_m=5")[0] == 0
    store.files.remove_tree(open_manifest(store).path.key)
    code, text = depthmill("prune", recipe, "--delete")
    assert (
        "0 units no manifest names, deleted\nkept 2 units younger than 24h (--older-than), e.g. depth_clean/scene-0061/CAM_FRONT/"
        in text
    )
    code, text = depthmill("prune", recipe, "--delete", "--older-than", "0")
    assert "2 units no manifest names, deleted" in text
    assert len(store.units("depth_clean")) == 2
    assert depthmill("verify", recipe)[0] == 0


def put_again_later(store: Store, path: UnitPath) -> None:
    """Write a commit mark again, until the server says that it is younger than all others: its clock ticks in whole seconds."""

    def is_youngest() -> bool:
        store.files.put(f"{path.key}/{LINEAGE_FILE}", store.files.get(f"{path.key}/{LINEAGE_FILE}"))
        marks = list_units(store, known_layouts()).marks
        return all(mark.written < marks[path].written for other, mark in marks.items() if other != path)

    wait_until(is_youngest, "the server's clock has moved on")


def test_requests_when_counted_then_are_as_documented(built, proxy, bucket, depthmill, monkeypatch):
    """docs/operations/object-store.md states these; a new request in a loop is a bill at the end of the month."""
    recipe, store = built
    path = sorted(store.units("depth_clean"))[0]
    data, record = store.read_unit(path), store.lineage(path)
    proxy.forget()
    Store(f"s3://{bucket}/other").write_unit(record.identity, data, seconds=0, counts={})
    assert dict(proxy.requests) == {"PUT": len(record.files) + 1}
    proxy.forget()
    assert depthmill("plan", recipe, "--check")[0] == 0
    assert dict(proxy.requests) == {"GET": 13}
    put_again_later(store, open_manifest(store).path)
    monkeypatch.setattr("storage_schemas.unit_listing.LISTED_FROM", 13)
    proxy.forget()
    assert depthmill("plan", recipe, "--check")[0] == 0
    assert dict(proxy.requests) == {
        "LIST": 7,
        "GET": 2,
    }  # one listing a store; marks of the manifest and of what none names: itself
    loader = FrameLoader(open_manifest(store), DataConfig(batch_size=2))
    list(loader)  # opens units
    proxy.forget()
    loader.set_epoch(0)
    assert sum(len(batch.frame_keys) for batch in loader) == 2
    assert dict(proxy.requests) == {"GET": 3}  # image, target and single-sweep map of two neighbouring frames: one piece each
