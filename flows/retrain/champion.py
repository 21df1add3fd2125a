"""The champion: the best training so far of a store, a small file that points to it, and what it takes to replace it.

Reads   <runs>/champion.json, the evaluation of a training
Writes  <runs>/champion.json, atomically; the pointer moves, and no training is ever deleted
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.retrain.seen_scenes import seen_scenes
from flows.run.runs import Runs
from flows.run.training import Training
from flows.run.training_folder import noted_files
from storage_schemas.errors import DepthmillError, StoreError
from storage_schemas.seals import read_sealed_json, sealed_json

if TYPE_CHECKING:
    from model.train.config import CommonConfig
    from model.train.judging import MeanDifference, Rules

CHAMPION_FILE = "champion.json"
MEASURED_AGAIN = "champion"
"""Folder inside a challenger's, where its champion's evaluation on the challenger's manifest is kept."""


class ChampionError(DepthmillError):
    """A champion that cannot be found, measured or replaced."""


@dataclass(frozen=True)
class Champion:
    """What champion.json says.

    Attributes:
        training: folder of the training; relative to the runs folder if it lies in it, so that a moved store keeps it.
        manifest: fingerprint of the manifest it was trained on.
        metric: metric by which it was promoted.
        cap_m: its cap in metres.
        radar: its radar state.
        value: its mean over all frames then.
        promoted_utc: when.
        round: name of the round that promoted it.
    """

    training: str
    manifest: str
    metric: str
    cap_m: float
    radar: str
    value: float
    promoted_utc: str
    round: str

    def folder(self, runs: Runs) -> Path:
        """Return the local folder of its training, with what a remote store has of it; StoreError if that cannot be read."""
        name = self._name()
        return runs.work / self.training if name is None else runs.training(name)

    def address(self, runs: Runs) -> str:
        """Return path or URL of its training; nothing is fetched."""
        return runs.address(runs.work / self.training)

    def _name(self) -> str | None:
        """Return the name of its training; None if it lies outside of the runs folder."""
        parts = Path(self.training).parts
        return parts[1] if len(parts) == 2 and parts[0] == "trainings" else None


def read_champion(runs: Runs) -> Champion | None:
    """Return the champion of a runs folder; None if there is none yet.

    Raises:
        ChampionError: the file is damaged, or the training that it names is not there.
    """
    files = runs.files
    try:
        champion = Champion(**read_sealed_json(files.get(CHAMPION_FILE)))
        _check_values(champion)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ChampionError(
            f"'{files.path(CHAMPION_FILE)}' is damaged: {error}. Delete it: the next round's training becomes the champion"
        ) from error
    for name in ("best.pt", "training.json"):
        if not _has(runs, champion, name):
            raise ChampionError(
                f"'{files.path(CHAMPION_FILE)}' names a champion whose '{champion.address(runs)}/{name}' does not "
                f"exist. Bring that folder back, or delete {CHAMPION_FILE}: the next round's training becomes the champion"
            )
    return champion


def _has(runs: Runs, champion: Champion, name: str) -> bool:
    if Path(champion.training).is_absolute():
        return (Path(champion.training) / name).is_file()
    return runs.files.exists(f"{champion.training}/{name}")


def _check_values(champion: Champion) -> None:
    numbers = ("cap_m", "value")
    for name, value in asdict(champion).items():
        if isinstance(value, bool) or not isinstance(value, int | float if name in numbers else str):
            raise TypeError(f"{name} is {value!r}, expected a {'number' if name in numbers else 'text'}")


def write_champion(runs: Runs, champion: Champion, *, instead_of: Champion | None) -> None:
    """Point to a new champion.

    Args:
        runs: of the store.
        champion: the new one; its folder may be given absolute.
        instead_of: the one it was compared with.

    Raises:
        ChampionError: another round has changed the champion since.
        FolderBusyError: another round has taken the runs folder over.
    """
    runs.refuse_lost()
    now = read_champion(runs)
    if now != instead_of:
        current, expected = (holder.training if holder else "none" for holder in (now, instead_of))
        raise ChampionError(
            f"the champion in '{runs.files.path(CHAMPION_FILE)}' has become '{current}' while '{champion.training}' was compared "
            f"with '{expected}'. Run the same command again: it only compares"
        )
    folder = Path(champion.training).absolute()
    content = {**asdict(champion), "training": runs.key(folder) or str(folder)}
    runs.files.put(CHAMPION_FILE, sealed_json(content))


