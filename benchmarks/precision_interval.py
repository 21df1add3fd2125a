"""Claim: the interval of a difference of average precisions misses 0 about as often as it says where two detectors are equally good.

Scenes  made up: 6 frames of 4 cars each. How hard a scene is, is drawn anew for each and is the same for both detectors. On top of it
        each detector has luck of its own in each scene, and on each car; alarms are between the detections. Both are equally good
Share   of repetitions whose interval misses 0; 5 % is right. Beside it the share if frames were drawn in place of scenes
Plain   a draw of scenes measured by ``average_precision`` on its frames, repetitions and all; ours weighs what each scene counts
nuScenes the same of its metric, whose matches are made up: as many key frames and scenes as its validation split has
"""

from __future__ import annotations

import measure  # isort: skip  (before numpy: it limits the thread pools)
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.objects import Objects, join_objects
from model.monoddle.precision.average_precision import KITTI_DIFFICULTIES, average_precision
from model.monoddle.precision.precision_resampling import (
    PrecisionRow,
    ScoreChanges,
    drawn_precision,
    precision_interval,
    score_changes,
)
from model.uvtr.classes import CLASSES
from model.uvtr.detection_metric import class_curve, figures_of, figures_of_curves
from model.uvtr.frame_matches import COLUMNS, ERRORS, Matches

ROW = PrecisionRow("Car", "3d", "strict", KITTI_DIFFICULTIES[1])
FRAMES, CARS = 6, 4


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--scenes", type=int, nargs="+", default=[10, 20], help="scenes of a validation split")
    parser.add_argument("--repeat", type=int, default=200, help="pairs of equally good detectors for each number of scenes")
    parser.add_argument("--resamples", type=int, default=300, help="draws behind each interval")
    parser.add_argument("--draws", type=int, default=20, help="draws that the plain way measures too")
    parser.add_argument(
        "--val-scenes", type=int, default=150, help="of 40 key frames, 200 detections each, by the nuScenes metric"
    )
    args = measure.parsed(parser, scenes=[10], repeat=3, resamples=20, draws=2, val_scenes=4)
    print(measure.machine())
    print("scenes | misses 0 | if frames were drawn | mean AP_R40 | mean width")
    for num_scenes in args.scenes:
        found = [_missed(num_scenes, seed, args.resamples) for seed in range(args.repeat)]
        by_scene, by_frame, precision, width = np.array(found, float).T
        print(
            f"{num_scenes} | {by_scene.mean():.1%} | {by_frame.mean():.1%} | {precision.mean():.1f} | {width.mean():.1f} points"
        )
    _cost(max(args.scenes), args.draws)
    _nuscenes_cost(args.val_scenes, args.draws)


def _missed(num_scenes: int, seed: int, resamples: int) -> tuple[bool, bool, float, float]:
    truth, a, b, scenes = _pair(num_scenes, seed)
    every, frames = (_both(truth, a, b, numbers) for numbers in (scenes, list(range(len(truth)))))
    drawn, by_frame = (precision_interval(*one, num_resamples=resamples, seed=seed) for one in (every, frames))
    assert drawn.low is not None and drawn.high is not None and by_frame.low is not None and by_frame.high is not None
    precision = drawn_precision(every[0], np.ones(num_scenes, np.int64))
    missed = (not drawn.low <= 0 <= drawn.high, not by_frame.low <= 0 <= by_frame.high)
    return *missed, precision, drawn.high - drawn.low


def _both(truth: list[Objects], a: list[Objects], b: list[Objects], scenes: list[int]) -> tuple[ScoreChanges, ScoreChanges]:
    return score_changes(truth, a, scenes, ROW), score_changes(truth, b, scenes, ROW)


def _pair(num_scenes: int, seed: int) -> tuple[list[Objects], list[Objects], list[Objects], list[int]]:
    """Return truth, the detections of two equally good detectors, and the scene of each frame."""
    rng = np.random.default_rng(seed)
    hard, luck = rng.normal(0, 1, num_scenes), rng.normal(0, 0.7, (2, num_scenes))
    scenes = [scene for scene in range(num_scenes) for _ in range(FRAMES)]
    truth = [_cars(CARS) for _ in scenes]
    a, b = ([_found(rng, one, 1.0 - hard[scene] + own[scene]) for one, scene in zip(truth, scenes, strict=True)] for own in luck)
    return truth, a, b, scenes


def _cars(count: int) -> Objects:
    place = np.column_stack([20.0 * np.arange(count), np.full(count, 1.6), np.full(count, 20.0)])
    box = np.array([(100.0 * i, 100.0, 100.0 * i + 80, 160.0) for i in range(count)]).reshape(-1, 4)
    nothing = np.zeros(count)
    size = np.tile([1.5, 1.6, 3.9], (count, 1))
    return Objects(np.full(count, "Car"), nothing, nothing.astype(np.int64), nothing, box, size, place, nothing, nothing)


def _found(rng: np.random.Generator, truth: Objects, skill: float) -> Objects:
    is_found = rng.random(len(truth)) < 1.0 / (1.0 + np.exp(-skill))
    hits = replace(truth, score=rng.normal(0.6, 0.15, len(truth)))[is_found]
    alarms = _cars(int(rng.poisson(1.0)))
    beside = replace(alarms, location_m=alarms.location_m + np.array([0.0, 0.0, 30.0]), score=rng.normal(0.4, 0.15, len(alarms)))
    return join_objects([hits, beside])


