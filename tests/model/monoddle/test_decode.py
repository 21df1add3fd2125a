from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from model.data.objects import Objects
from model.monoddle.affine_view import centred_view
from model.monoddle.augment import DetectionAugmentConfig, draw_detection_view
from model.monoddle.batch import stack_targets
from model.monoddle.decode import decode_objects, find_peaks, heat_of
from model.monoddle.kitti_files import read_labels
from model.monoddle.network_config import MonoDdleConfig
from model.monoddle.targets import encode_objects
from tests.model.monoddle.made_up_cars import KITTI_P2, TINY, centres_px, in_cells_of_their_own, made_up_cars, perfect_maps

IMAGE = (375, 1242)
OTHER_P2 = np.array([[1266.4, 0.0, 816.3, 0.0], [0.0, 1100.0, 491.5, 0.0], [0.0, 0.0, 1.0, 0.0]])
SIZES = [(375, 1242), (370, 1224), (376, 1241), (374, 1238)]


def there_and_back(cars: Objects, *, image_px=IMAGE, config=TINY, p2=KITTI_P2, **view_options) -> tuple[Objects, Objects]:
    """Cars that are in view, and what is decoded of their targets, in the same order."""
    view = centred_view(image_px, config.input_px, **view_options)
    cells = np.trunc(view.to_input(centres_px(cars, p2)) / 4)
    in_view = cars[((cells >= 0) & (cells < config.grid_px[::-1])).all(axis=1)]
    targets = encode_objects(cars, p2, view=view, config=config, frame_key="f")
    assert targets.is_object.sum() == len(in_view)
    maps = perfect_maps(stack_targets([targets]), config)
    (found,) = decode_objects(maps, [view], projections=p2[None], config=config)
    return in_view, found


def assert_same(found: Objects, expected: Objects) -> None:
    assert len(found) == len(expected)
    assert found.category.tolist() == expected.category.tolist()
    assert np.abs(found.location_m - expected.location_m).max() < 1e-4
    assert np.abs(found.box_px - expected.box_px).max() < 1e-2
    assert np.abs(found.size_hwl_m - expected.size_hwl_m).max() < 1e-6
    for one, other in ((found.alpha_rad, expected.alpha_rad), (found.rotation_y_rad, expected.rotation_y_rad)):
        assert np.abs(np.angle(np.exp(1j * (one - other)))).max() < 1e-5


@pytest.mark.parametrize("image_px", SIZES)
@pytest.mark.parametrize(
    "view",
    [
        {},
        {"is_flipped": True},
        {"scale": 1.37, "shift_px": (20.0, -60.0)},
        {"scale": 0.63, "shift_px": (-11.0, 150.0)},
        {"is_flipped": True, "scale": 1.2, "shift_px": (-40.0, 77.7)},
    ],
)
def test_cars_when_encoded_and_decoded_then_the_same_cars(image_px, view):
    config = MonoDdleConfig()
    cars = in_cells_of_their_own(made_up_cars(30, image_px=image_px, seed=3), cell_px=4 * 1.4)
    expected, found = there_and_back(cars, image_px=image_px, config=config, **view)
    assert len(expected) > 8
    assert_same(found, expected)


@pytest.mark.parametrize("is_flipped", [False, True])
def test_cars_when_the_camera_has_other_focal_lengths_on_its_axes_then_the_same_cars(is_flipped):
    p2 = OTHER_P2
    cars = in_cells_of_their_own(made_up_cars(20, image_px=(900, 1600), seed=5, p2=p2), cell_px=40, p2=p2)
    expected, found = there_and_back(cars, image_px=(900, 1600), p2=p2, is_flipped=is_flipped, scale=1.1)
    assert len(expected) > 5
    assert_same(found, expected)


def test_classes_when_several_and_sizes_differ_from_a_mean_then_the_same_objects():
    config = TINY.model_copy(update={"mean_shape": True, "train_classes": ("Pedestrian", "Car", "Cyclist")})
    objects = in_cells_of_their_own(made_up_cars(25, image_px=IMAGE, seed=6), cell_px=36)
    category = np.array(config.classes)[np.arange(len(objects)) % 3]
    objects = Objects(category, *(getattr(objects, name) for name in Objects.__dataclass_fields__ if name != "category"))
    expected, found = there_and_back(objects, config=config, is_flipped=True)
    assert len({*found.category}) == 3
    assert_same(found, expected)


