"""An export is read, every file of it, and trained on by a script that knows the public layout and nothing of depthmill."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from pipeline.exporters.semodepth import export_semodepth
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.pipeline.exporters import public_layout_trainer as trainer
from tests.pipeline.exporters.made_up_store import NoRaw


@pytest.fixture(scope="module")
def layout(tiny_store, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("public") / "out"
    assert export_semodepth(open_manifest(Store(tiny_store)), NoRaw(), out) == {"train": 2, "val": 2}
    return out


def test_trainer_when_looked_at_then_it_imports_nothing_of_depthmill():
    tree = ast.parse(Path(trainer.__file__).read_text())
    names = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names == {"__future__", "pathlib", "numpy", "torch", "PIL", "sys"}


def test_export_when_read_by_the_lists_alone_then_every_file_of_it_is_read_and_sound(layout):
    train = trainer.PublicLayout(layout, "train", ("image", "radar", "D_gt", "D_acc", "D_acc_160clean"))
    val = trainer.PublicLayout(layout, "val", trainer.VAL_LISTS)
    there = {path for path in layout.rglob("*") if path.is_file() and path.suffix in (".png", ".npy", ".jpg")}
    assert train.files() | val.files() == there
    assert (len(train), len(val)) == (2, 2)
    for image, radar, sparse, accumulated, clean in train:
        assert image.shape[1:] == radar.shape[1:] == sparse.shape[1:] == accumulated.shape[1:] == clean.shape[1:]
        assert 0 <= float(image.min()) < float(image.max()) <= 1
        assert float(radar.max()) > 1
        sparse, accumulated, clean = (one.numpy() for one in (sparse, accumulated, clean))
        assert min(np.count_nonzero(sparse), np.count_nonzero(accumulated)) > 100
        kept = clean > 0
        assert np.array_equal(clean[kept], accumulated[kept])  # cleaning only removes
        assert 1 < accumulated[accumulated > 0].min() < accumulated.max() < 256
    for _, radar, sparse in val:
        assert float(radar.max()) > 1 and float(sparse.max()) > 1


def test_export_when_trained_on_by_the_lists_alone_then_the_loss_falls(layout):
    losses = trainer.train(layout, num_steps=30)
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:2])


def test_export_when_a_list_lost_a_line_then_the_script_sees_that_frames_do_not_match(layout, tmp_path):
    folder = tmp_path / "training/nuscenes"
    folder.mkdir(parents=True)
    for name in trainer.TRAIN_LISTS:
        lines = (layout / f"training/nuscenes/nuscenes_train_{name}.txt").read_text().splitlines()
        (folder / f"nuscenes_train_{name}.txt").write_text("\n".join(lines[: 1 if name == "radar" else 2]) + "\n")
    with pytest.raises(AssertionError):
        trainer.PublicLayout(tmp_path, "train", trainer.TRAIN_LISTS)
