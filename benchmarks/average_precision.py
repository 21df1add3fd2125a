"""Claim: average precision of 3,769 frames, all classes, metrics and difficulties, takes under a second; plain Python half a minute and more.

Frames made up: as many as KITTI's validation split, 5 annotated objects and 20 detections each on average, of three classes, with
       neighbours, areas not to be judged, low, hidden and cut-off objects; most objects are found, some twice, with alarms between
Plain  the readable twin: loops over frames, objects and detections, boxes clipped corner by corner, on every n-th frame
Ours   ``average_precision`` on all of them, and on the frames of the plain one, where the two must agree
"""

from __future__ import annotations

import measure  # isort: skip  (before numpy: it limits the thread pools)
import numpy as np

from model.data.objects import Objects, join_objects
from model.monoddle.precision.average_precision import ApRow, average_precision
from model.monoddle.precision.average_precision_twin import average_precision_plain
from model.monoddle.precision.box_overlap import overlap_3d, solid_boxes

CATEGORIES = ["Car", "Pedestrian", "Cyclist", "Van", "Person_sitting", "Truck", "DontCare"]
SHARES = [0.55, 0.1, 0.05, 0.08, 0.02, 0.05, 0.15]


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--frames", type=int, default=3769, help="frames; KITTI's validation split has 3,769")
    parser.add_argument("--plain-every", type=int, default=20, help="the plain way measures every n-th frame")
    parser.add_argument("--repeat", type=int, default=5, help="runs of ours, of which the median counts")
    args = measure.parsed(parser, frames=60, plain_every=6, repeat=1)
    print(measure.machine())
    rng = np.random.default_rng(0)
    truth, detected = (list(part) for part in zip(*(made_up_frame(rng) for _ in range(args.frames)), strict=True))
    some_truth, some_detected = truth[:: args.plain_every], detected[:: args.plain_every]
    # the first call compiles the kernels
    rows_by_way: dict[str, list[ApRow]] = {"ours": average_precision(some_truth, some_detected)}

    def plain() -> None:
        rows_by_way["plain"] = average_precision_plain(some_truth, some_detected)

    plain_ms = measure.cpu_ms(plain)
    some_ms = measure.cpu_ms(lambda: average_precision(some_truth, some_detected), repeat=args.repeat)
    ours_ms = measure.cpu_ms(lambda: average_precision(truth, detected), repeat=args.repeat)
    differ = max(abs(a.r40 - b.r40) for a, b in zip(rows_by_way["ours"], rows_by_way["plain"], strict=True))
    shared = all(a[:5] + a[7:] == b[:5] + b[7:] for a, b in zip(rows_by_way["ours"], rows_by_way["plain"], strict=True))
    count = f"{len(truth):,} frames, {sum(map(len, truth)):,} objects, {sum(map(len, detected)):,} detections, {len(rows_by_way['ours'])} entries"
    print(f"{count}; the plain way on {len(some_truth):,} frames")
    print("way | frames | CPU | a frame")
    print(f"plain Python | {len(some_truth):,} | {plain_ms / 1e3:.2f} s | {plain_ms / len(some_truth):.2f} ms")
    print(f"ours, the same frames | {len(some_truth):,} | {some_ms / 1e3:.3f} s | {some_ms / len(some_truth):.3f} ms")
    print(f"ours, all frames | {len(truth):,} | {ours_ms / 1e3:.2f} s | {ours_ms / len(truth):.3f} ms")
    print(
        f"plain Python, all frames, estimated: {plain_ms / len(some_truth) * len(truth) / 1e3:.0f} s; ratio {plain_ms / len(some_truth) / (ours_ms / len(truth)):.0f}x"
    )
    print(f"AP of the two differs by at most {differ:.1e}; counts {'agree' if shared else 'DIFFER'}")
    print(f"turned boxes in space: {_us_a_pair(args.repeat):.2f} us a pair that may touch")


def made_up_frame(rng: np.random.Generator) -> tuple[Objects, Objects]:
    truth = scattered(rng, int(rng.poisson(5)), CATEGORIES, SHARES)
    is_area = truth.category == "DontCare"
    truth.size_hwl_m[is_area], truth.location_m[is_area] = -1.0, -1000.0
    hits = truth[np.flatnonzero((rng.random(len(truth)) < 0.9) & ~is_area & (truth.category != "Truck"))]
    hits = join_objects([hits, hits[: len(hits) // 4]])
    hits.box_px[:] += rng.normal(0, 2, hits.box_px.shape)
    hits.location_m[:] += (
        rng.normal(0, 1, hits.location_m.shape) * np.array([0.1, 0.03, 0.02]) * (1 + hits.location_m[:, 2:] / 20)
    )
    hits.rotation_y_rad[:] += rng.normal(0, 0.1, len(hits))
    hits.alpha_rad[:] += rng.normal(0, 0.2, len(hits))
    hits.category[:] = np.where(
        hits.category == "Van", "Car", np.where(hits.category == "Person_sitting", "Pedestrian", hits.category)
    )
    hits.score[:] = rng.beta(4, 2, len(hits))
    alarms = scattered(rng, max(0, int(rng.poisson(20)) - len(hits)), CATEGORIES[:3], [0.6, 0.25, 0.15])
    alarms.score[:] = rng.beta(1, 4, len(alarms))
    return truth, join_objects([hits, alarms])


def scattered(rng: np.random.Generator, count: int, categories: list[str], shares: list[float]) -> Objects:
    z = rng.uniform(5, 65, count)
    x = rng.uniform(-0.6, 0.6, count) * z
    size = rng.uniform([1.4, 0.5, 0.8], [1.9, 1.9, 4.2], (count, 3))
    u, bottom, height = 620 + 720 * x / z, 180 + 720 * 1.65 / z, 720 * size[:, 0] / z
    half = 360 * (size[:, 1] + size[:, 2]) / 2 / z
    return Objects(
        category=np.array(rng.choice(categories, count, p=shares), "U14"),
        truncation=rng.choice([0.0, 0.2, 0.4, 0.8], count, p=[0.85, 0.05, 0.05, 0.05]),
        occlusion=rng.choice([0, 1, 2, 3], count, p=[0.6, 0.2, 0.15, 0.05]),
        alpha_rad=rng.uniform(-np.pi, np.pi, count),
        box_px=np.column_stack([u - half, bottom - height, u + half, bottom]),
        size_hwl_m=size,
        location_m=np.column_stack([x, np.full(count, 1.65), z]),
        rotation_y_rad=rng.uniform(-np.pi, np.pi, count),
        score=np.zeros(count),
    )


def _us_a_pair(repeat: int, count: int = 50_000) -> float:
    rng = np.random.default_rng(1)
    boxes = solid_boxes(scattered(rng, count, CATEGORIES[:3], [0.6, 0.25, 0.15]))
    others = boxes + rng.normal(0, 0.1, boxes.shape) * [1, 1, 1, 0, 0, 0, 1]
    return 1e3 * measure.cpu_ms(lambda: overlap_3d(boxes, others), repeat=repeat) / count


if __name__ == "__main__":
    main()
