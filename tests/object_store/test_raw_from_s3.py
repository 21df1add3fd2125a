"""Raw data in a bucket: the same units as from a disk, whatever the server does on the way."""

from __future__ import annotations

import json

import pytest
import yaml

from pipeline.sources.raw_files import RawFiles
from storage_schemas.errors import StoreAccessError
from storage_schemas.files import StoreFiles
from storage_schemas.remote_path import data_path
from storage_schemas.store import Store
from tests.faulty_proxy import FAULTS
from tests.flows.test_cli import BARE
from tests.object_store.test_whole_pipeline import unit_files
from tests.pipeline.sources.test_sources_at_a_url import upload


@pytest.fixture
def raw_bucket(tiny_root, bucket, tmp_path, monkeypatch) -> str:
    """The tiny nuScenes database in a bucket, and an empty cache; its URL."""
    monkeypatch.setenv("DEPTHMILL_CACHE_DIR", str(tmp_path / "cache"))
    return upload(tiny_root, f"s3://{bucket}/raw")


def test_run_when_raw_data_is_in_a_bucket_and_requests_fail_then_units_are_those_of_a_local_copy(
    raw_bucket, tiny_store, depthmill, tmp_path, proxy
):
    code, text = depthmill("init", raw_bucket, "--out", "recipe.yaml", "--store", tmp_path / "store")
    assert code == 0, text
    assert "nuScenes format, v1.0-mini: 2 scenes" in text
    written = yaml.safe_load((tmp_path / "recipe.yaml").read_text())
    assert written["source"]["root"] == raw_bucket
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump({"source": written["source"], "store": written["store"]}))
    code, text = depthmill("doctor", "plain.yaml", "--json")
    (of_source,) = [line for line in json.loads(text) if line["about"] == "raw data"]
    assert of_source["is_ok"] and f"'{raw_bucket}' listed in " in of_source["says"], of_source
    proxy.fail_share(0.1, seed=4, kinds=FAULTS[:5])
    code, text = depthmill("run", "plain.yaml", *BARE)
    assert code == 0, text
    assert sum(proxy.faults.values()) > 3
    proxy.rule = lambda method, path: None
    assert unit_files(Store(tmp_path / "store")) == unit_files(Store(tiny_store))
    proxy.forget()
    assert depthmill("plan", "plain.yaml", "--check")[0] == 0
    assert set(proxy.requests) == {"LIST", "HEAD"} or set(proxy.requests) == {"LIST"}, proxy.log  # nothing is fetched again


def test_file_when_half_of_it_comes_each_time_then_says_url_and_attempts(raw_bucket, proxy, monkeypatch, tmp_path):
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "3")
    file = "v1.0-mini/scene.json"
    reader = RawFiles(data_path(raw_bucket, tmp_path))
    proxy.rule = lambda method, path: "cut" if method == "GET" and file in path else None
    with pytest.raises(StoreAccessError) as caught:
        reader.read_bytes(file)
    assert f"cannot read '{raw_bucket}/{file}': tried 3 times in " in str(caught.value)
    assert list((tmp_path / "raw").glob("*/*")) == []


def test_file_when_it_changed_since_it_was_listed_then_what_is_there_now_is_read(bucket, proxy, tmp_path):
    files = StoreFiles(f"s3://{bucket}/raw")
    files.put("a", b"first")
    files.put("b", b"other")
    reader = RawFiles(data_path(files.root, tmp_path))
    with reader.reading_ahead("", ()):
        reader.root.data.note_files(["raw/a", "raw/b"])
        files.put("a", b"second, longer")
        assert reader.read_bytes("a") == b"second, longer"
    assert RawFiles(data_path(files.root, tmp_path)).read_bytes("a") == b"second, longer"