def _cost(num_scenes: int, num_draws: int) -> None:
    truth, a, _, scenes = _pair(num_scenes, 0)
    changes = score_changes(truth, a, scenes, ROW)
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, num_scenes, num_scenes) for _ in range(num_draws)]
    values: dict[str, list[float]] = {}

    def plain() -> None:
        values["plain"] = []
        for draw in draws:
            frames = [frame for scene in draw for frame in range(scene * FRAMES, (scene + 1) * FRAMES)]
            rows = average_precision([truth[frame] for frame in frames], [a[frame] for frame in frames], classes=("Car",))
            values["plain"] += [
                row.r40 for row in rows if (row.metric, row.overlap, row.difficulty) == ("3d", "strict", "moderate")
            ]

    def ours() -> None:
        values["ours"] = [drawn_precision(changes, np.bincount(draw, minlength=num_scenes)) for draw in draws]

    ours()  # the first call compiles the kernels
    plain_ms, ours_ms = measure.cpu_ms(plain) / num_draws, measure.cpu_ms(ours, repeat=3) / num_draws
    apart_ms = measure.cpu_ms(lambda: score_changes(truth, a, scenes, ROW))
    differ = max(abs(x - y) for x, y in zip(values["plain"], values["ours"], strict=True))
    print(f"a draw of {num_scenes} scenes: plain {plain_ms:.2f} ms, ours {ours_ms:.3f} ms CPU; ratio {plain_ms / ours_ms:.0f}x")
    print(f"taking a detector apart once: {apart_ms:.1f} ms CPU; the two differ by at most {differ:.1e} points of AP")


def _nuscenes_cost(num_scenes: int, num_draws: int) -> None:
    matches, scene_of = _matches(num_scenes)
    curves = [class_curve(matches, label) for label in range(len(CLASSES))]
    rng = np.random.default_rng(0)
    draws = [np.bincount(rng.integers(0, num_scenes, num_scenes), minlength=num_scenes) for _ in range(num_draws)]
    values: dict[str, list[NDArray[Any]]] = {}

    def plain() -> None:
        values["plain"] = [figures_of(_repeated(matches, times[scene_of])).ap for times in draws]

    def ours() -> None:
        values["ours"] = [figures_of_curves(matches, curves, times[scene_of]).ap for times in draws]

    plain_ms, ours_ms = measure.cpu_ms(plain) / num_draws, measure.cpu_ms(ours) / num_draws
    differ = np.abs(np.array(values["plain"]) - np.array(values["ours"])).max()
    print(f"nuScenes metric, {len(matches.frames)} key frames, {len(matches.score)} detections, a draw of {num_scenes} scenes: "
          f"plain {plain_ms:.1f} ms, ours {ours_ms:.2f} ms CPU; ratio {plain_ms / ours_ms:.0f}x; "
          f"the two differ by at most {differ:.1e}")  # fmt: skip


def _matches(num_scenes: int) -> tuple[Matches, NDArray[Any]]:
    """Return made up matches of scenes of 40 key frames with 20 objects and 200 detections each, and each key frame's scene."""
    rng = np.random.default_rng(0)
    num_frames = 40 * num_scenes
    num_truth, num_found = 20 * num_frames, 200 * num_frames
    taken = np.full((num_found, 4), -1, np.int64)
    hits = rng.choice(num_found, num_truth, replace=False)
    for threshold, share in enumerate((0.1, 0.3, 0.5, 0.6)):
        taken[hits, threshold] = np.where(rng.random(num_truth) < share, np.arange(num_truth), -1)
    matches = Matches(
        frames=tuple(f"scene-{number // 40:04d}/{number}" for number in range(num_frames)),
        found_label=rng.integers(0, len(CLASSES), num_found),
        found_frame=np.repeat(np.arange(num_frames), 200),
        found_range_m=np.full(num_found, 10.0),
        score=rng.random(num_found) + (taken[:, 3] >= 0),  # hits are surer
        taken=taken,
        errors=rng.random((num_found, len(ERRORS))),
        truth_label=rng.integers(0, len(CLASSES), num_truth),
        truth_frame=np.repeat(np.arange(num_frames), 20),
        truth_range_m=np.full(num_truth, 10.0),
        truth_visibility=np.full(num_truth, ""),
    )
    return matches, np.arange(num_frames) // 40


def _repeated(matches: Matches, times: NDArray[np.int64]) -> Matches:
    """Return the matches of key frames, each as often as it counts, one copy a detection. Which object one took plays no part."""
    copies = {side: np.repeat(np.arange(len(frames)), times[frames]) for side, frames in (
        ("found", matches.found_frame), ("truth", matches.truth_frame),
    )}  # fmt: skip
    of_found = ("score", "taken", "errors")
    return replace(matches, **{
        name: getattr(matches, name)[copies["found" if name.startswith("found") or name in of_found else "truth"]]
        for name in COLUMNS
    })  # fmt: skip


if __name__ == "__main__":
    main()
