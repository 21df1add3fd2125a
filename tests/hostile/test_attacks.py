"""Hostile inputs end in a named error, a counted line or the same units: never a traceback, a hang, silence or a steered screen."""

from __future__ import annotations

import resource
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.hostile.attacks import TARGETS, Attack, Range, attacks

QUICK = 24
"""Attacks that make test tries, another choice for each target; all of them are tried by the slow test."""

MOST_MB = 3000
"""Memory of this process after all attacks; one that reads an endless file would take all there is."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Range:
    return Range(tmp_path_factory.mktemp("attacked"))


def all_told(place: Range, chosen: list[Attack]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    faults = []
    for attack in chosen:
        answer = place.tried(attack)
        kinds[answer.kind] += 1
        if answer.kind.isupper():
            faults.append(f"{answer.kind}: {attack.name}: {answer.text[-1000:]}")
    print(len(chosen), "attacks:", dict(kinds))
    assert not faults, "\n".join(faults[:20])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 < MOST_MB
    return kinds


def test_inputs_when_attacked_then_an_error_or_a_line_or_the_same_units(place):
    rng = np.random.default_rng(18)
    kinds: Counter[str] = Counter()
    for target in TARGETS:
        every = [attack for attack in attacks() if attack.target == target and "million" not in attack.name]
        kinds += all_told(place, [every[number] for number in rng.choice(len(every), QUICK // len(TARGETS), replace=False)])
    assert kinds["error"] > QUICK // 2


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_inputs_when_attacked_in_every_way_then_an_error_or_a_line_or_the_same_units(place, target):
    every = [attack for attack in attacks() if attack.target == target]
    kinds = all_told(place, every)
    assert sum(kinds.values()) == len(every)


def test_attacks_when_listed_then_each_has_a_name_of_its_own():
    names = Counter(attack.name for attack in attacks())
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 800


def test_run_when_data_has_escape_codes_in_its_names_then_none_reaches_the_terminal(tmp_path):
    from tests.hostile.attacks import command
    from tests.tiny_zju import write_tiny_zju

    write_tiny_zju(tmp_path / "data", frames={"train": 1}, height=24, width=32)
    image = tmp_path / "data/image/000100.png"
    image.rename(image.with_name("\x1b]0;owned\x07.png"))
    (tmp_path / "data/train.txt").write_text("\x1b]0;owned\x07\n")
    (tmp_path / "recipe.yaml").write_text(
        f"source: {{kind: zju_4dradarcam, root: {tmp_path}/data, splits: [train]}}\nstore: {tmp_path}/store\n"
    )
    code, text = command("plan", tmp_path / "recipe.yaml")
    assert code == 2
    assert "\x1b" not in text and "\\x1b]0;owned\\x07" in text


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("memory://x", "what lies in memory is gone when the command ends"),
        ("/data/a::b", "'::' chains file systems, and a store lies in one"),
        ("simplecache::s3://b/x", "'::' chains file systems"),
        ("''", "expected the path or URL of a folder"),
        ("foo://user:secret@host/x", "store 'foo://user:***@host/x'"),
    ],
)
def test_plan_when_the_store_cannot_be_one_then_said_and_no_password_is_shown(store, said, tiny_root, depthmill, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"source: {{kind: nuscenes, root: {tiny_root}, version: v1.0-mini}}\nstore: {store}\n")
    code, text = depthmill("plan", recipe)
    assert code in (1, 2)
    assert said in text and "secret" not in text and "Traceback" not in text


def test_run_when_a_relative_store_is_new_then_says_where_it_is_and_the_same_command_finds_it(
    tiny_root, depthmill, tmp_path, monkeypatch
):
    recipe = tmp_path / "recipes" / "recipe.yaml"
    recipe.parent.mkdir()
    recipe.write_text(f"source: {{kind: nuscenes, root: {tiny_root}, version: v1.0-mini}}\nstore: made/store\n")
    monkeypatch.chdir(tmp_path)
    code, text = depthmill("run", recipe, "--no-prefect", "--workers", 1, "--no-report")
    assert code == 0
    assert f"a new store is made: {tmp_path / 'made/store'} ('store: made/store' starts at the folder of this command" in text
    assert "a new store" not in depthmill("run", recipe, "--no-prefect", "--workers", 1, "--no-report")[1]


def test_verify_when_an_older_version_packed_a_damaged_image_then_found_and_the_advice_works(
    tiny_root, write_recipe, depthmill, tmp_path, monkeypatch
):
    import shutil

    root = Path(shutil.copytree(tiny_root, tmp_path / "data"))
    image = sorted((root / "samples/CAM_FRONT").iterdir())[0]
    sound = image.read_bytes()
    third = len(sound) // 3
    image.write_bytes(sound[:third] + bytes(third) + sound[2 * third :])
    run = ("run", write_recipe(root), "--no-prefect", "--workers", 1, "--no-report")
    code, text = depthmill(*run)
    assert code == 1
    assert f"image '{image.relative_to(root)}' cannot be read: Corrupt JPEG data" in text
    with monkeypatch.context() as older:
        older.setattr("pipeline.stages.pack_images.check_pixels", lambda *_, **__: None)
        assert depthmill(*run)[0] == 0
    code, text = depthmill("verify", run[1], "--delete-damaged")
    assert code == 1
    assert f"image '{image.relative_to(root)}' cannot be read: Corrupt JPEG data" in text
    image.write_bytes(sound)
    assert depthmill(*run)[0] == 0
    assert depthmill("verify", run[1], "--all")[0] == 0
