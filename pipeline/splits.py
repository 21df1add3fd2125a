"""Which scene is trained on and which is measured on, where the source does not say it: lists of scenes, or a rule.

Why    Own drives are in no official split. What is trained on must never be measured on, so whole scenes are split, never frames
Rule   A scene's split follows from its name and the seed alone. A scene that was in train yesterday is in train today, however
       many scenes came since
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, field_validator, model_validator

from storage_schemas.frozen_config import FrozenConfig

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

NUM_SEEDS_TRIED = 1000
"""Seeds that are tried for one whose split keeps the shares: each shares out a few scenes otherwise."""


class SplitChoice(FrozenConfig):
    """Lists of scenes, or shares of them; empty = as the source says.

    Attributes:
        share: split -> share of the scenes; the shares add up to 1.
    """

    added_later: ClassVar[Mapping[str, Any]] = MappingProxyType({"train": (), "val": (), "test": (), "share": {}, "seed": 0})

    train: tuple[str, ...] = Field(default=(), description="scenes that are trained on")
    val: tuple[str, ...] = Field(default=(), description="scenes that trainings are measured on")
    test: tuple[str, ...] = Field(default=(), description="scenes that are kept for the end")
    share: dict[Split, float] = Field(default={}, description="share of the scenes of each split, e.g. {train: 0.8, val: 0.2}")
    seed: int = Field(default=0, ge=0, description="another seed shares the scenes out otherwise")

    @field_validator(*SPLITS)
    @classmethod
    def _refuse_an_empty_list(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("the list names no scene; name one, or leave the list out")
        return value

    @field_validator("share")
    @classmethod
    def _refuse_shares_of_no_whole(cls, value: dict[Split, float]) -> dict[Split, float]:
        if not all(0 <= share <= 1 for share in value.values()) or abs(sum(value.values()) - 1) > 1e-6:
            raise ValueError(f"shares must lie between 0 and 1 and add up to 1; these add up to {sum(value.values()):g}")
        return value

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> SplitChoice:
        counts = Counter(scene for split in SPLITS for scene in set(getattr(self, split)))
        twice = [scene for scene, count in counts.items() if count > 1]
        if twice:
            where = " and in ".join(split for split in SPLITS if twice[0] in getattr(self, split))
            raise ValueError(
                f"scene '{twice[0]}' is in {where}. What is trained on must not be measured on: take it out of one of the lists"
            )
        if self.lists and self.share:
            raise ValueError("give either lists (train, val, test) or share, not both")
        if "seed" in self.model_fields_set and not self.share:
            raise ValueError("seed belongs to share; give share, e.g. {train: 0.8, val: 0.2}, or leave seed out")
        return self

    @property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """The lists that are given, by split."""
        return {split: scenes for split in SPLITS if (scenes := getattr(self, split))}

    def split_of(self, scene: str, *, of_source: str) -> str:
        """Return the split of a scene: train, val, test, or "" for a scene that is in no list.

        Args:
            scene: name of the scene.
            of_source: split that the source says, which counts where the recipe says nothing.
        """
        if self.share:
            return _split_of_place(self.share, _place(scene, self.seed))
        if not self.lists:
            return of_source
        return next((split for split, scenes in self.lists.items() if scene in scenes), "")


def _place(scene: str, seed: int) -> float:
    """Return a number in [0, 1) that follows from a scene's name and the seed alone, on every machine and for ever."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{scene}".encode()).digest()[:8], "big") / 2**64


def _split_of_place(share: Mapping[Split, float], place: float) -> str:
    upper = 0.0
    given = [split for split in SPLITS if share.get(split)]
    for split in given:
        upper += share[split]
        if place < upper:
            return split
    return given[-1]


def unknown_scene(named: Mapping[str, Iterable[str]], scenes: Sequence[str]) -> str:
    """Return what is wrong if lists name a scene that does not exist, with the nearest that does; "" if every scene exists.

    Args:
        named: split -> names of scenes.
        scenes: names of the scenes that there are.
    """
    there = set(scenes)
    split, name = next(((split, name) for split, names in named.items() for name in names if name not in there), ("", ""))
    if not split:
        return ""
    likest = difflib.get_close_matches(name.casefold(), [scene.casefold() for scene in scenes], n=1)
    near = next((scene for scene in scenes if scene.casefold() in likest), scenes[0] if scenes else "none")
    return (
        f"{split} names the scene '{name}', which the source has not; the nearest of its {len(scenes)} scenes is '{near}'. "
        "Correct the name, or take it out of the list"
    )


def best_seed(scenes: Sequence[str], share: Mapping[Split, float]) -> int | None:
    """Return the seed that shares the scenes out nearest to the shares, the least of equals.

    None if no seed that was tried leaves a scene in each split that has a share, e.g. with fewer scenes than splits.
    """
    wanted = {split for split in SPLITS if share.get(split)}
    best: tuple[float, int] | None = None
    for seed in range(NUM_SEEDS_TRIED):
        counts = Counter(_split_of_place(share, _place(scene, seed)) for scene in scenes)
        if wanted <= counts.keys():
            off = sum(abs(counts[split] - share[split] * len(scenes)) for split in wanted)
            if best is None or off < best[0]:
                best = (off, seed)
            if off < len(wanted) / 2:
                break
    return None if best is None else best[1]


def remark_on_rule(choice: SplitChoice, scenes: Sequence[str]) -> str:
    """Say that a rule leaves a split without a scene, and which seed does not; "" where every share has a scene.

    Few scenes are shared out by chance: of two scenes with 0.8 and 0.2, both are in train with nearly every seed.
    """
    found = {choice.split_of(scene, of_source="") for scene in scenes}
    lacking = [split for split in SPLITS if choice.share.get(split) and split not in found]
    if not lacking:
        return ""
    seed = best_seed(scenes, choice.share)
    remedy = f"seed: {seed} leaves a scene in each" if seed is not None else "name the scenes in lists, or take more scenes"
    return (
        f"splits: with seed {choice.seed}, none of {len(scenes)} scene{'' if len(scenes) == 1 else 's'} is in "
        f"{' or '.join(lacking)}; {remedy}"
    )
