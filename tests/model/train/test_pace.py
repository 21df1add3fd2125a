from __future__ import annotations

import pytest

from model.families import load_checkpoint, train
from model.train.pace import Pace
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.train.made_up_training import CPU, check_resumed, small_config, table


def pace_of(num_batches: int, **changes) -> Pace:
    return Pace.of(small_config(max_steps=None, **changes), num_batches)


@pytest.mark.parametrize("num_batches", [1, 7, 8, 15, 28, 29, 40, 281])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 15, 16])
def test_training_when_batches_are_accumulated_then_reads_fifty_passes(num_batches, accumulate):
    pace = pace_of(num_batches, accumulate=accumulate, epochs=50)
    read = pace.num_steps * accumulate / num_batches  # 28 batches by 15 were 26.8 passes, 6 by 16 were 133
    assert 50 - accumulate / num_batches < read <= 50 or pace.num_steps == 1
    assert pace.epoch(pace.num_steps) == read


def test_training_when_nothing_is_accumulated_then_paced_as_ever():
    pace = pace_of(7, epochs=3, evaluate_every_epochs=1.5)
    assert (pace.num_steps, [step for step in range(1, 22) if pace.is_measured(step)]) == (21, [10, 20, 21])
    assert pace.epoch(7) == 1.0
    assert Pace.of(small_config(max_steps=4), 7).num_steps == 4


def test_training_when_batches_do_not_divide_then_measured_after_each_epoch():
    pace = pace_of(8, accumulate=3, epochs=6, evaluate_every_epochs=1)
    measured = [step for step in range(1, pace.num_steps + 1) if pace.is_measured(step)]
    assert measured == [3, 6, 8, 11, 14, 16]
    assert [int(pace.epoch(step)) for step in measured] == [1, 2, 3, 4, 5, 6]
    assert [step for step in range(1, 17) if pace_of(4, accumulate=8, epochs=32).is_measured(step)] == list(range(1, 17))


@pytest.fixture
def manifest(tiny_store):
    return open_manifest(Store(str(tiny_store)))


@pytest.mark.slow
def test_training_when_more_is_accumulated_than_an_epoch_has_then_the_tail_is_used_and_the_rate_falls_in_time(manifest, tmp_path):
    config = small_config(max_steps=None, epochs=9, accumulate=3, evaluate_every_epochs=3)  # an epoch has 2 batches
    train(config, manifest, tmp_path, machine=CPU)
    rows = table(tmp_path / "steps.csv")
    assert [row["epoch"] for row in rows] == ["1", "2", "4", "5", "7", "8"]  # of the next batch; 18 batches in all
    assert [row["samples"] for row in rows] == ["3"] * 6
    assert sorted({row["step"] for row in table(tmp_path / "evaluations.csv")}, key=int) == ["2", "4", "6"]
    assert load_checkpoint(tmp_path / "last.pt").step == 6


@pytest.mark.slow
def test_training_when_accumulating_and_stopped_then_the_same_weights(manifest, tmp_path):
    check_resumed(small_config(max_steps=None, epochs=6, accumulate=3), manifest, tmp_path, stop_at=2)
