"""The simulated world that a study is made on, chosen on its command line: a whole one by name, and single keys of it.

street        closed rows of houses along a gentle curve: the world of the tutorial
trajectories  the same houses along two recorded drives in turn, so that every drive that is measured on goes along a road that was
              trained on, between other houses and cars
town          `world: town`: statistics of real drives (docs/method/world.md)
--source      one key at a time, e.g. ``--world street --source layout=town``; each choice has its own folders
--scenes      of those from the 29th on only the ones of val are used, so that the training stays the same and more is measured on:
              86 scenes have ten of val at night, which an interval over scenes at night needs
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import yaml

SHARED = Path(os.environ.get("DEPTHMILL_SHARED", Path(__file__).resolve().parents[2] / "shared"))
TRAJECTORIES = SHARED / "data" / "nuscenes-trajectories" / "mini_val_scenes.json"
SCENES = 28
"""16 to train on and 12 in val: an interval over scenes needs ten."""


def add_world_arguments(parser: argparse.ArgumentParser, *, scenes: int = SCENES) -> None:
    """Add what chooses the world."""
    parser.add_argument("--world", choices=("street", "trajectories", "town"), default="street")
    parser.add_argument("--source", action="append", default=[], metavar="KEY=VALUE", help="change a key of the world")
    parser.add_argument("--trajectories", type=Path, default=TRAJECTORIES, help="mini_val_scenes.json for --world trajectories")
    parser.add_argument("--scenes", type=int, default=scenes)


def world_words(args: argparse.Namespace) -> list[str]:
    """Return the words of the command line that choose the same world."""
    words = ["--world", args.world, "--trajectories", str(args.trajectories), "--scenes", str(args.scenes)]
    return [*words, *(word for change in args.source for word in ("--source", change)), *(["--small"] if args.small else [])]


def scenes_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return ``scenes:`` of the recipe; nothing where all are used."""
    if args.scenes <= SCENES:
        return {}
    from pipeline.sources.nuscenes.splits import official_splits
    from pipeline.sources.synthetic import SyntheticParams
    from pipeline.sources.synthetic.config import scene_names

    split_of, names = official_splits("v1.0-trainval"), scene_names(SyntheticParams(scenes=args.scenes))
    return {"scenes": [*names[:SCENES], *(name for name in names[SCENES:] if split_of[name] == "val")]}


def name_of(args: argparse.Namespace) -> str:
    """Name the world, for people and for folders."""
    return "-".join([args.world, *(change.replace("=", "-") for change in args.source)])


def folder_ending(args: argparse.Namespace) -> str:
    """Return what folders of this choice end with; nothing for the whole street."""
    name = name_of(args)
    return ("" if name == "street" else f"-{name}") + ("-small" if args.small else "")


def source_of(args: argparse.Namespace, source: dict[str, Any]) -> dict[str, Any]:
    """Return ``source:`` of the recipe: a study's own keys, and those of the chosen world. The folder is below ``args.data``."""
    changes = {key: yaml.safe_load(value) for key, value in (change.split("=", 1) for change in args.source)}
    chosen = {"world": "town"} if args.world == "town" else {}
    if args.world == "trajectories":
        chosen["trajectories"] = str(args.trajectories)
    root = str(args.data / f"world{folder_ending(args)}")
    return {**source, "scenes": args.scenes, "root": root, **chosen, **changes}
