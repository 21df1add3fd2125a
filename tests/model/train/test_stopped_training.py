"""A training that is told to stop: it finishes its step, saves it, and the same call goes on to the same bits."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from model.families import load_checkpoint, train
from model.semodepth.family import SemoDepthFamily
from model.train.stopping import SIGNALS, StopSignals, TrainingStopped
from storage_schemas.manifest import open_manifest
from storage_schemas.store import Store
from tests.model.train.made_up_training import CPU, same, small_config, table, weights


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Give the signals back that a stopped training ignores."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def manifest(tiny_store):
    return open_manifest(Store(str(tiny_store)))


@pytest.fixture(scope="module")
def whole(tiny_store, tmp_path_factory):
    """The same training without a stop: seven steps, measured after the third, the sixth and the last."""
    folder = tmp_path_factory.mktemp("whole")
    train(small_config(), open_manifest(Store(str(tiny_store))), folder, machine=CPU)
    return folder


def kill_at(step: int, number: int):
    """Return what sends this process a signal while the step after ``step`` is done."""

    def on_progress(progress):
        if progress.step == step:
            os.kill(os.getpid(), number)

    return on_progress


def check_goes_on(manifest, folder, whole, *, stopped_at):
    steps = []
    train(small_config(), manifest, folder, machine=CPU, on_progress=lambda progress: steps.append(progress.step))
    assert steps == list(range(stopped_at + 1, 8))
    assert same(weights(folder), weights(whole))
    for name in ("steps.csv", "evaluations.csv"):
        assert table(folder / name) == table(whole / name)


@pytest.mark.parametrize(
    ("number", "step"), [pytest.param(signal.SIGTERM, 4, marks=pytest.mark.slow), (signal.SIGUSR1, 2), (signal.SIGTERM, 1)]
)
def test_training_when_told_to_stop_then_the_step_is_saved_and_the_same_call_ends_with_the_same_bits(
    manifest, tmp_path, whole, number, step
):
    with pytest.raises(TrainingStopped) as stopped:
        train(small_config(), manifest, tmp_path, machine=CPU, on_progress=kill_at(step, number))
    assert str(stopped.value) == (
        f"ended by {signal.Signals(number).name}: step {step + 1} is saved in {tmp_path / 'last.pt'}; "
        "the same command goes on from there"
    )
    assert load_checkpoint(tmp_path / "last.pt").step == step + 1  # 3 is one after which the split is measured
    check_goes_on(manifest, tmp_path, whole, stopped_at=step + 1)


def test_training_when_told_to_stop_while_it_measures_then_it_ends_at_once_and_measures_first(
    manifest, tmp_path, whole, monkeypatch
):
    measure, calls = SemoDepthFamily.measure, []

    def told(self, *args):
        calls.append(len(calls))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("it goes on with measuring")
        return measure(self, *args)

    monkeypatch.setattr(SemoDepthFamily, "measure", told)
    with pytest.raises(TrainingStopped, match="step 6 is saved"):
        train(small_config(), manifest, tmp_path, machine=CPU)
    assert [row["step"] for row in table(tmp_path / "evaluations.csv")][-1] == "3"
    check_goes_on(manifest, tmp_path, whole, stopped_at=6)


def test_signal_when_nothing_was_left_to_save_then_whoever_else_handles_it_gets_it():
    heard = []
    signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    with StopSignals():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert heard == []
    assert heard == [signal.SIGUSR1]
    with pytest.raises(ZeroDivisionError), StopSignals():  # an error says why it ended, not the signal
        os.kill(os.getpid(), signal.SIGUSR1)
        _ = 1 / 0
    assert heard == [signal.SIGUSR1]
