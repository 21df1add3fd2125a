from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.sources.nuscenes.splits import OFFICIAL_VERSIONS, official_splits, splits_of_release
from pipeline.splits import SplitChoice, best_seed, remark_on_rule
from storage_schemas.errors import SourceError
from tests.conftest import NEEDS_DEVKIT

SHARE = {"train": 0.8, "val": 0.2}


@pytest.mark.parametrize(
    ("given_splits", "words"),
    [
        ({"train": ["a"], "val": ["b", "a"]}, "scene 'a' is in train and in val. What is trained on must not be measured on"),
        ({"train": []}, "the list names no scene"),
        ({"train": ["a"], "share": SHARE}, "give either lists (train, val, test) or share, not both"),
        ({"train": ["a"], "seed": 3}, "seed belongs to share"),
        ({"share": {"train": 0.8, "val": 0.1}}, "add up to 1; these add up to 0.9"),
        ({"share": {"train": 1.5, "val": -0.5}}, "shares must lie between 0 and 1"),
        ({"share": {"training": 1.0}}, "Input should be 'train', 'val' or 'test'"),
        ({"train": "scene-a"}, "Input should be a valid tuple"),
    ],
)
def test_choice_when_it_is_no_split_then_says_why(given_splits, words):
    with pytest.raises(ValidationError) as caught:
        SplitChoice.model_validate(given_splits)
    assert words in str(caught.value)


def test_choice_when_it_says_nothing_then_the_sources_split_stays():
    assert SplitChoice().split_of("a", of_source="test") == "test"
    assert SplitChoice().model_dump(mode="json") == {}


def test_choice_when_it_gives_lists_then_they_are_all_that_counts():
    choice = SplitChoice(train=("a",), val=("b",))
    assert [choice.split_of(scene, of_source="train") for scene in "abc"] == ["train", "val", ""]


@given(st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=30), st.integers(0, 99), st.randoms())
def test_rule_when_scenes_are_added_or_reordered_then_each_keeps_its_split(names, seed, random):
    choice = SplitChoice(share=SHARE, seed=seed)
    before = {name: choice.split_of(name, of_source="") for name in names[: len(names) // 2]}
    random.shuffle(names)
    after = {name: choice.split_of(name, of_source="test") for name in names}
    assert before.items() <= after.items()


def test_rule_when_run_anywhere_then_these_scenes_are_split_like_this_for_ever():
    """Pinned: another hash would move scenes between train and val in every store that is split by the rule."""
    choice = SplitChoice(share={"train": 0.5, "val": 0.3, "test": 0.2}, seed=7)
    names = [f"drive-{number:02}" for number in range(8)]
    assert [choice.split_of(name, of_source="") for name in names] == [
        "train",
        "test",
        "val",
        "train",
        "val",
        "test",
        "test",
        "test",
    ]


def test_rule_when_there_are_many_scenes_then_shares_are_kept():
    choice = SplitChoice(share=SHARE)
    counts = Counter(choice.split_of(f"scene-{number:04}", of_source="") for number in range(5000))
    assert counts["train"] / 5000 == pytest.approx(0.8, abs=0.02)


def test_rule_when_the_share_of_train_grows_then_no_scene_leaves_train():
    names = [f"scene-{number:04}" for number in range(300)]
    less, more = (SplitChoice(share={"train": share, "val": 1 - share}) for share in (0.6, 0.9))
    in_less, in_more = ({name for name in names if one.split_of(name, of_source="") == "train"} for one in (less, more))
    assert in_less < in_more


@pytest.mark.parametrize("count", [2, 3, 5, 10, 40])
def test_best_seed_when_there_are_few_scenes_then_no_split_is_empty_and_shares_are_near(count):
    names = [f"own drive {number}" for number in range(count)]
    seed = best_seed(names, SHARE)
    counts = Counter(SplitChoice(share=SHARE, seed=seed).split_of(name, of_source="") for name in names)
    assert counts["train"] >= 1
    assert counts["val"] >= 1
    assert abs(counts["val"] - 0.2 * count) < 1


def test_best_seed_when_there_is_one_scene_then_there_is_none():
    assert best_seed(["a"], SHARE) is None


def test_remark_when_a_split_is_empty_then_names_a_seed_that_fills_it():
    names = ["a", "b", "c"]
    empty = next(seed for seed in range(99) if remark_on_rule(SplitChoice(share=SHARE, seed=seed), names))
    remark = remark_on_rule(SplitChoice(share=SHARE, seed=empty), names)
    better = int(remark.split("; seed: ")[1].split()[0])
    assert remark == f"splits: with seed {empty}, none of 3 scenes is in val; seed: {better} leaves a scene in each"
    assert remark_on_rule(SplitChoice(share=SHARE, seed=better), names) == ""
    assert "name the scenes in lists, or take more scenes" in remark_on_rule(SplitChoice(share=SHARE), ["a"])


def test_splits_of_a_release_when_a_list_is_there_twice_then_none_is_lost_in_silence(tmp_path):
    (tmp_path / "splits.json").write_text('{"train": ["a"], "val": ["b"], "train": ["c"]}')
    with pytest.raises(SourceError, match="splits.json' has the key 'train' twice, so one of its lists would be lost"):
        splits_of_release(tmp_path, ["a", "b", "c"])


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.mkdir(), lambda path: path.symlink_to("/nowhere")])
def test_splits_of_a_release_when_their_file_is_none_then_said(tmp_path, make):
    make(tmp_path / "splits.json")
    with pytest.raises(SourceError, match="splits.json'.* (is a pipe or a device|is a folder|cannot be read)"):
        splits_of_release(tmp_path, ["a"])


def test_official_splits_when_read_from_our_data_then_every_scene_of_nuscenes_is_in_one_of_them():
    counts = {version: Counter(official_splits(version).values()) for version in OFFICIAL_VERSIONS}
    assert counts["v1.0-trainval"] == {"train": 700, "val": 150, "test": 150}
    assert counts["v1.0-mini"] == {"train": 8, "val": 2}
    assert official_splits("v1.0-own") == {}


def test_official_splits_when_the_devkit_is_there_then_they_are_its_own_in_its_order():
    theirs = pytest.importorskip("nuscenes.utils.splits", reason=NEEDS_DEVKIT).create_splits_scenes()
    for version, prefix in (("v1.0-trainval", ""), ("v1.0-test", ""), ("v1.0-mini", "mini_")):
        want = [(scene, split) for split in ("train", "val", "test") for scene in theirs.get(f"{prefix}{split}", [])]
        assert list(official_splits(version).items()) == want
