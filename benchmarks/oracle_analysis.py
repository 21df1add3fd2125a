"""Claim: the whole analysis of 3,769 frames with 50 detections each takes seconds; measured one by one its tables would take a minute and more.

Frames made up: as many as KITTI's validation split, 5 annotated objects and 50 detections each on average; most objects are found,
       some twice, and what is left of the 50 are false alarms
Plain  every replacement and every shift measured by ``average_precision`` on changed detections: one of them is timed, and counted
       as often as there are
Ours   ``analysis_of`` on all of it: pairs and matches are found once, and only what moved is compared again
"""

from __future__ import annotations

import measure  # isort: skip  (before numpy: it limits the thread pools)
import average_precision as made_up
import numpy as np

from model.data.objects import Objects, join_objects
from model.monoddle.analysis.analysis import Analysis, analysis_of
from model.monoddle.analysis.centre_shift import DEPTHS_M, SIDES_PX
from model.monoddle.analysis.oracle import REPLACEMENTS
from model.monoddle.measured_cameras import FrameCamera
from model.monoddle.measured_objects import MeasuredFrame, MeasuredObjects
from model.monoddle.precision.average_precision import average_precision

P2 = np.array([[721.5377, 0.0, 609.5593, 44.85728], [0.0, 721.5377, 172.854, 0.2163791], [0.0, 0.0, 1.0, 0.002745884]])
CLASSES = ("Car",)


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--frames", type=int, default=3769, help="frames; KITTI's validation split has 3,769")
    parser.add_argument(
        "--detections", type=int, default=50, help="detections of a frame; a detector of this line says 50 at most"
    )
    args = measure.parsed(parser, frames=40, detections=30)
    print(measure.machine())
    rng = np.random.default_rng(0)
    frames = {str(number): _frame(rng, args.detections) for number in range(args.frames)}
    cameras = [FrameCamera(P2, (375, 1242))] * args.frames
    some = MeasuredObjects(dict(list(frames.items())[:20]), 1.0)
    analysis_of(some, cameras[:20], CLASSES)  # the first call compiles the kernels
    answer = list[Analysis]()
    ours_ms = measure.cpu_ms(lambda: answer.append(analysis_of(MeasuredObjects(frames, 1.0), cameras, CLASSES)))
    truth, found = [frame.truth for frame in frames.values()], [frame.found for frame in frames.values()]
    one_ms = measure.cpu_ms(lambda: average_precision(truth, found, classes=CLASSES))
    times = len(REPLACEMENTS) + 2 * (len(DEPTHS_M) + len(SIDES_PX))
    print(f"{args.frames:,} frames, {sum(map(len, truth)):,} objects, {sum(map(len, found)):,} detections, {times} sets of boxes")
    print("way | CPU")
    print(f"average precision, once | {one_ms / 1e3:.2f} s")
    print(f"one by one, estimated | {times * one_ms / 1e3:.0f} s")
    print(f"ours, the whole analysis | {ours_ms / 1e3:.2f} s")
    print(f"ratio {times * one_ms / ours_ms:.1f}x")
    nothing = [row.r40 for row in answer[0].oracle if row.replaced == "nothing"]
    wanted = [row.r40 for row in average_precision(truth, found, classes=CLASSES)]
    print(f"AP with nothing replaced differs by at most {max(abs(a - b) for a, b in zip(nothing, wanted, strict=True)):.1e}")


def _frame(rng: np.random.Generator, num_detections: int) -> MeasuredFrame:
    truth, found = made_up.made_up_frame(rng)
    alarms = made_up.scattered(rng, max(0, num_detections - len(found)), ["Car"], [1.0])
    alarms.score[:] = rng.beta(1, 4, len(alarms))
    every: Objects = join_objects([found, alarms])
    return MeasuredFrame(truth, every)


if __name__ == "__main__":
    main()
