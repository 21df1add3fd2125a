"""A video of a scene: its pictures beside each other, key frame by key frame, with titles, time and colour scales.

Reads  ViewedScene, and a folder of predictions
Writes <scene>.webm (VP9) or .mp4 (H.264)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html.lettering import fitting
from flows.viewing.color_key import INK, TEXT_PX, ColorKey
from flows.viewing.frame_content import KeyFrame
from flows.viewing.pictures import TITLES, frame_pictures
from flows.viewing.predictions import Predictions
from flows.viewing.scene import ViewedScene
from storage_schemas.awaited import counted
from storage_schemas.errors import RecipeError
from storage_schemas.files import written_whole

MAX_SIZE_PX = (1920, 1080)
"""A video is at most so large: what every screen and browser shows."""

WITHOUT_PREDICTIONS = ("camera", "accumulated", "clean", "removed")
WITH_PREDICTIONS = ("camera", "clean", "predicted", "errors_predicted")
"""Pictures that a video shows if none are chosen."""

TITLE_PX, FOOT_PX = 24, 28
"""Heights of the line above a picture, and of the line with the time below all of them."""

LEAST_WIDTH_PX = 480
"""Width that a video has at least, so that its words have room."""

BACKGROUND = (16, 18, 22)

CODECS = {
    ".webm": ("webm", "libvpx-vp9", {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "6"}),
    ".mp4": ("mp4", "libx264", {"crf": "21", "preset": "fast", "movflags": "+faststart"}),
}
"""Container, codec and options by the file's ending. The settings keep single points visible at about 100 kB a frame."""

SLOWEST_FPS, FASTEST_FPS = 0.2, 60.0


@dataclass(frozen=True)
class Made:
    """What a video shows.

    Attributes:
        num_frames: frames.
        fps: frames a second.
        size: (width, height) in pixels.
        pictures: names of the pictures of each camera.
    """

    num_frames: int
    fps: float
    size: tuple[int, int]
    pictures: tuple[str, ...]


def write_video(
    scene: ViewedScene,
    out: Path,
    *,
    predictions: Predictions | None,
    pictures: Sequence[str],
    fps: float | None,
) -> Made:
    """Write the video of a scene, whole or not at all.

    Args:
        scene: opened.
        out: file to write, .webm or .mp4; replaced if it exists.
        predictions: None = there are none.
        pictures: names in ``TITLES``; empty = those that tell the most.
        fps: frames a second; None = as fast as the drive was.

    Raises:
        RecipeError: the scene has none of the pictures.
        StoreError: a unit cannot be read.
        SourceError: an image or a prediction is damaged.
        OSError: the file cannot be written.
    """
    container_format, codec, options = CODECS[out.suffix.lower()]
    rate = Fraction(fps or speed_fps(scene.times_us())).limit_denominator(1000)
    num_frames = 0
    with written_whole(out, is_flushed=False) as file, av.open(file.name, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)  # both codecs are of pictures
        sheet = None
        for key_frame in counted(scene.key_frames(), "key frames are drawn", total=len(scene)):
            drawn = _drawn(key_frame, scene, predictions)
            if sheet is None:
                _refuse_if_none_is_there(pictures, drawn, scene.name)
                sheet = Sheet.of(scene, drawn, pictures or (WITHOUT_PREDICTIONS if predictions is None else WITH_PREDICTIONS))
                stream.width, stream.height = sheet.size
                stream.pix_fmt = "yuv420p"
            image = sheet.draw(drawn, f"{scene.name}   key frame {key_frame.number}   {_moment(key_frame)}")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
            num_frames += 1
        container.mux(stream.encode(None))
    assert sheet is not None  # a scene has a frame
    return Made(num_frames, float(rate), sheet.size, sheet.pictures)


def _refuse_if_none_is_there(pictures: Sequence[str], drawn: Drawn, scene: str) -> None:
    there = {name for _, name in drawn}
    if pictures and there.isdisjoint(pictures):
        has = ", ".join(name for name in TITLES if name in there)
        raise RecipeError(f"scene '{scene}' has no picture '{', '.join(pictures)}'; it has {has}. Choose of these with --picture")


