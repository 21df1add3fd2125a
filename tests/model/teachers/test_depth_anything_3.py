"""With a stand-in for the package: neither depth-anything-3 nor its weights were at hand, so only our side of the call is tested."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from model.teachers.depth_anything_3 import DepthAnything3Teacher, focal_at
from model.teachers.learned_map import TeacherLoadError

NUSCENES_FRONT = np.array([[1266.417, 0, 816.267], [0, 1266.417, 491.507], [0, 0, 1]])
CALLS = []


class StandIn:
    """Answers as docs/method/mono-depth.md#depth-anything-3 describes the package."""

    has_more = True

    @classmethod
    def from_pretrained(cls, folder):
        if folder.endswith("broken"):
            raise OSError("no config.json")
        return cls()

    def to(self, device):
        return self

    def eval(self):
        return self

    def inference(self, images, **options):
        CALLS.append((len(images), images[0].shape, options))
        depth = np.full((1, 280, 504), 10.0, np.float32)
        sky = np.zeros((1, 280, 504), bool)
        sky[:, :90] = True
        conf = np.full_like(depth, 2.0) if self.has_more else None
        return SimpleNamespace(depth=depth, sky=sky if self.has_more else None, conf=conf, is_metric=1)


@pytest.fixture
def package(monkeypatch):
    api = ModuleType("depth_anything_3.api")
    api.DepthAnything3 = StandIn
    monkeypatch.setitem(sys.modules, "depth_anything_3", ModuleType("depth_anything_3"))
    monkeypatch.setitem(sys.modules, "depth_anything_3.api", api)
    CALLS.clear()


def teacher(output="focal", folder="/weights"):
    return DepthAnything3Teacher(folder, process_px=504, output=output, accelerator="cpu")


def test_focal_when_the_camera_is_of_nuscenes_then_1_32_and_not_that_of_the_full_image():
    assert focal_at(NUSCENES_FRONT, (900, 1600), (280, 504)) / 300 == pytest.approx(1.3215, abs=0.001)
    back = np.diag([809.2, 809.2, 1.0])
    assert focal_at(back, (900, 1600), (280, 504)) / 300 == pytest.approx(0.844, abs=0.001)
    uneven = np.diag([1000.0, 500.0, 1.0])
    assert focal_at(uneven, (900, 1600), (450, 400)) == pytest.approx((250 + 250) / 2)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("output", "metres", "kind"), [("focal", 13.2, "metric"), ("metres", 10.0, "metric"), ("relative", 10.0, "relative")]
)
def test_prediction_when_its_output_means_something_else_then_is_scaled_or_not(output, metres, kind):
    found = teacher(output).predict(np.zeros((900, 1600, 3), np.uint8), NUSCENES_FRONT)
    assert found.kind == kind
    assert np.allclose(found.value, metres, rtol=0.002)
    assert found.is_sky[:90].all() and not found.is_sky[90:].any()
    assert (found.confidence == 2.0).all()
    assert CALLS == [(1, (900, 1600, 3), {"process_res": 504, "process_res_method": "upper_bound_resize"})]  # one image a call


@pytest.mark.usefixtures("package")
def test_prediction_when_the_network_tells_neither_sky_nor_confidence_then_none(monkeypatch):
    monkeypatch.setattr(StandIn, "has_more", False)
    found = teacher().predict(np.zeros((9, 16, 3), np.uint8), NUSCENES_FRONT)
    assert found.is_sky is None and found.confidence is None


@pytest.mark.usefixtures("package")
def test_weights_when_they_cannot_be_loaded_then_says_what_to_give():
    with pytest.raises(
        TeacherLoadError, match=r"cannot be loaded by depth-anything-3: OSError: no config.json. Give the folder of one of"
    ):
        teacher(folder="/weights/broken")


def test_package_when_missing_then_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "depth_anything_3", None)
    with pytest.raises(
        TeacherLoadError,
        match=r"needs the package depth-anything-3, .*pip install --no-deps depth-anything-3, .*or choose teacher dpt",
    ):
        teacher()
