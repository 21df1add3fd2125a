"""Broken and hostile input ends in a documented error, never in a crash, and never leaves its folder."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.recipe import load_recipe
from pipeline.sources.nuscenes.files import NuScenesFiles, parse_radar_pcd
from pipeline.sources.nuscenes.json_tables import TABLE_NAMES, iterate_table, read_table
from pipeline.sources.nuscenes.tables import scenes_of_release
from storage_schemas.errors import DepthmillError, LayoutError, RecipeError, SourceError, StoreError
from storage_schemas.files import StoreFiles
from storage_schemas.store import Store, UnitPath
from tests.flows.test_cli import BARE

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FUZZ = int(os.environ.get("DEPTHMILL_FUZZ", "0"))
"""Random examples a test; 0 = the same 150 every time, so that make test does not fail by chance."""
QUICK = settings(
    max_examples=FUZZ or 150, derandomize=not FUZZ, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def radar_file(tiny_root) -> bytes:
    return next((tiny_root / "samples" / "RADAR_FRONT").iterdir()).read_bytes()


@QUICK
@given(data=st.data())
def test_radar_file_when_bytes_are_changed_then_columns_or_a_source_error(radar_file, data):
    content = bytearray(radar_file)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    try:
        columns = parse_radar_pcd(bytes(content), where="fuzzed.pcd")
    except SourceError as error:
        assert "fuzzed.pcd" in str(error)
    else:
        assert len({len(column) for column in columns.values()}) == 1


@QUICK
@given(content=st.binary(max_size=400))
def test_radar_file_when_random_then_a_source_error(content):
    with pytest.raises(SourceError):
        parse_radar_pcd(content, where="fuzzed.pcd")


@QUICK
@given(line=st.text(max_size=40), key=st.sampled_from(["FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "POINTS"]))
def test_radar_header_when_a_line_is_replaced_then_columns_or_a_source_error(radar_file, key, line):
    head, body = radar_file.split(b"DATA binary\n", 1)
    lines = [f"{key} {line}" if one.startswith(key) else one for one in head.decode().splitlines()]
    content = ("\n".join(lines) + "\nDATA binary\n").encode("utf-8", "surrogatepass") + body
    with suppress(SourceError):
        parse_radar_pcd(content, where="fuzzed.pcd")


@QUICK
@given(content=st.binary(max_size=300))
def test_table_when_random_bytes_then_a_source_error(tmp_path, content):
    (tmp_path / "sample.json").write_bytes(content)
    for read in (read_table, lambda *args: list(iterate_table(*args))):
        try:
            records = read(tmp_path, "sample")
        except SourceError:
            continue
        assert isinstance(records, list)


@settings(QUICK, max_examples=FUZZ or 60)
@given(data=st.data())
def test_tables_when_values_are_changed_then_scenes_or_a_documented_error(tiny_root, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("tables") / "v1.0-mini"  # one deeper, or the folder of all tests would be a data root
    folder.mkdir()
    shutil.copytree(tiny_root / "v1.0-mini", folder, dirs_exist_ok=True)
    for _ in range(data.draw(st.integers(1, 3))):
        path = folder / f"{data.draw(st.sampled_from(TABLE_NAMES))}.json"
        records = json.loads(path.read_text())
        if not isinstance(records, list) or not records or not isinstance(records[0], dict):
            continue
        record = records[data.draw(st.integers(0, len(records) - 1))]
        if not isinstance(record, dict) or not record:
            continue
        field = data.draw(st.sampled_from(sorted(record)))
        if data.draw(st.booleans()):
            record[field] = data.draw(JSON)
        else:
            del record[field]
        path.write_text(json.dumps(records))
    with suppress(SourceError, LayoutError):
        list(scenes_of_release(folder))


@QUICK
@given(content=st.text(max_size=200) | JSON.map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
def test_recipe_when_random_then_a_recipe_error(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_text(content, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(RecipeError):
        load_recipe(path)


@QUICK
@given(
    key=st.sampled_from(["source", "store", "cameras", "scenes", "stages", "train"]), value=JSON, override=st.text(max_size=30)
)
def test_recipe_when_one_key_is_random_then_a_recipe_or_a_recipe_error(tmp_path, key, value, override):
    recipe = {"source": {"kind": "nuscenes", "root": "/data", "version": "v1.0-mini"}, "store": "/store", key: value}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    for overrides in ((), (override,)):
        with suppress(RecipeError):
            load_recipe(path, overrides=overrides)


@pytest.mark.parametrize("override", ["store=\x1f", "store=[", "store={a: b: c}", "store=2026-13-45", "store=" + "[" * 5000])
def test_override_when_its_value_is_not_yaml_then_said(tmp_path, override):
    path = tmp_path / "recipe.yaml"
    path.write_text("source: {kind: nuscenes, root: /data, version: v1.0-mini}\nstore: /store\n")
    with pytest.raises(RecipeError, match="the value is not valid YAML"):
        load_recipe(path, overrides=(override,))


def test_recipe_when_it_holds_a_python_object_then_no_code_runs(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"source: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{tmp_path}/ran']]\n")
    with pytest.raises(RecipeError, match="is not valid YAML"):
        load_recipe(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("seed", range(6))
def test_run_when_a_point_file_holds_noise_then_units_or_one_failed_scene(tiny_root, write_recipe, depthmill, tmp_path, seed):
    root = tmp_path / "root"
    shutil.copytree(tiny_root, root)
    rng = np.random.default_rng(seed)
    for folder in ("samples", "sweeps"):
        for path in sorted((root / folder / "LIDAR_TOP").glob("*")):
            noise = rng.integers(0, 256, 20 * 300, dtype=np.uint8).tobytes()  # NaN, infinity and 1e38 among them
            path.write_bytes(noise[: len(noise) - (int(rng.integers(1, 20)) if rng.random() < 0.1 else 0)])
    code, text = depthmill("run", write_recipe(root), *BARE)
    assert code in (0, 1), text
    assert "Traceback" not in text
    if code == 1:
        assert any(
            said in text for said in ("expected a multiple of 20", "points have a coordinate", "another number of columns")
        )


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../outside.bin", "samples/../../outside.bin", "samples\\..\\..\\outside.bin", "a\0b", "~/x"]
)
def test_file_when_a_table_names_one_outside_the_data_root_then_refused(tmp_path, name):
    (tmp_path / "outside.bin").write_bytes(b"secret")
    (tmp_path / "root").mkdir()
    with pytest.raises(SourceError, match="which does not lie below the data root"):
        NuScenesFiles(str(tmp_path / "root"), "").read_bytes(name)


@pytest.mark.parametrize("scene", ["../../outside", "/outside", "a/../../../outside"])
def test_unit_when_a_scene_name_leads_out_of_the_store_then_nothing_is_written(tmp_path, scene):
    store = Store(tmp_path / "store")
    with pytest.raises(StoreError, match="does not lie below"):
        store.files.put(f"{UnitPath('frames', scene, 'CAM_FRONT', '0' * 16).key}/lineage.json", b"{}")
    assert not (tmp_path / "outside").exists()
    with pytest.raises(DepthmillError):
        StoreFiles(tmp_path / "store").get("../outside.bin")


def test_run_when_a_scene_name_leads_out_of_the_store_then_an_error_and_nothing_outside(
    tiny_root, write_recipe, depthmill, tmp_path
):
    root = tmp_path / "root"
    shutil.copytree(tiny_root, root)
    path = Path(root / "v1.0-mini" / "scene.json")
    scenes = json.loads(path.read_text())
    scenes[0]["name"] = "../../../outside"
    path.write_text(json.dumps(scenes))
    code, text = depthmill("run", write_recipe(root), *BARE)
    assert code != 0
    assert "does not lie below" in text
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path.parent / "outside").exists()