def test_root_when_it_cannot_be_read_then_names_what_is_wrong(bucket, proxy, depthmill, tmp_path, fresh_clients, monkeypatch):
    monkeypatch.setenv("DEPTHMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "2")
    recipe = tmp_path / "recipe.yaml"

    def plan(root: str) -> str:
        source = {"kind": "nuscenes", "root": root, "version": "v1.0-mini"}
        recipe.write_text(yaml.safe_dump({"source": source, "store": str(tmp_path / "store")}))
        code, text = depthmill("plan", recipe)
        assert code != 0, text
        return text

    assert (
        "cannot list 's3://no-such-bucket-here/raw': bucket 'no-such-bucket-here' does not exist. Correct 'source.root' in the recipe"
    ) in plan("s3://no-such-bucket-here/raw")
    assert f"source root 's3://{bucket}/nothing' does not exist. Set source.root in the recipe" in plan(f"s3://{bucket}/nothing")
    proxy.rule = lambda method, path: "403:AccessDenied"
    assert f"cannot list 's3://{bucket}/raw': permission denied" in plan(f"s3://{bucket}/raw")
    proxy.rule = lambda method, path: "503"
    assert f"cannot list 's3://{bucket}/raw': tried 2 times in " in plan(f"s3://{bucket}/raw")
    code, text = depthmill("init", f"s3://{bucket}/raw", "--out", tmp_path / "new.yaml")
    assert code != 0
    assert f"cannot look up 's3://{bucket}/raw': tried 2 times in " in text
    assert not (tmp_path / "new.yaml").exists()


def test_scene_when_the_server_dies_then_its_units_fail_with_the_url_and_the_next_run_makes_them(
    raw_bucket, depthmill, write_recipe, proxy, monkeypatch, tiny_store, tmp_path
):
    monkeypatch.setenv("DEPTHMILL_STORE_ATTEMPTS", "2")
    recipe = write_recipe(raw_bucket)
    assert depthmill("plan", recipe)[0] == 0
    proxy.rule = lambda method, path: "503" if "scene-0103" in path else None
    code, text = depthmill("run", recipe, *BARE)
    assert code == 1
    assert "ERROR" in text and f"{raw_bucket}/samples/" in text and "tried 2 times" in text
    proxy.rule = lambda method, path: None
    assert depthmill("run", recipe, *BARE)[0] == 0
    assert unit_files(Store(tmp_path / "store")) == unit_files(Store(tiny_store))


def test_images_when_only_referred_to_and_in_a_bucket_then_the_loader_reads_them(raw_bucket, depthmill, write_recipe, tmp_path):
    from model.data.ordered_loader import Placement
    from model.semodepth.config import DataConfig
    from model.semodepth.data import FrameLoader
    from storage_schemas.manifest import open_manifest

    recipe = write_recipe(raw_bucket)
    assert depthmill("run", recipe, *BARE, "--set", "stages.pack_images.mode=reference")[0] == 0
    manifest = open_manifest(Store(tmp_path / "store"))
    loader = FrameLoader(manifest, DataConfig(batch_size=2), placement=Placement(image_root=raw_bucket))
    assert sum(len(batch.frame_keys) for batch in loader) == 2


@pytest.mark.slow
def test_workers_when_they_are_processes_then_each_opens_the_bucket_for_itself(
    raw_bucket, depthmill, write_recipe, tiny_store, tmp_path, monkeypatch
):
    monkeypatch.setenv("DEPTHMILL_RAW_CACHE_GB", "0.00002")  # less than a scene: what is pushed out is fetched again
    recipe = write_recipe(raw_bucket)
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 2)
    assert code == 0, text
    assert unit_files(Store(tmp_path / "store")) == unit_files(Store(tiny_store))


@pytest.mark.real_data
@pytest.mark.slow
def test_real_key_frames_when_in_a_bucket_then_units_are_those_of_a_disk(shared, bucket, depthmill, tmp_path, proxy):
    data = shared / "data/nuscenes-five-frames"
    upload(data, f"s3://{bucket}/real")
    for name, root in (("disk", data), ("url", f"s3://{bucket}/real")):
        assert depthmill("init", root, "--out", f"{name}.yaml", "--store", tmp_path / name)[0] == 0
        code, text = depthmill("run", f"{name}.yaml", *BARE)
        assert code == 0, text
    assert unit_files(Store(tmp_path / "url")) == unit_files(Store(tmp_path / "disk")) != {}
