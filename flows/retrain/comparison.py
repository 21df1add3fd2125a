"""Champion and challenger side by side: on the same frames, on which neither was trained, and what it takes to win.

Reads   evaluations and records of both trainings
Writes  the champion's evaluation on the challenger's manifest, into the challenger's folder
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.retrain.champion import ChampionError
from flows.retrain.seen_scenes import seen_scenes
from flows.run.training import Training
from flows.run.training_folder import noted_files
from storage_schemas.errors import DepthmillError, StoreError

if TYPE_CHECKING:
    from model.train.config import CommonConfig
    from model.train.family import Family
    from model.train.judging import MeanDifference, Rules

MEASURED_AGAIN = "champion"
"""Folder inside a challenger's, where its champion's evaluation on the challenger's manifest is kept."""


@dataclass(frozen=True)
class Opponent:
    """The champion that a challenger meets.

    Attributes:
        address: path or URL of its training.
        file: path or URL of the file that points to it.
        manifest: fingerprint of the manifest that it was trained on.
        config: its training.
    """

    address: str
    file: str
    manifest: str
    config: CommonConfig

    @property
    def forget(self) -> str:
        """Say how to do without this champion."""
        return f"delete '{self.file}': the next round's training becomes the champion"

    @property
    def name(self) -> str:
        """Return the name of its training."""
        return Path(self.address).name


def opponent_of(record: dict[str, Any], config: CommonConfig, rules: Rules, *, address: str, file: str) -> Opponent:
    """Return the champion as the opponent of a training, before that is trained.

    Args:
        record: what the champion's training says of itself.
        config: the challenger's training.
        rules: what a challenger must show.
        address: path or URL of the champion's training.
        file: path or URL of the file that points to it.

    Raises:
        ChampionError: they can never be compared; says why and what to do.
    """
    from model.families import FAMILIES, family_of
    from model.train.known_families import UnknownOptionsError

    forget = f"delete '{file}': the next round's training becomes the champion"
    try:
        champion_config = FAMILIES.read(record["config"])
    except UnknownOptionsError as error:
        raise ChampionError(
            f"the champion '{address}' was trained with options that this depthmill does not know: {error}. Use the depthmill "
            f"that made it, or {forget}"
        ) from error
    if champion_config.family != config.family:
        raise ChampionError(
            f"the champion '{address}' is of family {champion_config.family}, this training of {config.family}: no measure is "
            f"common to them. Correct the file, or {forget}"
        )
    if why := family_of(config).never_comparable(champion_config, config, rules):
        raise ChampionError(
            f"the champion '{address}' cannot be compared with this training: {why}. Save the recipe under another name, which "
            f"then has a champion of its own, or {forget}"
        )
    return Opponent(address, file, str(record["manifest"]), champion_config)


def measured_otherwise(opponent: Opponent, family: Family[Any], config: CommonConfig, manifest: str) -> list[str]:
    """Say why a champion's evaluation is not one of the challenger's frames and targets; empty if it is."""
    differs = [] if opponent.manifest == manifest else [f"manifest {opponent.manifest} -> {manifest}"]
    return differs + family.measured_otherwise(opponent.config, config)


def compare_with_champion(
    opponent: Opponent, champion: Path, challenger: Training, rules: Rules
) -> tuple[Sequence[MeanDifference], str]:
    """Compare a complete challenger with the champion on the challenger's manifest, as its family does.

    Args:
        opponent: the champion.
        champion: folder of its training, on this machine.
        challenger: the complete training.
        rules: what it must show.

    Returns:
        The comparisons, a = champion and b = challenger, all frames first; and a note if the champion was measured again.

    Raises:
        DepthmillError: they cannot be compared, e.g. there is no frame in common.
    """
    left_out, unknown = _scenes_left_out(opponent, champion, challenger, rules)
    before, note = _champion_evaluation(opponent, champion, challenger)
    notes = [note] if note else []
    if left_out:
        rules = replace(rules, left_out=left_out)
        notes.append(f"{len(left_out)} scenes that one of the two was trained on are left out, e.g. '{min(left_out)}'")
    if unknown:
        notes.append(
            f"what manifest {' and '.join(unknown)} taught cannot be looked up, because no known store has it: scenes of it may "
            "be among those that are measured"
        )
    return challenger.family.compare_with_champion(before, challenger.folder / "evaluation", rules), "; ".join(notes)


def complete_evaluation(training: Training) -> str:
    """Measure a complete training again if its evaluation, of a former version, lacks what trainings are compared by.

    Returns:
        A note if it was measured again; "" if not.
    """
    from model.devices import network_device
    from model.families import load_network
    from model.train.repeatable import repeatable

    if training.family.is_comparable(training.folder / "evaluation"):
        return ""
    device = network_device(training.machine.accelerator)
    with repeatable(training.config, device.type), noted_files(training.folder):
        network = load_network(training.folder / "best.pt").to(device)
        training.family.evaluate(network, training.manifest, training.config, training.machine, device, folder=training.folder)
    return "its evaluation, of a former version, was made again"


