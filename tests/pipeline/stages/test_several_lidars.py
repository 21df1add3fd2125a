from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.kernels.accumulate_twin import depth_of_sweeps
from pipeline.lidar_windows import chosen_sweeps
from pipeline.stage import StageInput
from pipeline.stages import accumulate_lidar, index_windows, project_lidar
from storage_schemas.errors import SourceError
from storage_schemas.layout import UnitData
from tests.pipeline.kernels.test_accumulate import Reader, keyframe_row, random_sweeps, sweep_row

TOP, LEFT, RIGHT = "LIDAR_TOP", "LIDAR_FRONT_LEFT", "LIDAR_FRONT_RIGHT"
ALL_KEYS = {TOP: (0, 4, 8), LEFT: (0, 3, 6)}


def columns_of(table: list[dict]) -> dict:
    return {name: [row[name] for row in table] for name in table[0]} if table else {}


class Scene:
    """Three key frames 0.4 s apart; the top LiDAR turns at 10 Hz, the left one at 7.5 Hz and stands elsewhere."""

    def __init__(self, keys: dict[str, tuple[int, ...]] = ALL_KEYS) -> None:
        self.rows, self.points = [], []
        for place, (channel, key_numbers) in enumerate(keys.items()):
            step_us = 400_000 // (key_numbers[1] - key_numbers[0])
            for number in range(key_numbers[-1] + 1):
                time_us = number * step_us
                row = sweep_row(
                    len(self.rows), x=5e-6 * time_us, channel=channel, timestamp_us=time_us, is_keyframe=number in key_numbers
                )
                row["sample_index"] = next(k for k, key in enumerate(key_numbers) if number <= key)
                row["ego_from_sensor_translation_m"] = [0.9, 0.7 * place, 1.8 - place]
                self.rows.append(row)
                self.points += random_sweeps(100 * place + number, 1, 900)
        self.keyframes = [keyframe_row(x=2.0 * k, timestamp_us=400_000 * k, sample_index=k) for k in range(3)]

    def without(self, drop) -> Scene:
        self.rows = [row for row in self.rows if not drop(row)]
        return self

    @property
    def unit(self) -> StageInput:
        tables = {"keyframes": columns_of(self.keyframes), "sweeps": columns_of(self.rows), "boxes": {}}
        return StageInput("scene-x", "CAM_FRONT", {"frames": UnitData(tables=tables)}, Reader(self.points))


def accumulated(scene: Scene, **params):
    return accumulate_lidar.kernel(scene.unit, accumulate_lidar.Params(moving="keep", **params))


def twin(scene: Scene, frame: int, chosen) -> np.ndarray:
    return depth_of_sweeps(
        [(row, scene.points[int(row["file"])]) for row in scene.rows if chosen(row)], scene.keyframes[frame], precision="float64"
    )


def test_lidar_when_it_is_a_list_of_one_then_it_is_that_one_and_names_the_same_units():
    for params in (accumulate_lidar.Params, project_lidar.Params, index_windows.Params):
        alone, listed = params(lidar="LIDAR_X"), params(lidar=["LIDAR_X"])
        assert alone.model_dump(mode="json") == listed.model_dump(mode="json")
        assert params(lidar=[TOP]).model_dump(mode="json") == params().model_dump(mode="json")
    assert "neighbors" not in accumulate_lidar.Params().model_dump()
    assert accumulate_lidar.Params(lidar=[TOP, LEFT]).model_dump(mode="json")["lidar"] == [TOP, LEFT]


@pytest.mark.parametrize("lidar", [[], [TOP, TOP]])
def test_lidar_when_list_is_empty_or_names_one_twice_then_is_refused(lidar):
    with pytest.raises(ValidationError, match="expected the name of a LiDAR channel, or a list of different ones"):
        accumulate_lidar.Params(lidar=lidar)


def test_window_when_there_are_two_lidars_then_each_has_its_own_around_its_own_key_sweep():
    lidars = chosen_sweeps(Scene().rows, (TOP, LEFT), scene="s")
    assert lidars.spans == {TOP: range(0, 9), LEFT: range(9, 16)}
    windows = lidars.windows(Scene().keyframes, 3, scene="s")
    assert windows == [[range(0, 2), range(9, 11)], [range(3, 6), range(11, 14)], [range(7, 9), range(14, 16)]]


