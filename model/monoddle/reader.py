"""What a loader worker does for the detector: reads an image, looks at it through its view, and makes the targets of the view.

Reads  images, boxes and depth_mono units through storage_schemas
Writes images, heat maps and the teacher's depth into a slot; returns the rest
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.data.frame_files import FrameBytes, FrameFiles
from model.data.objects import Objects
from model.data.samples import Sample, naming_frame
from model.data.slot_layout import SlotArray, SlotLayout
from model.data.units import OpenedUnits
from model.monoddle.affine_view import AffineView, resting_view, warp_depth_steps, warp_image
from model.monoddle.augment import DetectionAugmentConfig, draw_detection_view
from model.monoddle.network_config import MonoDdleConfig
from model.monoddle.targets import ObjectTargets, TargetRules, encode_objects
from storage_schemas.encoding import STEPS_PER_M
from storage_schemas.errors import DepthmillError, StoreError


class TargetError(DepthmillError):
    """Annotations that cannot be made into targets."""


class ReadView(NamedTuple):
    """One view that was read, beside what lies in the slot.

    Attributes:
        view: of the image.
        projection: (3, 4) of the whole image.
        objects: annotated in it.
        is_annotated: whether the image was annotated.
        targets: of the view, with an empty heat map (it is in the slot); None if they were not asked for.
    """

    view: AffineView
    projection: NDArray[np.float64]
    objects: Objects
    is_annotated: bool
    targets: ObjectTargets | None


@dataclass(frozen=True)
class DetectionReading:
    """What is read.

    Attributes:
        samples: the frames, by number.
        layout: what a slot holds; see ``detection_slots``.
        network: options of the network, which decide size, classes and targets.
        rules: which objects are learned; None = no targets are made.
        augment: what views may be drawn; None = resting views.
        seed: of the views.
        mono: read the teacher's depth.
        teacher_far_m: stored depth of the teacher from here on is sky or clipped and becomes 0, whatever a view scales it to.
    """

    samples: tuple[Sample, ...]
    layout: SlotLayout
    network: MonoDdleConfig
    rules: TargetRules | None
    augment: DetectionAugmentConfig | None
    seed: int
    mono: bool
    teacher_far_m: float = math.inf

    def open(self, units: OpenedUnits) -> DetectionReader:
        """Return a reader of this process."""
        return DetectionReader(units, self)


def detection_slots(num_frames: int, network: MonoDdleConfig, *, with_targets: bool, mono: bool) -> SlotLayout:
    """Return room for images (n, h, w, 3), heat maps (n, classes, h / 4, w / 4) and the teacher's depth (n, h / 4, w / 4)."""
    fields = [SlotArray("image", "uint8", (*network.input_px, 3))]
    if with_targets:
        fields.append(SlotArray("heatmap", "float32", (network.num_classes, *network.grid_px)))
    if mono:
        fields.append(SlotArray("teacher", "uint16", network.grid_px))
    return SlotLayout(num_frames, tuple(fields))


class DetectionReader:
    """Reads views; keeps what it has opened.

    Args:
        units: opened units of this process.
        reading: what is read.
    """

    def __init__(self, units: OpenedUnits, reading: DetectionReading) -> None:
        self._units, self._reading = units, reading
        self._files = FrameFiles(units, {"teacher": "depth_mono"} if reading.mono else {})

    def read(self, rows: Sequence[int], memory: NDArray[np.uint8], *, epoch: int) -> list[ReadView]:
        """Read views in the order given.

        Raises:
            DepthmillError: a unit or file is missing, damaged or of the wrong size, the teacher says nothing of an image, or an
                image has more objects than the network; names the frame.
        """
        samples = [self._reading.samples[row] for row in rows]
        arrays = self._reading.layout.arrays(memory, len(samples))
        return [
            self._decode(frame, {name: array[number] for name, array in arrays.items()}, epoch)
            for number, frame in enumerate(self._files.read(samples))
        ]

    def _decode(self, frame: FrameBytes, arrays: dict[str, NDArray[Any]], epoch: int) -> ReadView:
        sample = frame.sample
        with naming_frame(sample):
            view = self._view(sample, epoch)
            image_u8 = np.empty((sample.height, sample.width, 3), np.uint8)
            frame.decode_image(image_u8)
            arrays["image"][...] = warp_image(image_u8, view)
            if self._reading.mono:
                arrays["teacher"][...] = self._teacher(frame, view)
            boxes = self._units.boxes(sample)
            objects, projection = boxes.objects(sample.frame), boxes.projections[sample.frame]
            is_annotated = bool(boxes.is_annotated[sample.frame])
            return ReadView(view, projection, objects, is_annotated, self._targets(sample, objects, projection, view, arrays))

    def _view(self, sample: Sample, epoch: int) -> AffineView:
        size, reading = (sample.height, sample.width), self._reading
        if reading.augment is None:
            return resting_view(size, reading.network.input_px)
        return draw_detection_view(
            reading.augment,
            size,
            input_px=reading.network.input_px,
            seed=reading.seed,
            epoch=epoch,
            frame_key=sample.frame_key,
        )

    def _teacher(self, frame: FrameBytes, view: AffineView) -> NDArray[np.uint16]:
        steps = np.empty((frame.sample.height, frame.sample.width), np.uint16)
        frame.decode_map("teacher", steps)
        if not steps.any():
            raise StoreError(
                "the teacher's map (depth_mono) has no value at all, so there is nothing to learn from it. Look at the stages "
                "predict_mono_depth and align_mono_depth, or train with distill.form: none"
            )
        if math.isfinite(self._reading.teacher_far_m):
            steps[steps >= self._reading.teacher_far_m * STEPS_PER_M] = 0
        return warp_depth_steps(steps, view, stride=self._reading.network.stride)

    def _targets(
        self,
        sample: Sample,
        objects: Objects,
        projection: NDArray[np.float64],
        view: AffineView,
        arrays: dict[str, NDArray[Any]],
    ) -> ObjectTargets | None:
        if self._reading.rules is None:
            return None
        try:
            targets = encode_objects(
                objects,
                projection,
                view=view,
                config=self._reading.network,
                frame_key=sample.frame_key,
                rules=self._reading.rules,
            )
        except ValueError as error:
            raise TargetError(str(error)) from error
        arrays["heatmap"][...] = targets.heatmap
        return targets._replace(heatmap=np.zeros(0, np.float32))
