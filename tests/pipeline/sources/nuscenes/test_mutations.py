"""Whatever is spoiled of tables and files: numbers stay, or an error names it, or a counted line is about it. Never silence.

``tests/mutated_nuscenes.py`` makes the mutations. What no check can find is listed here with the reason.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from tests.mutated_nuscenes import Mutation, Outcome, Workspace, mutations
from tests.time_limit import TooLongError, within

UNDETECTABLE: dict[str, str] = {
    r"calibrated_sensor\[.*\]\.translation.*: (0|negative|\+ 2|swapped)": (
        "a place on the car is as good as another: nothing else in a scene says where a sensor is mounted"
    ),
    r"calibrated_sensor\[1\]\.rotation\[[23]\]: negative": "a camera may look up, down or to the side",
    r"calibrated_sensor\[1\]\.camera_intrinsic\[[01], [012]\]: \+ 2": "a lens that is 2 px longer or shifted by 2 px is a lens, too",
    r"category\[0, 1\]\.(name|token): swapped": "nothing but its name says what a thing is",
    r"scene\[0\]\.name: text": "a scene may have any name",
    r"sample_annotation\[.*\]\.translation\[[01]\]: \+ 2": (
        "the first and the last box of a track that are 2 m off may be of an object that brakes or turns"
    ),
    r"sample_annotation\[.*\]\.translation\[2\]: (0|negative|\+ 2)": "the same; here 0 and the negative are 0.8 and 1.6 m away",
    r".*\.timestamp: in \+ 30 ms": "clocks of sensors differ by less than 0.1 s, and key frames of cameras by 0.05 s",
    r"(samples|sweeps)/.*: (1|8|100) bits flipped": "numbers and pixels have no checksum, so another value is a value",
    r".*jpg: zeros in the middle": "the same; 100 bytes. A lost block of 4,096 is found",
    r".*LIDAR_TOP.*: zeros in the middle": "the same; 5 points. A hole longer than a round of lasers is found",
    r".*LIDAR_TOP.*: cut to 32000": "a whole number of rounds, 2 % shorter: real sweeps differ by as much",
}
"""Mutations that change numbers without a word, as a pattern of their names -> why no check can find them."""

WORDS = {
    "calibrated_sensor": ("calibrat", "intrinsic"),
    "sample_annotation": ("boxes", "box"),
    "sample_data": ("CAM_FRONT", "LIDAR_TOP", "RADAR_FRONT", "key frame"),
    "sensor": ("files of", "no LiDAR", "no radar"),
    "ego_pose": ("ego pose", "steps of the car"),
    "sample": ("key frames", "timestamp"),
    "category": ("category", "box"),
    "instance": ("box",),
    "": ("files", "LIDAR_TOP", "returns", "images", "zeros"),
}
"""Table -> words of which a line about it has one; "" = files of sensors."""


@pytest.fixture(scope="module")
def space(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("mutated"))


def _kind(space: Workspace, mutation: Mutation, outcome: Outcome) -> str:
    """Return the kind of an outcome; those in capitals are faults."""
    if outcome.crash:
        return "CRASH"
    if outcome.error:
        return "a named error" if _names(space, mutation, outcome.error) else "AN ERROR THAT NAMES NOTHING"
    if outcome.numbers == space.sound.numbers:
        return "the same numbers"
    if outcome.warnings:
        return "other numbers and a line" if _is_about(mutation, outcome.warnings) else "A LINE ABOUT SOMETHING ELSE"
    if any(re.fullmatch(pattern, mutation.name) for pattern in UNDETECTABLE):
        return "other numbers, undetectable"
    return "SILENCE"


def _names(space: Workspace, mutation: Mutation, text: str) -> bool:
    if not mutation.table:
        return mutation.where in text
    tokens = [one["token"] for one in space.tables[mutation.table]]
    channels = ("CAM_FRONT", "LIDAR_TOP", "RADAR_FRONT")  # a file's name has its channel, too
    return mutation.table in text or any(word in text for word in (*tokens, *channels))


def _is_about(mutation: Mutation, lines: tuple[str, ...]) -> bool:
    return any(word in line for line in lines for word in (*WORDS.get(mutation.table, ()), f"{mutation.table}.json"))


def _all_told(space: Workspace, chosen: list[Mutation]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    faults = []
    for mutation in chosen:
        try:
            with within(10):
                outcome = space.spoiled(mutation)
        except TooLongError:
            outcome = Outcome("", (), None, "took too long")
        kind = _kind(space, mutation, outcome)
        kinds[kind] += 1
        if kind.isupper():
            faults.append(f"{kind}: {mutation.name}: {outcome.crash or outcome.error or outcome.warnings}")
    print(len(chosen), "mutations:", dict(kinds))
    assert not faults, "\n".join(faults[:40])
    return kinds


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_set_when_one_thing_is_spoiled_then_same_numbers_or_an_error_or_a_line(space):
    every = mutations(space)
    chosen = [every[number] for number in np.random.default_rng(17).choice(len(every), 150, replace=False)]
    kinds = _all_told(space, chosen)
    assert kinds["a named error"] > 60
    assert kinds["the same numbers"] > 20


@pytest.mark.slow
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_set_when_each_thing_is_spoiled_in_turn_then_never_silence(space):
    every = mutations(space)
    kinds = _all_told(space, every)
    assert sum(kinds.values()) == len(every) > 6000
    assert kinds["other numbers, undetectable"] < 0.02 * len(every)


def test_undetectable_mutations_when_listed_then_each_rule_is_of_a_mutation(space):
    names = [mutation.name for mutation in mutations(space)]
    unused = [pattern for pattern in UNDETECTABLE if not any(re.fullmatch(pattern, name) for name in names)]
    assert unused == []


@pytest.mark.parametrize(
    ("start", "action", "code", "said"),
    [
        ("samples/LIDAR_TOP", "a FIFO", 1, "is a pipe or a device, expected a file"),
        ("samples/RADAR_FRONT", "a link to an endless device", 1, "is a pipe or a device, expected a file"),
        ("v1.0-mini/category.json", "a FIFO", 2, "is a pipe or a device, expected a file"),
        (
            "ego_pose[5].translation[1]",
            "+ 2",
            0,
            "warning: scene-0061: LIDAR_TOP files have an ego pose beside the way of the car",
        ),
        ("samples/LIDAR_TOP", "that of another time", 0, "warning: scene-0061: files hold the same bytes as another file"),
        ("sample_annotation[1].size[2]", "+ 2", 0, "warning: scene-0061: boxes have another size"),
    ],
)
def test_run_when_one_thing_is_spoiled_then_its_exit_code_and_text_say_so(
    space, start, action, code, said, write_recipe, depthmill
):
    mutation = next(one for one in mutations(space) if one.name.startswith(start) and one.name.endswith(f": {action}"))
    with space.holding(mutation):
        got, text = depthmill("run", write_recipe(space.root, cameras=["CAM_FRONT"]), "--no-prefect", "--no-report")
    assert "Traceback" not in text
    assert (got, said in text) == (code, True), text
