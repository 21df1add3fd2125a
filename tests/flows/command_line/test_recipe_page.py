from __future__ import annotations

from flows.command_line.recipe_page import recipe_page
from tests.conftest import REPOSITORY


def test_page_of_recipe_keys_when_a_key_changed_then_must_be_written_again():
    page = (REPOSITORY / "docs" / "recipe.md").read_text(encoding="utf-8")
    assert page == recipe_page(), "run: python -m flows.command_line.recipe_page"
    for key in (
        "num_sweeps",
        "moving_mps",
        "drop_last_keyframe",
        "upper_fraction",
        "mad_factor",
        "trajectories",
        "crop_px",
        "window_layout",
        "huber_delta_m",
    ):
        assert f"| {key} |" in page
