"""Which images between key frames are the older frames of a clip, camera by camera.

Why    Key frames are half a second apart. Video is learned from neighbours a twelfth of a second apart, as published: the key
       frame and the two images before it
Source docs/method/pipeline.md#clips; docs/method/mim4d.md#clips

The first camera sets the times: its image of step n lies n strides before its key image. Every other camera gives the image whose
lag behind its own key image is nearest to that lag. So a camera that dropped an image does not shift its whole past by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clip_rigs import nearest

Row = dict[str, Any]


class CameraSweeps:
    """The images of one scene, by camera.

    Args:
        images: rows of ``camera_sweeps``, by camera in time order.
    """

    def __init__(self, images: Sequence[Row]) -> None:
        self._images: dict[str, list[Row]] = {}
        for row in images:
            self._images.setdefault(row["camera"], []).append(row)
        self._times_us: dict[str, NDArray[np.int64]] = {
            camera: np.array([row["timestamp_us"] for row in images_of], np.int64) for camera, images_of in self._images.items()
        }
        self._key_number = {
            (camera, row["sample_index"]): number
            for camera, images_of in self._images.items()
            for number, row in enumerate(images_of)
            if row["is_keyframe"]
        }

    def has_past(self, camera: str, sample_index: int, *, num_images: int) -> bool:
        """Say whether a camera's key image has so many images before it; True for a key frame without an image of the camera."""
        return self._key_number.get((camera, sample_index), num_images) >= num_images

    def window(self, sample_index: int, cameras: Sequence[str], *, num_frames: int, stride: int) -> list[list[Row]] | None:
        """Return the images of a key frame and of the frames before it, the newest first, one a camera; None if one is missing.

        An image counts as missing if it does not exist, or if its lag differs from the first camera's by more than half of what
        usually lies between two images of the camera. So does an image that a break in the chain separates from the key image.

        Args:
            sample_index: number of the key frame.
            cameras: in this order; the first one sets the times.
            num_frames: frames of the window.
            stride: images from one frame to the next.
        """
        keys = [self._key_number.get((camera, sample_index)) for camera in cameras]
        frames: list[list[Row]] = []
        for step in range(num_frames):
            row = [self._back(camera, key, cameras[0], keys[0], step * stride) for camera, key in zip(cameras, keys, strict=True)]
            complete = [image for image in row if image is not None]
            if len(complete) < len(cameras):
                return None
            frames.append(complete)
        return frames

    def _back(self, camera: str, key: int | None, first: str, first_key: int | None, count: int) -> Row | None:
        """Return the image of a camera that is as long ago as the image of the first one, so many images back."""
        if key is None or first_key is None or first_key < count:
            return None
        first_us, times_us = self._times_us[first], self._times_us[camera]
        lag_us = int(first_us[first_key] - first_us[first_key - count])
        wanted_us = int(times_us[key]) - lag_us
        number = nearest(times_us, wanted_us)
        assert number is not None  # the key image is always among the times
        if 2 * abs(int(times_us[number]) - wanted_us) > (np.median(np.diff(times_us)) if len(times_us) > 1 else 0):
            return None
        image = self._images[camera][number]
        return image if image["chain"] == self._images[camera][key]["chain"] else None