@pytest.mark.real_data
def test_real_labels_when_encoded_and_decoded_in_random_views_then_the_same_objects(shared):
    folder = shared / "data" / "kitti-object" / "training"
    config = MonoDdleConfig(train_classes=("Pedestrian", "Car", "Cyclist"))
    count = 0
    for file in sorted((folder / "label_2").glob("*.txt")):
        labels = read_labels(file)
        line = next(line for line in (folder / "calib" / file.name).read_text().splitlines() if line.startswith("P2:"))
        p2 = np.array(line.split()[1:], dtype=np.float64).reshape(3, 4)
        with Image.open(folder / "image_2" / f"{file.stem}.png") as image:
            size = (image.height, image.width)
        for epoch in range(4):
            view = draw_detection_view(
                DetectionAugmentConfig(), size, input_px=config.input_px, seed=0, epoch=epoch, frame_key=file.stem
            )
            targets = stack_targets([encode_objects(labels, p2, view=view, config=config, frame_key=file.stem)])
            (found,) = decode_objects(perfect_maps(targets, config), [view], projections=p2[None], config=config)
            assert len(found) == int(targets.is_object.sum())
            nearest = np.abs(found.location_m[:, None] - labels.location_m).sum(axis=2).argmin(axis=1)
            count += len(set(nearest))
            if not len(found):
                continue
            expected = labels[nearest]
            assert found.category.tolist() == expected.category.tolist()
            assert np.abs(found.location_m - expected.location_m).max() < 1e-4
            assert np.abs(found.box_px - expected.box_px).max() < 1e-2
            assert np.abs(np.angle(np.exp(1j * (found.alpha_rad - expected.alpha_rad)))).max() < 1e-5
            # labels give both angles to two decimals, and near cameras not quite by the benchmark's own formula
            assert np.abs(np.angle(np.exp(1j * (found.rotation_y_rad - expected.rotation_y_rad)))).max() < 0.03
    assert count > 80


def batch_maps(seed: int = 0, config: MonoDdleConfig = TINY) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    height, width = config.grid_px
    channels = {"heatmap": 3, "offset_2d": 2, "size_2d": 2, "offset_3d": 2, "depth": 2, "size_3d": 3, "heading": 24}
    return {name: torch.randn(2, count, height, width, generator=generator) for name, count in channels.items()}


def decode_batch(maps: dict[str, torch.Tensor], **options) -> list[Objects]:
    views = [centred_view(IMAGE, TINY.input_px), centred_view((900, 1600), TINY.input_px, is_flipped=True, scale=0.8)]
    return decode_objects(maps, views, projections=np.stack([KITTI_P2, OTHER_P2]), **{"config": TINY, **options})


def assert_equal(one: list[Objects], other: list[Objects]) -> None:
    for a, b in zip(one, other, strict=True):
        assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in Objects.__dataclass_fields__)


def test_maps_when_decoded_twice_then_unchanged_and_the_same_objects():
    maps = batch_maps()
    before = {name: values.clone() for name, values in maps.items()}
    first = decode_batch(maps)
    assert [len(objects) for objects in first] == [50, 50]
    assert_equal(first, decode_batch(maps))
    assert all(torch.equal(values, before[name]) for name, values in maps.items())


def test_detections_when_uncertainty_is_there_then_the_same():
    maps = batch_maps()
    assert_equal(decode_batch(maps), decode_batch({**maps, "dense_depth_uncertainty": torch.randn(2, 1, 24, 80)}))


def test_images_of_a_batch_when_decoded_alone_then_the_same():
    maps = batch_maps()
    both = decode_batch(maps)
    view = centred_view((900, 1600), TINY.input_px, is_flipped=True, scale=0.8)
    alone = decode_objects({k: v[1:] for k, v in maps.items()}, [view], projections=OTHER_P2[None], config=TINY)
    for name in Objects.__dataclass_fields__:
        one, other = getattr(both[1], name), getattr(alone[0], name)
        assert np.array_equal(one, other) if name == "category" else np.allclose(one, other, rtol=1e-5, atol=1e-5), name