def is_better(means: MeanDifference, rules: Rules) -> tuple[bool, str]:
    """Return whether b is better than a by the rules, and the reason as text."""
    sign = 1.0 if rules.is_higher_better else -1.0
    gain = sign * means.mean_difference
    change = f"{rules.metric} {means.mean_a:.6g} -> {means.mean_b:.6g}"
    if not math.isfinite(gain):
        return False, f"{change}: one of the two is not a number, so nothing is compared"
    shares = dict(getattr(means, "shares", {}))  # a family of another package may not say what is common to the two
    if min(shares.values(), default=1.0) < rules.least_share:
        counted = next(iter(shares))
        common = " and ".join(f"{share:.1%} of the {what}" for what, share in shares.items())
        return False, (
            f"{change} on {means.num_frames} {counted}: only {common} are common to both, least_share is {rules.least_share:g}"
        )
    if gain <= 0:
        return False, f"{change}: not better"
    if gain < rules.margin:
        return False, f"{change}: better by {gain:.4g}, less than the margin {rules.margin:g}"
    if rules.needs_interval:
        low, high = means.low, means.high
        if low is None or high is None:
            return False, f"{change}: better by {gain:.4g}, but there are too few scenes for the interval that is asked for"
        if not min(sign * low, sign * high) > 0:
            return False, f"{change}: better by {gain:.4g}, but its interval [{low:+.4g}, {high:+.4g}] does not exclude 0"
    return True, f"{change}: better by {gain:.4g}, the margin is {rules.margin:g}"


def _champion_evaluation(opponent: Opponent, champion: Path, challenger: Training) -> tuple[Path, str]:
    """Return the folder of the champion's evaluation on the challenger's frames, measuring it again if needed, and a note."""
    manifest = challenger.manifest.path.fingerprint
    differs = measured_otherwise(opponent, challenger.family, challenger.config, manifest)
    if not differs and not challenger.family.is_comparable(champion / "evaluation"):
        differs = ["its evaluation is of a former version"]
    if not differs:
        return champion / "evaluation", ""
    folder = challenger.folder / MEASURED_AGAIN
    with noted_files(challenger.folder):
        _measure(opponent, champion, challenger, folder)
    return folder, f"champion {champion.name} was measured again on the new frames and targets ({', '.join(differs)})"


def _scenes_left_out(
    opponent: Opponent, champion: Path, challenger: Training, rules: Rules
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the scenes that are measured on and that one of the two was trained on; it would win by memory there.

    The manifests that cannot be looked up come second.

    A change of splits brings this, and a start from a checkpoint that was trained on other splits.

    Raises:
        ChampionError: too few frames are left to compare.
    """
    measured, store = challenger.family.split(challenger.config), challenger.manifest.store
    samples = challenger.manifest.samples
    scenes = [scene for scene, split in zip(samples["scene"], samples["split"], strict=True) if split == measured]
    of_both = [seen_scenes(folder, store, challenger.runs) for folder in (champion, challenger.folder)]
    by_champion, by_challenger = (one.scenes & set(scenes) for one in of_both)
    seen = by_champion | by_challenger
    if seen and sum(scene not in seen for scene in scenes) < rules.least_share * len(scenes):
        who, culprit = (
            (f"champion '{opponent.address}'", by_champion) if by_champion else (f"training '{challenger.folder}'", by_challenger)
        )
        raise ChampionError(
            f"the {who} was trained on {len(culprit)} scene{'' if len(culprit) == 1 else 's'} that split '{measured}' "
            f"now measures on, e.g. '{min(culprit)}', so the two cannot be compared: less than the share "
            f"{rules.least_share:g} of the frames is new to both. Put these scenes back into train, or {opponent.forget}"
        )
    return frozenset(seen), tuple(dict.fromkeys(manifest for one in of_both for manifest in one.unknown))


def _measure(opponent: Opponent, champion: Path, challenger: Training, folder: Path) -> None:
    """Measure the champion's network exactly as the challenger's was, and keep it beside the challenger."""
    from model.devices import network_device
    from model.families import load_network
    from model.train.repeatable import repeatable

    manifest = challenger.manifest
    try:
        with repeatable(challenger.config, network_device(challenger.machine.accelerator).type):
            challenger.family.measure_as(
                load_network(champion / "best.pt"),
                opponent.config,
                challenger.config,
                manifest,
                challenger.machine,
                folder=folder,
                name=f"champion {champion.name}",
            )
    except StoreError:
        raise
    except DepthmillError as error:
        raise ChampionError(
            f"the champion '{opponent.address}' cannot be measured on manifest {manifest.path.fingerprint}: {error}. Give it "
            f"what it needs, or {opponent.forget}"
        ) from error
