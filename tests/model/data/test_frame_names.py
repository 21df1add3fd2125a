from __future__ import annotations

import pytest

from model.data.frame_names import NamedFrame, named_frames
from storage_schemas.errors import RecipeError

FRAMES = [
    NamedFrame("a/CAM_2/100", "000001", "val"),
    NamedFrame("a/CAM_2/200", "000002", "val"),
    NamedFrame("b/LEFT/5", "token", "val"),
    NamedFrame("b/RIGHT/5", "token", "val"),
    NamedFrame("c/CAM_2/7", "000123", "train"),
    NamedFrame("d/CAM_2/9", "", "val"),
]


def keys(*names: str) -> tuple[str, ...]:
    return named_frames(names, FRAMES, split="val", where="split val of manifest 0123")


def test_named_frames_when_named_in_any_way_then_their_keys_in_the_order_of_the_names():
    assert keys("000002", "a/CAM_2/100", "d_CAM_2_9", "a_CAM_2_200") == ("a/CAM_2/200", "a/CAM_2/100", "d/CAM_2/9")
    assert keys("token") == ("b/LEFT/5", "b/RIGHT/5") and keys() == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "00001",
            r"--frames names '00001', which is no frame of split val of manifest 0123\. There is 000001, 000002\. Give keys",
        ),
        ("a/CAM_2/101", r"'a/CAM_2/101', which is no frame of split val of manifest 0123\. There is a/CAM_2/100"),
        ("", r"names '', which is no frame"),
        ("000123", r"--frames names '000123', which is a frame of split train\. Add --split train"),
    ],
)
def test_named_frames_when_there_is_no_such_frame_then_names_near_ones_or_its_split(name, text):
    with pytest.raises(RecipeError, match=text):
        keys("000001", name)


def test_named_frames_when_a_recipe_named_them_then_its_key_is_named():
    with pytest.raises(
        RecipeError, match=r"a\.frames names '000123', which is a frame of split train\. Name a frame of the split that"
    ):
        named_frames(["000123"], FRAMES, split="val", where="", option="a.frames")