def test_score_when_the_depth_is_unsure_then_lower_but_the_threshold_is_on_heat():
    maps = {name: torch.zeros_like(values) for name, values in batch_maps().items()}
    maps["heatmap"] -= 9
    maps["size_3d"] += 2
    for image, column, heat, log_scale in ((0, 10, 0.9, 2.0), (0, 30, 0.3, -1.0), (0, 50, 0.19, -3.0), (1, 5, 0.2001, 0.0)):
        maps["heatmap"][image, 1, 7, column] = float(torch.logit(torch.tensor(heat)))
        maps["depth"][image, 1, 7, column] = log_scale
    first, second = decode_batch(maps)
    assert first.score == pytest.approx(np.array([0.3 * np.e, 0.9 * np.exp(-2)]), rel=1e-5)
    assert second.score == pytest.approx(np.array([0.2001]), rel=1e-5)
    assert [len(objects) for objects in decode_batch(maps, score_threshold=0.1)] == [3, 1]
    empty = decode_batch(maps, score_threshold=0.95)
    assert [len(objects) for objects in empty] == [0, 0]
    assert empty[0].box_px.shape == (0, 4)


def test_peaks_when_more_are_wanted_than_there_are_cells_then_as_many_as_there_are():
    heat = heat_of(torch.randn(2, 3, 2, 3))
    peaks = find_peaks(heat, 50)
    assert peaks.heat.shape == (2, 18)
    assert (peaks.heat > 0).sum() == (torch.nn.functional.max_pool2d(heat, 3, 1, 1) == heat).sum()
    assert (peaks.heat.diff(dim=1) <= 0).all()
    found, class_index, cell = (values[0, 0] for values in peaks)
    assert heat[0].flatten(1)[class_index, cell] == found == heat[0].max()


def test_peaks_when_a_neighbour_is_hotter_then_only_that_one_and_all_of_a_plateau():
    heat = torch.full((1, 2, 5, 9), 0.01)
    heat[0, 0, 2, 2], heat[0, 0, 2, 3] = 0.8, 0.7
    heat[0, 1, 2, 2] = 0.6  # another class is not suppressed
    heat[0, 1, 2, 6:8] = 0.5
    peaks = find_peaks(heat, 50)
    hot = peaks.heat[0] > 0.1
    assert peaks.heat[0][hot].tolist() == pytest.approx([0.8, 0.6, 0.5, 0.5])
    assert sorted(zip(peaks.class_index[0][hot].tolist(), peaks.cell_index[0][hot].tolist(), strict=True)) == [
        (0, 20),
        (1, 20),
        (1, 24),
        (1, 25),
    ]


def test_detections_when_threshold_is_zero_then_only_peaks():
    maps = batch_maps()
    heat = heat_of(maps["heatmap"])
    count = (torch.nn.functional.max_pool2d(heat, 3, 1, 1) == heat).sum(dim=(1, 2, 3))
    small = {name: values[:, :, :4, :4] for name, values in maps.items()}
    found = decode_batch(small, score_threshold=0.0)
    assert all(0 < len(objects) < 48 for objects in found)
    assert all((objects.score > 0).all() for objects in found)
    assert count.min() > 50


def test_detections_when_sizes_are_negative_then_no_box_is_inside_out():
    found = decode_batch(batch_maps(seed=2))[1]
    assert (found.box_px[:, 2:] >= found.box_px[:, :2]).all()
    assert (found.size_hwl_m >= 0).all()
    assert (found.size_hwl_m == 0).any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_maps_when_of_lower_precision_then_decoded_in_full(dtype):
    maps = {name: values.to(dtype) for name, values in batch_maps().items()}
    full = {name: values.float() for name, values in maps.items()}
    for one, other in zip(decode_batch(maps), decode_batch(full), strict=True):
        assert one.location_m == pytest.approx(other.location_m)
        assert one.location_m.dtype == np.float64
