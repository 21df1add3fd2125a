from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from flows.reports.html.lettering import fitting
from flows.viewing.color_key import INK, TEXT_PX, ColorKey

EVERYTHING = ("camera", "clean", "removed", "errors_predicted")


@pytest.mark.parametrize("width", [480, 600, 1600])
def test_key_when_the_video_is_narrow_then_nothing_of_it_is_cut(width):
    key = ColorKey.of(EVERYTHING, width)
    words = [part.words for line in key.lines for part in line]
    assert words == ["2 to 80 m", "-10 to 10 m", "removed", "box", "moving box", "predicted box"]
    assert len(key.lines) == (1 if width == 1600 else 2)
    drawn = np.zeros((key.height, 2000, 3), np.uint8)  # wider than the video: what would be cut is seen
    picture = Image.fromarray(drawn)
    key.draw(ImageDraw.Draw(picture), ImageFont.load_default(TEXT_PX), top=0)
    columns = np.flatnonzero(np.asarray(picture).max(axis=(0, 2)))
    assert columns.max() < width and (np.asarray(picture)[-4:] == 0).all()
    ink = np.asarray(picture)[-24:][..., 0] == INK[0]
    assert ink.any()  # the last line has words


def test_fitting_when_there_is_no_room_then_dots_say_that_something_is_left_out():
    font = ImageFont.load_default(TEXT_PX)
    words = "CAM_FRONT: removed by cleaning"
    assert fitting(words, font, 1000) == words and fitting(words, font, 3) == ""
    short = fitting(words, font, 150)
    assert short.endswith("...") and words.startswith(short[:-3]) and font.getlength(short) <= 150
