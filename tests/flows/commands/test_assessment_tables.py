from __future__ import annotations

import numpy as np
import pytest

from flows.assessment.summary import Summary
from flows.assessment.tables import change_text, markdown_page, overview_text
from pipeline.assessment.assess import Frame, FrameErrors
from pipeline.kernels.depth_errors import ErrorCounts, ErrorReadings, Labels, measure_map

NOTHING = np.zeros((1, 4), np.uint16)


def errors(contender: str, near: int, *, scene: str = "scene-1", is_night: bool = False) -> FrameErrors:
    """Return a frame of 4 pixels at 50 m, of which so many are 20 m too near and none is missing."""
    truth = np.full((1, 4), 50 * 256, np.uint16)
    depth = truth.copy()
    depth[0, :near] = 30 * 256
    half = Labels("removed", (contender,), np.array([[0, 0, 255, 255]], np.uint8))
    groups = measure_map(depth, truth, [half] if contender != "this recipe" else [], zero_is_sky=True)
    return FrameErrors(Frame(scene, "CAM", 0), "a.jpg", 7, is_night, contender, "depth_clean", groups, NOTHING, NOTHING, "truth")


@pytest.fixture
def summary() -> Summary:
    made = Summary("truth", 0, ("this recipe", "published"))
    for number in range(12):
        of = {"scene": f"scene-{number}", "is_night": number % 2 == 1}
        made.add([errors("this recipe", 1, **of), errors("published", 2, **of)])
    return made


def test_summary_when_frames_are_added_then_groups_add_up(summary):
    groups = summary.groups["published", "depth_clean"]
    assert groups["all", "all"].plain.near == 24
    assert groups["light", "night"] + groups["light", "day"] == groups["all", "all"]
    assert sum((groups["scene", f"scene-{k}"] for k in range(12)), ErrorReadings()) == groups["all", "all"]
    assert (summary.num_frames, summary.num_scenes) == (12, 12)


def test_interval_when_there_are_ten_scenes_then_is_given_and_else_is_not(summary):
    low, high, num_scenes = summary.interval("gross", "depth_clean", other="published")
    assert (low, high, num_scenes) == (-0.25, -0.25, 12)
    few = Summary("truth", 0, ("this recipe", "published"))
    few.add([errors("this recipe", 1), errors("published", 2)])
    assert few.interval("gross", "depth_clean", other="published").low is None


def test_text_when_two_recipes_are_compared_then_says_what_changed_and_what_was_removed(summary):
    text = overview_text(summary, target="depth_clean")
    assert "12 frames of 12 scenes against exact depth" in text
    assert "depth_clean, this recipe to published: too near -50 % (-50 % pixels), too far -" in text
    assert (
        "removed in place of the published recipe: 50.0 % of the measured pixels; of those compared (24) 0.000 % were good"
        in text
    )
    assert "mean over frames in [-25.000, -25.000] (95 % over 12 scenes)" in text
    page = markdown_page(summary, title="It", target="depth_clean")
    assert "## depth_clean by light" in page
    assert "| night | published | 100.0 % | 50.0 % |" in page


def test_worst_when_frames_differ_then_come_by_share_of_wrong_pixels():
    made = Summary("truth", 0, ("published",))
    for number, near in enumerate((0, 3, 1)):
        made.add([errors("published", near, scene=f"scene-{number}")])
    assert [row.scene for row in made.worst("depth_clean", 2)] == ["scene-1", "scene-2"]


def test_change_when_shares_and_pixels_differ_then_tells_both():
    mine, other = ErrorCounts(compared=50, near=5), ErrorCounts(compared=100, near=20)
    assert change_text(mine, other).startswith("too near -50 % (-75 % pixels), too far - (- pixels)")
