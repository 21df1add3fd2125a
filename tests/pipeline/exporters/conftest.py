from __future__ import annotations

import pytest

from pipeline.exporters.semodepth import export_semodepth
from tests.pipeline.exporters.made_up_store import NoRaw, build


@pytest.fixture
def exported(tmp_path):
    manifest, _ = build(tmp_path / "store")
    export_semodepth(manifest, NoRaw(), tmp_path / "out")
    return manifest, tmp_path / "out"
