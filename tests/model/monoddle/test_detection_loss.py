from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from model.data.objects import Objects
from model.monoddle.affine_view import centred_view
from model.monoddle.batch import TargetTensors, stack_targets
from model.monoddle.loss import LOSS_TERMS, detection_losses
from model.monoddle.targets import encode_objects
from tests.model.monoddle.made_up_cars import KITTI_P2, TINY, in_cells_of_their_own, made_up_cars, perfect_maps

IMAGE = (375, 1242)


def targets_of(*seeds: int | None, **view_options) -> TargetTensors:
    """Targets of one image per seed; None = an image without objects."""
    view = centred_view(IMAGE, TINY.input_px, **view_options)
    images = [
        Objects.none() if seed is None else in_cells_of_their_own(made_up_cars(12, image_px=IMAGE, seed=seed), cell_px=33)
        for seed in seeds
    ]
    return stack_targets([encode_objects(cars, KITTI_P2, view=view, config=TINY, frame_key="f") for cars in images])


def random_maps(batch: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    channels = {"heatmap": 3, "offset_2d": 2, "size_2d": 2, "offset_3d": 2, "depth": 2, "size_3d": 3, "heading": 24}
    return {
        name: torch.randn(batch, count, *TINY.grid_px, generator=generator).requires_grad_() for name, count in channels.items()
    }


def one_object(**changes) -> TargetTensors:
    """One object in the second cell of a grid of 2 x 2, of one class."""
    fields = {
        "heatmap": [[[[0.0, 1.0], [0.5, 0.0]]]],
        "cell_index": [[1, 0]],
        "offset_2d": [[[0.0, 0.0], [0.0, 0.0]]],
        "size_2d": [[[0.0, 0.0], [0.0, 0.0]]],
        "offset_3d": [[[0.0, 0.0], [0.0, 0.0]]],
        "depth_m": [[12.0, 0.0]],
        "size_3d_m": [[[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]],
        "whole_size_m": [[[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]],
        "heading_bin": [[3, 0]],
        "heading_rad": [[0.2, 0.0]],
        "is_object": [[True, False]],
        "is_3d": [[True, False]],
        "class_index": [[0, 0]],
    }
    return TargetTensors(*(torch.tensor(value) for value in {**fields, **changes}.values()))


def flat_maps(**at_object: list[float]) -> dict[str, torch.Tensor]:
    """Maps of 2 x 2 cells, 0 but for the second cell."""
    channels = {"offset_2d": 2, "size_2d": 2, "offset_3d": 2, "depth": 2, "size_3d": 3, "heading": 24}
    maps = {name: torch.zeros(1, count, 2, 2) for name, count in channels.items()}
    for name, values in at_object.items():
        maps[name][0, :, 0, 1] = torch.tensor(values)
    return {"heatmap": torch.full((1, 1, 2, 2), math.log(0.1 / 0.9)), **maps}


def logit_of_depth(depth_m: float) -> float:
    share = 1 / (depth_m + 1) - 1e-6
    return math.log(share / (1 - share))


def test_heatmap_when_worked_out_by_hand_then_equal():
    found = detection_losses(flat_maps(), one_object(heatmap=[[[[1.0, 0.5], [0.0, 0.0]]]]))["heatmap"]
    assert float(found) == pytest.approx(1.86727, abs=1e-5)  # docs/method/monoddle.md#detector-loss
    doubled = detection_losses(flat_maps(), one_object(heatmap=[[[[1.0, 1.0], [0.0, 0.0]]]]))["heatmap"]
    by_hand = -(2 * 0.81 * math.log(0.1) + 2 * 0.01 * math.log(0.9)) / 2
    assert float(doubled) == pytest.approx(by_hand, abs=1e-5)


def test_depth_when_worked_out_by_hand_then_equal():
    found = detection_losses(flat_maps(depth=[logit_of_depth(10.0), 0.5]), one_object())["depth"]
    assert float(found) == pytest.approx(2.21551, abs=1e-5)


def test_means_when_worked_out_by_hand_then_over_both_coordinates_of_the_filled_slots():
    maps = flat_maps(offset_2d=[1.0, -2.0], size_2d=[3.0, 4.0], offset_3d=[0.5, 0.0], size_3d=[1.5, 2.0, 3.0])
    found = detection_losses(maps, one_object())
    assert float(found["offset_2d"]) == pytest.approx(1.5)
    assert float(found["size_2d"]) == pytest.approx(3.5)
    assert float(found["offset_3d"]) == pytest.approx(0.25)
    assert float(found["size_3d"]) == pytest.approx(0.5)  # the value is that of the plain error


def test_heading_when_worked_out_by_hand_then_cross_entropy_and_the_true_bins_residual():
    heading = [0.0] * 24
    heading[3], heading[4], heading[12 + 3], heading[12 + 4] = 2.0, 1.0, 0.5, 9.0
    found = detection_losses(flat_maps(heading=heading), one_object())
    assert float(found["heading_class"]) == pytest.approx(-2 + math.log(math.exp(2) + math.exp(1) + 10), abs=1e-6)
    assert float(found["heading_residual"]) == pytest.approx(0.3, abs=1e-6)


def test_total_when_of_random_maps_then_the_plain_sum_and_a_mean_over_all_objects():
    targets, maps = targets_of(0, None, 1), random_maps(3)
    found = detection_losses(maps, targets)
    assert list(found) == [*LOSS_TERMS, "total"]
    assert float(found["total"].detach()) == pytest.approx(sum(float(found[name].detach()) for name in LOSS_TERMS), rel=1e-6)
    image, slot = torch.nonzero(targets.is_object, as_tuple=True)
    cell = targets.cell_index[image, slot]
    said = maps["size_2d"].flatten(2)[image, :, cell]
    assert float(found["size_2d"].detach()) == pytest.approx(
        float((said - targets.size_2d[image, slot]).detach().abs().mean()), rel=1e-5
    )


def test_size_when_several_objects_then_as_large_as_the_plain_error_and_short_sides_pull_more():
    targets, maps = targets_of(0, 1), random_maps(2)
    loss = detection_losses(maps, targets)["size_3d"]
    (gradient,) = torch.autograd.grad(loss, maps["size_3d"])
    image, slot = torch.nonzero(targets.is_3d, as_tuple=True)
    cell, truth = targets.cell_index[image, slot], targets.size_3d_m[image, slot]
    error = maps["size_3d"].detach().flatten(2)[image, :, cell] - truth
    assert float(loss.detach()) == pytest.approx(float(error.abs().mean()), rel=1e-5)
    pull = gradient.flatten(2)[image, :, cell] * truth * error.sign()
    assert torch.allclose(pull, pull[0, 0].expand_as(pull), rtol=1e-4)
    assert float(pull[0, 0]) == pytest.approx(float(error.abs().mean() / (error.abs() / truth).mean() / error.numel()), rel=1e-4)
    assert torch.count_nonzero(gradient) == 3 * len(cell)


def test_size_when_differences_to_a_mean_are_learned_then_divided_by_the_whole_size():
    """The public code divides by the difference, which may be 0 or negative."""
    difference = one_object(size_3d_m=[[[0.0, -0.1, 0.2], [0.0, 0.0, 0.0]]])
    maps = flat_maps(size_3d=[0.1, 0.0, 0.0])
    maps["size_3d"].requires_grad_()
    loss = detection_losses(maps, difference)["size_3d"]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.4 / 3)
    pull = maps["size_3d"].grad[0, :, 0, 1]
    assert (pull.abs() * torch.tensor([1.0, 2.0, 4.0])).tolist() == pytest.approx([float(pull[0])] * 3)
    assert pull.sign().tolist() == [1, 1, -1]


def test_prediction_when_perfect_then_zero_and_finite():
    targets = targets_of(0, 1)
    maps = {name: values.requires_grad_() for name, values in perfect_maps(targets, TINY).items()}
    maps["depth"].data[:, 1] = 0
    found = detection_losses(maps, targets)
    found["total"].backward()
    assert all(torch.isfinite(values.grad).all() for values in maps.values())
    found = {name: float(value.detach()) for name, value in found.items()}
    assert found["size_3d"] == found["offset_3d"] == found["heading_residual"] == 0
    assert found["depth"] < 1e-4
    assert found["heading_class"] < 1e-3
    assert found["heatmap"] < float(detection_losses(random_maps(2), targets)["heatmap"].detach())


def test_batch_when_without_objects_then_only_the_heat_map_is_learned_and_all_is_finite():
    maps = random_maps(2)
    found = detection_losses(maps, targets_of(None, None))
    found["total"].backward()
    assert [name for name, value in found.items() if value != 0] == ["heatmap", "total"]
    assert all(torch.isfinite(values.grad).all() for values in maps.values())
    assert all(not values.grad.any() for name, values in maps.items() if name != "heatmap")


def test_batch_when_all_views_are_cropped_then_box_and_heading_are_learned_and_the_rest_is_zero():
    targets = targets_of(0, 1, scale=0.9)
    assert targets.is_object.any()
    found = detection_losses(random_maps(2), targets)
    assert {name for name, value in found.items() if value == 0} == {"offset_3d", "depth", "size_3d"}
    assert all(torch.isfinite(value) for value in found.values())


def test_losses_when_slots_are_empty_then_what_the_maps_say_there_does_not_matter():
    targets, maps = targets_of(0), random_maps(1)
    before = detection_losses(maps, targets)
    assert 0 not in targets.cell_index[targets.is_object]  # the cell that empty slots point at
    for name in ("offset_2d", "size_2d", "size_3d", "heading", "depth"):
        maps[name].data[..., 0, 0] = 1e6 if name != "depth" else 50.0
    after = detection_losses(maps, targets)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_losses_when_computed_then_nothing_given_is_changed():
    targets, maps = targets_of(0, 1), random_maps(2)
    before = [values.detach().clone() for values in (*maps.values(), *targets)]
    first = detection_losses(maps, targets)["total"]
    assert torch.equal(first, detection_losses(maps, targets)["total"])
    assert all(torch.equal(values, kept) for values, kept in zip((*maps.values(), *targets), before, strict=True))


def test_losses_when_inside_autocast_and_of_half_maps_then_in_float32():
    targets, maps = targets_of(0, 1), random_maps(2)
    halves = {name: values.detach().bfloat16() for name, values in maps.items()}
    outside = detection_losses({name: values.float() for name, values in halves.items()}, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = detection_losses(halves, targets)
    assert all(inside[name].dtype == torch.float32 and inside[name] == outside[name] for name in inside)


def test_losses_when_far_logits_are_met_then_finite():
    maps = flat_maps(depth=[-80.0, 0.0])
    maps["heatmap"][0, 0, 0, 0] = 100.0
    maps["heatmap"][0, 0, 0, 1] = -100.0
    assert all(torch.isfinite(value) for value in detection_losses(maps, one_object()).values())


def test_gradients_when_two_processes_share_a_batch_then_their_mean_is_that_of_the_whole_batch():
    """One of them has a single object in 3D, the other none or many, so means of means would not do."""
    targets = targets_of(0, 1)
    crowded, lone = targets.is_object.clone(), targets.is_object.clone()
    crowded[1, 1:], lone[0] = False, False
    targets = targets._replace(is_object=crowded, is_3d=crowded & torch.tensor([[True], [False]]))
    maps = random_maps(2)
    whole = torch.autograd.grad(detection_losses(maps, targets)["total"], list(maps.values()))
    counted: list[torch.Tensor] = []
    halves = [
        ({name: values[i : i + 1] for name, values in maps.items()}, TargetTensors(*(values[i : i + 1] for values in targets)))
        for i in range(2)
    ]

    def remember(values: torch.Tensor) -> torch.Tensor:
        counted.append(values)
        return values

    for half in halves:
        detection_losses(*half, mean_over_processes=remember)
    mean = (counted[0] + counted[1]) / 2
    losses = [detection_losses(*half, mean_over_processes=lambda values: mean)["total"] for half in halves]
    shared = torch.autograd.grad(sum(losses) / 2, list(maps.values()))
    for one, other in zip(whole, shared, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-8)
    apart = torch.autograd.grad(sum(detection_losses(*half)["total"] for half in halves) / 2, list(maps.values()))
    assert not all(torch.allclose(one, other, rtol=1e-2) for one, other in zip(whole, apart, strict=True))
    assert np.all(mean.numpy() > 0)