def speed_fps(times_us: Sequence[int]) -> float:
    """Return the key frames a second of a drive; 2, as in nuScenes, where it has no second one."""
    steps_s = np.diff(np.unique(times_us)) / 1e6
    return 2.0 if not len(steps_s) else float(np.clip(1.0 / np.median(steps_s), SLOWEST_FPS, FASTEST_FPS))


Drawn = dict[tuple[str, str], Image.Image]
"""Pictures by camera and name."""


def _drawn(key_frame: KeyFrame, scene: ViewedScene, predictions: Predictions | None) -> Drawn:
    drawn: Drawn = {}
    for frame in key_frame.cameras:
        predicted = found = None
        if predictions is not None:
            predicted = predictions.depth(frame.row)
            found = predictions.objects(frame.row, scene.projection_px(frame), frame.scene_from_cam)
        for name, picture in frame_pictures(frame, key_frame.boxes, predicted, found).items():
            drawn[frame.camera, name] = picture
    return drawn


@dataclass(frozen=True)
class Sheet:
    """Where the pictures of a video stand: of one camera two beside each other, of several a row for each.

    Attributes:
        rows: camera and name of each picture.
        cell: (width, height) of a picture.
        pictures: names of the pictures of each camera.
    """

    rows: tuple[tuple[tuple[str, str], ...], ...]
    cell: tuple[int, int]
    pictures: tuple[str, ...]

    @staticmethod
    def of(scene: ViewedScene, drawn: Drawn, wanted: Sequence[str]) -> Sheet:
        """Return the sheet for a scene, as large as ``MAX_SIZE_PX`` allows, and no larger than its pictures are."""
        there = {name for _, name in drawn}
        names = tuple(name for name in wanted if name in there) or ("camera",)
        if len(scene.cameras) == 1:
            places = [(scene.cameras[0], name) for name in names]
            columns = min(2, len(places))
            rows = tuple(tuple(places[k : k + columns]) for k in range(0, len(places), columns))
        else:
            rows = tuple(tuple((camera, name) for name in names) for camera in scene.cameras)
        width = max(picture.width for picture in drawn.values())
        height = max(picture.height for picture in drawn.values())
        words_px = (
            FOOT_PX + ColorKey.of(names, LEAST_WIDTH_PX).height + TITLE_PX * len(rows)
        )  # no width has more lines of the key
        room = MAX_SIZE_PX[0] / (width * len(rows[0])), (MAX_SIZE_PX[1] - words_px) / (height * len(rows))
        scale = min(1.0, *room)
        return Sheet(rows, (max(2, round(width * scale)), max(2, round(height * scale))), names)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, both even, as the codecs ask for."""
        height = len(self.rows) * (self.cell[1] + TITLE_PX) + FOOT_PX + self._key.height
        return self._width, height + height % 2

    @property
    def _width(self) -> int:
        width = max(self.cell[0] * len(self.rows[0]), LEAST_WIDTH_PX)
        return width + width % 2

    @property
    def _key(self) -> ColorKey:
        return ColorKey.of(self.pictures, self._width)

    def draw(self, drawn: Drawn, foot: str) -> Image.Image:
        """Draw one frame; a picture that it lacks stays empty."""
        sheet = Image.new("RGB", self.size, BACKGROUND)
        draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT_PX)
        for number, row in enumerate(self.rows):
            for column, (camera, name) in enumerate(row):
                left, top = column * self.cell[0], number * (self.cell[1] + TITLE_PX)
                room = (self.cell[0] if len(row) > 1 else self._width) - 12
                draw.text((left + 6, top + 3), fitting(f"{camera}: {TITLES[name]}", font, room), fill=INK, font=font)
                if (camera, name) in drawn:
                    picture = drawn[camera, name].resize(self.cell, Image.Resampling.BOX)
                    sheet.paste(picture, (left, top + TITLE_PX))
        top = len(self.rows) * (self.cell[1] + TITLE_PX)
        draw.text((6, top + 4), fitting(foot, font, self._width - 12), fill=INK, font=font)
        self._key.draw(draw, font, top=top + FOOT_PX)
        return sheet


def _moment(key_frame: KeyFrame) -> str:
    return datetime.fromtimestamp(key_frame.timestamp_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-4] + " UTC"
