"""What is special of a source that another package brings; tests/plug_ins runs every command with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.plug_ins.test_plug_ins import install, run_in, write_toy_folders


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the toy package is installed in."""
    return install(tmp_path_factory.mktemp("site"))


def run_with(folder, program: str) -> str:
    """Run a Python program that finds the packages of a folder; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(folder)])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_unit_when_its_source_is_brought_then_the_fingerprint_holds_the_package_and_the_provenance_its_version(
    installed, tmp_path
):
    write_toy_folders(tmp_path / "drives")
    commands = (("init", "drives", "--out", "recipe.yaml"), ("run", "recipe.yaml", "--no-prefect", "--no-report"))
    assert [said.code for said in run_in(tmp_path, installed, *commands)] == [0, 0]
    records = [json.loads(path.read_text()) for path in sorted((tmp_path / "store").rglob("lineage.json"))]
    assert {"index_frames", "pack_depth", "build_manifest"} <= {record["identity"]["stage"] for record in records}
    for record in records:
        package = (record["identity"]["source"] or {}).get("package")
        assert package == ("depthmill-toy" if record["identity"]["stage"] == "index_frames" else None)
        assert record["provenance"]["depthmill-toy"] == "1.2.0"


def test_source_when_it_is_of_this_repository_then_its_record_is_as_before_plug_ins():
    from storage_schemas.lineage import SourceRef

    assert SourceRef(release="r", digest="d").model_dump() == {"release": "r", "digest": "d"}
    assert SourceRef(release="r", digest="d", package="p").model_dump() == {"release": "r", "digest": "d", "package": "p"}


def test_init_when_a_kind_is_brought_then_it_is_looked_for_and_refuses_a_version_as_the_others(installed, tmp_path):
    write_toy_folders(tmp_path / "drives")
    (tmp_path / "none").mkdir()
    unknown, version = run_in(
        tmp_path, installed, ("init", "none", "--out", "r.yaml"), ("init", "drives", "--out", "r.yaml", "--version", "v1.0-mini")
    )
    assert unknown.code == 2
    assert "with ImageSets/) or toy folders (" in unknown.text
    assert (version.code, version.text) == (
        2,
        "error: --version is of nuScenes-format data, 'drives' is toy_folders. Leave it out\n".replace(
            "'drives'", f"'{tmp_path / 'drives'}'"
        ),
    )


def test_source_when_its_module_is_imported_first_then_it_is_in_the_list_all_the_same(installed):
    program = (
        "import depthmill_toy.source; import pipeline.recipe; from pipeline.sources import source_specs; print(*source_specs())"
    )
    assert run_with(installed, program) == "nuscenes synthetic zju_4dradarcam kitti_object toy_folders\n"


@pytest.mark.parametrize(
    ("target", "about", "says"),
    [
        (
            "lost = no_such_module_of_drives:SPEC",
            "plug-in lost",
            "plug-in 'lost' (depthmill.sources) of package wrong 1.0 cannot be loaded: ModuleNotFoundError: No module named "
            "'no_such_module_of_drives'. Repair the package, or remove it with pip uninstall wrong",
        ),
        (
            "toy = json:JSONDecoder",
            "plug-in toy",
            "plug-in 'toy' (depthmill.sources) of package wrong 1.0 cannot be used: json:JSONDecoder is type, expected a SourceSpec "
            "of the kind 'toy'",
        ),
        (
            "other = depthmill_toy.source:SPEC",
            "plug-in other",
            "plug-in 'other' (depthmill.sources) of package wrong 1.0 cannot be used: depthmill_toy.source:SPEC is of the kind "
            "'toy_folders', expected a SourceSpec of the kind 'other'",
        ),
        (
            "nuscenes = depthmill_toy.source:SPEC",
            "plug-ins",
            "package wrong brings 'nuscenes' (depthmill.sources), which is depthmill's own. Remove it with pip uninstall wrong, or "
            "give it another name",
        ),
    ],
)
def test_plug_in_when_it_cannot_be_used_then_doctor_and_a_recipe_that_names_it_say_why(installed, tmp_path, target, about, says):
    (tmp_path / "depthmill_toy").symlink_to(installed / "depthmill_toy")
    (tmp_path / "wrong-1.0.dist-info").mkdir()
    (tmp_path / "wrong-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong\nVersion: 1.0\n")
    (tmp_path / "wrong-1.0.dist-info" / "entry_points.txt").write_text(f"[depthmill.sources]\n{target}\n")
    found = run_with(tmp_path, "import json; from flows.doctor import _plug_ins; print(json.dumps(_plug_ins()))")
    assert json.loads(found) == [[about, False, says, False]]
    if about != "plug-ins":
        kind = target.split()[0]
        program = (
            "from pipeline.recipe import parse_recipe\n"
            "parse_recipe({'source': {'kind': 'synthetic'}, 'store': 's'}, where='test')\n"
            f"try: parse_recipe({{'source': {{'kind': '{kind}'}}, 'store': 's'}}, where='test')\n"
            "except Exception as error: print(error)\n"
        )
        assert run_with(tmp_path, program) == f"recipe 'test': source.kind is '{kind}', but {says}\n"