def test_map_when_there_are_two_lidars_then_the_nearest_return_of_both_wins():
    scene = Scene()
    both = accumulated(scene, lidar=[TOP, LEFT], num_sweeps=3)
    one, other = (accumulated(scene, lidar=name, num_sweeps=3).data.arrays for name in (TOP, LEFT))
    both_arrays = both.data.arrays
    nearest = np.where(
        (one["depth_m"] > 0) & (other["depth_m"] > 0),
        np.minimum(one["depth_m"], other["depth_m"]),
        one["depth_m"] + other["depth_m"],
    )
    assert np.array_equal(both_arrays["depth_m"], nearest)
    assert (both_arrays["num_points"] == one["num_points"] + other["num_points"]).all()
    assert both_arrays["num_sweeps"].tolist() == [4, 6, 4]
    assert not any(name.startswith("frames_without") for name in both.counts)
    differing = np.abs(
        both_arrays["depth_m"][1].astype(int) - twin(scene, 1, lambda row: row["file"] in ("3", "4", "5", "11", "12", "13"))
    )
    assert np.count_nonzero(differing > 1) <= 3
    assert np.array_equal(accumulated(scene, lidar=[LEFT, TOP], num_sweeps=3).data.arrays["depth_m"], both_arrays["depth_m"])


def test_map_when_precision_is_reference_then_takes_several_lidars_too():
    scene = Scene()
    exact, fast = (accumulated(scene, lidar=[TOP, LEFT], num_sweeps=3, precision=p).data.arrays for p in ("reference", "float32"))
    assert exact["num_points"].tolist() == fast["num_points"].tolist()
    assert np.count_nonzero(exact["depth_m"] != fast["depth_m"]) < 0.1 * np.count_nonzero(fast["depth_m"])


def test_scene_when_it_lacks_one_of_the_lidars_then_uses_the_others_and_says_and_counts_it():
    scene = Scene()
    alone = accumulated(scene, lidar=TOP, num_sweeps=3)
    with_absent = accumulated(scene, lidar=[TOP, RIGHT], num_sweeps=3)
    assert np.array_equal(with_absent.data.arrays["depth_m"], alone.data.arrays["depth_m"])
    assert with_absent.message == f"{alone.message}; LIDAR_FRONT_RIGHT is not in this scene"
    assert with_absent.counts == {**alone.counts, "frames_without_LIDAR_FRONT_RIGHT": 3.0}
    single = project_lidar.kernel(scene.unit, project_lidar.Params(lidar=(RIGHT, LEFT)))
    assert single.message.endswith("measured; LIDAR_FRONT_RIGHT is not in this scene")


def test_frame_when_one_lidar_has_no_key_sweep_there_then_the_other_is_used_and_it_is_counted():
    scene = Scene().without(lambda row: row["channel"] == LEFT and row["sample_index"] == 1)
    made = accumulated(scene, lidar=[TOP, LEFT], num_sweeps=1)
    assert made.data.arrays["num_sweeps"].tolist() == [2, 1, 2]
    assert made.message.endswith("; 1 without LIDAR_FRONT_LEFT")
    assert made.counts["frames_without_LIDAR_FRONT_LEFT"] == 1.0


def test_scene_when_it_has_none_of_the_lidars_then_error_names_its_lidars_only():
    scene = Scene()
    scene.rows.append(sweep_row(0, channel="RADAR_FRONT"))
    for module, params in ((accumulate_lidar, {"moving": "keep"}), (project_lidar, {})):
        with pytest.raises(SourceError) as caught:
            module.kernel(scene.unit, module.Params(lidar=[RIGHT, "LIDAR_X"], **params))
        stage = module.STAGE.name
        assert str(caught.value) == (
            "scene scene-x has no files of any of the LiDAR channels LIDAR_FRONT_RIGHT, LIDAR_X; LiDAR channels there: "
            f"LIDAR_FRONT_LEFT, LIDAR_TOP. Set stages.{stage}.lidar in the recipe to one of them or to a list, or leave the scene out "
            "with scenes: in the recipe"
        )


def test_neighbors_when_they_are_keyframes_then_windows_hold_key_sweeps_and_no_other_file_is_read():
    scene = Scene()
    made = accumulated(scene, num_sweeps=3, neighbors="keyframes")
    assert made.data.arrays["num_sweeps"].tolist() == [2, 3, 2]
    expected = twin(scene, 1, lambda row: row["channel"] == TOP and row["is_keyframe"])
    assert np.count_nonzero(np.abs(made.data.arrays["depth_m"][1].astype(int) - expected) > 1) <= 3
    scene.points = [points if row["is_keyframe"] else None for row, points in zip(scene.rows, scene.points, strict=True)]
    unit = scene.unit
    accumulate_lidar.kernel(unit, accumulate_lidar.Params(num_sweeps=160, neighbors="keyframes", moving="keep"))
    assert unit.used_files == {"0", "4", "8"}


def test_single_sweep_when_the_camera_lacks_an_image_then_that_key_sweep_is_not_read():
    scene = Scene()
    del scene.keyframes[1]
    scene.points[4] = None
    assert project_lidar.kernel(scene.unit, project_lidar.Params()).counts["frames"] == 2
