"""Raw data at a URL: the same units as from a disk, whatever happens on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage_schemas.files import StoreFiles
from storage_schemas.store import Store
from tests.flows.test_cli import BARE
from tests.object_store.test_whole_pipeline import unit_files


def upload(root: Path, url: str) -> None:
    """Put every file of a folder below a URL."""
    files = StoreFiles(url)
    files.filesystem.pipe(
        {f"{url}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    )


@pytest.fixture
def remote_root(tiny_root, bucket) -> str:
    """The tiny nuScenes database in a bucket; its URL."""
    upload(tiny_root, f"s3://{bucket}/raw/nuscenes")
    return f"s3://{bucket}/raw/nuscenes"


def test_run_when_raw_data_is_in_a_bucket_then_units_are_those_of_a_local_copy(
    remote_root, tiny_store, write_recipe, depthmill, tmp_path, monkeypatch
):
    monkeypatch.setenv("DEPTHMILL_CACHE_DIR", str(tmp_path / "cache"))
    recipe = write_recipe(remote_root)
    code, text = depthmill("run", recipe, *BARE)
    assert code == 0, text
    assert unit_files(Store(tmp_path / "store")) == unit_files(Store(tiny_store))
