"""Half an hour of everything at once on one store, with kills: nothing is lost, nothing is torn, nothing waits."""

from __future__ import annotations

import os
import time

import pytest
import torch

from model.semodepth.config import DataConfig
from model.semodepth.data import FrameLoader
from storage_schemas.manifest import manifest_paths, open_manifest
from storage_schemas.store import Store
from tests.flows.test_cli import digests
from tests.soak.shared_store import BARE, RULES, SMALL, Soak, processes_about

pytestmark = pytest.mark.slow

MINUTES = float(os.environ.get("DEPTHMILL_SOAK_MINUTES", "30"))
"""How long; the suite's half hour unless the environment says otherwise."""


def content(store):
    """Return the digest of every file of every unit, without what says when and where it was made."""
    found = digests(store, but=(".unfinished",))
    return {name: digest for name, digest in found.items() if not name.endswith("lineage.json") and "/." not in name}


def weights(folder):
    return torch.load(folder / "best.pt", weights_only=True)["model_state_dict"]


def test_store_when_many_processes_work_on_it_and_are_killed_then_everything_is_whole(
    tiny_root, write_recipe, depthmill, tmp_path, monkeypatch, capfd
):
    monkeypatch.setenv("DEPTHMILL_LOADER_WORKERS", "1")
    monkeypatch.setenv("DEPTHMILL_DEVICE", "cpu")
    undisturbed, shared = tmp_path / "undisturbed", tmp_path / "shared"
    for folder in (undisturbed, shared):
        folder.mkdir()
    recipe = write_recipe(tiny_root, store=str(undisturbed / "store"))
    for rule in RULES:
        change = ("--set", f"stages.clean_horizon.near_m={rule}")
        assert depthmill("run", recipe, *BARE, *change)[0] == 0
        assert depthmill("train", recipe, *BARE[:3], "--out", undisturbed / f"training-{rule}", *SMALL, *change)[0] == 0
    right = content(undisturbed / "store")

    (shared / "recipe.yaml").write_text(recipe.read_text().replace(str(undisturbed), str(shared)))
    soak = Soak(shared / "recipe.yaml", shared)
    for rule in RULES:  # an export of a rule that has no manifest yet would be a user's mistake
        assert depthmill("run", soak.recipe, *BARE, "--set", f"stages.clean_horizon.near_m={rule}")[0] == 0
    soak.work(minutes=MINUTES, num_processes=4, seed=18)
    assert soak.faults == []

    end = time.monotonic() + 120  # children of killed commands end by themselves
    while (alive := processes_about(shared)) and time.monotonic() < end:
        time.sleep(0.1)
    assert alive == []
    for rule in RULES:
        change = ("--set", f"stages.clean_horizon.near_m={rule}")
        folder = shared / f"training-{rule}"
        code, text = depthmill("train", soak.recipe, *BARE[:3], "--out", folder, *SMALL, *change)
        assert code == 0, text
        right_weights, found_weights = weights(undisturbed / f"training-{rule}"), weights(folder)
        assert right_weights.keys() == found_weights.keys()
        for name, values in right_weights.items():
            assert torch.equal(values, found_weights[name]), f"rule {rule}: {name}"
    code, text = depthmill("verify", soak.recipe, "--all")
    assert code == 0, text
    assert content(shared / "store") == right
    store = Store(shared / "store")
    assert len(manifest_paths(store)) == len(RULES)
    for path in manifest_paths(store):
        assert sum(
            len(batch.frame_keys) for batch in FrameLoader(open_manifest(store, path.fingerprint), DataConfig(batch_size=1))
        )
    with capfd.disabled():
        print(
            f"\nsoak of {MINUTES:g} minutes: "
            + "; ".join(f"{command} {what}: {n}" for (command, what), n in sorted(soak.counts.items()))
        )