def compare_with_champion(champion: Path, challenger: Training, rules: Rules) -> tuple[Sequence[MeanDifference], str]:
    """Compare a complete challenger with the champion on the challenger's manifest, as its family does.

    Returns:
        The comparisons, a = champion and b = challenger, all frames first; and a note if the champion was measured again.

    Raises:
        DepthmillError: they cannot be compared, e.g. there is no frame in common.
    """
    record, config = _champion_record(champion, challenger)
    left_out, unknown = _scenes_left_out(champion, challenger, rules)
    before, note = _champion_evaluation(champion, record, config, challenger)
    if left_out:
        rules = replace(rules, left_out=left_out)
        text = f"{len(left_out)} scenes that one of the two was trained on are left out, e.g. '{min(left_out)}'"
        note = f"{note}; {text}" if note else text
    if unknown:
        text = (
            f"what manifest {' and '.join(unknown)} taught cannot be looked up, because no known store has it: scenes of it may "
            "be among those that are measured"
        )
        note = f"{note}; {text}" if note else text
    return challenger.family.compare_with_champion(before, challenger.folder / "evaluation", rules), note


def is_better(means: MeanDifference, rules: Rules) -> tuple[bool, str]:
    """Return whether b is better than a by the rules, and the reason as text."""
    sign = 1.0 if rules.metric.startswith("delta") else -1.0
    gain = sign * means.mean_difference
    change = f"{rules.metric} {means.mean_a:.6g} -> {means.mean_b:.6g}"
    if not math.isfinite(gain):
        return False, f"{change}: one of the two is not a number, so nothing is compared"
    # a family of another package may not say what is common to the two
    frames, pixels = (float(getattr(means, f"share_of_{name}", 1.0)) for name in ("frames", "pixels"))
    if min(frames, pixels) < rules.least_share:
        return False, (
            f"{change} on {means.num_frames} frames: only {frames:.1%} of the frames and {pixels:.1%} of the pixels are common "
            f"to both, least_share is {rules.least_share:g}"
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


def _champion_record(champion: Path, challenger: Training) -> tuple[dict[str, Any], CommonConfig]:
    """Return what a champion's training says of itself, and its configuration.

    Raises:
        ChampionError: the champion is of another family, or of one that this depthmill does not have.
    """
    from model.families import FAMILIES
    from model.train.known_families import UnknownOptionsError
    from model.train.loop import read_training

    record = read_training(champion)
    try:
        champion_config = FAMILIES.read(record["config"])
    except UnknownOptionsError as error:
        raise ChampionError(
            f"the champion '{champion}' was trained with options that this depthmill does not know: {error}. Use the depthmill "
            f"that made it, or delete {CHAMPION_FILE}: the next round's training becomes the champion"
        ) from error
    if champion_config.family != challenger.config.family:
        raise ChampionError(
            f"the champion '{champion}' is of family {champion_config.family}, this training of {challenger.config.family}: no "
            f"measure is common to them. Give this recipe a store of its own, or delete {CHAMPION_FILE}: the next round's "
            "training becomes the champion"
        )
    return record, champion_config


def _champion_evaluation(
    champion: Path, record: dict[str, Any], champion_config: CommonConfig, challenger: Training
) -> tuple[Path, str]:
    """Return the folder of the champion's evaluation on the challenger's frames, measuring it again if needed, and a note."""
    manifest = challenger.manifest.path.fingerprint
    differs = [] if record["manifest"] == manifest else [f"manifest {record['manifest']} -> {manifest}"]
    differs += challenger.family.measured_otherwise(champion_config, challenger.config)
    if not differs:
        return champion / "evaluation", ""
    folder = challenger.folder / MEASURED_AGAIN
    with noted_files(challenger.folder):
        _measure(champion, champion_config, challenger, folder)
    return folder, f"champion {champion.name} was measured again on the new frames and targets ({', '.join(differs)})"


def _scenes_left_out(champion: Path, challenger: Training, rules: Rules) -> tuple[frozenset[str], tuple[str, ...]]:
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
            (f"champion '{champion}'", by_champion) if by_champion else (f"training '{challenger.folder}'", by_challenger)
        )
        raise ChampionError(
            f"the {who} was trained on {len(culprit)} scene{'' if len(culprit) == 1 else 's'} that split '{measured}' "
            f"now measures on, e.g. '{min(culprit)}', so the two cannot be compared: less than the share "
            f"{rules.least_share:g} of the frames is new to both. Put these scenes back into train, or delete "
            f"{CHAMPION_FILE}: the next round's training becomes the champion"
        )
    return frozenset(seen), tuple(dict.fromkeys(manifest for one in of_both for manifest in one.unknown))


def _measure(champion: Path, champion_config: CommonConfig, challenger: Training, folder: Path) -> None:
    """Measure the champion's network exactly as the challenger's was, and keep it beside the challenger."""
    from model.devices import network_device
    from model.families import load_network
    from model.train.repeatable import repeatable

    manifest = challenger.manifest
    try:
        with repeatable(challenger.config, network_device(challenger.machine.accelerator).type):
            challenger.family.measure_as(
                load_network(champion / "best.pt"),
                champion_config,
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
            f"the champion '{champion}' cannot be measured on manifest {manifest.path.fingerprint}: {error}. Give it what it "
            f"needs, or delete {CHAMPION_FILE}: the next round's training becomes the champion"
        ) from error
