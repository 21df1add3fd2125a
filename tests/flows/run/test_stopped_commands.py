"""Commands that train and are told to stop: one line, an exit code, the job back in the queue, and nothing goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.run import interrupt
from model.train import loop
from model.train.stopping import SIGNALS
from storage_schemas.run_history import read_history
from tests.flows.retrain.test_retrain import SMALL
from tests.srun import write_slurm


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (*SIGNALS, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def recipe(tiny_root, copied_store, write_recipe, one_process):
    training = {**SMALL, "max_steps": 3, "epochs": 3, "evaluate_every_epochs": 100.0}
    return write_recipe(tiny_root, train=training, ablation={"seeds": [5, 6], "variants": {"as it is": {}}})


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A job of a Slurm that is a stand-in; what scontrol was told is in the file."""
    folder = write_slurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    return folder / "scontrol.txt"


def tell(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """Send this process a signal within its second step, once; returns the steps that were done."""
    do_step, steps = loop.do_step, []

    def told(*args, **kwargs):
        steps.append(len(steps) + 1)
        if len(steps) == 2:
            os.kill(os.getpid(), number)
        return do_step(*args, **kwargs)

    monkeypatch.setattr(loop, "do_step", told)
    return steps


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_training_when_told_to_stop_then_says_where_it_goes_on_and_only_sigusr1_requeues(
    recipe, depthmill, monkeypatch, slurm, number, code
):
    steps = tell(monkeypatch, number)
    ended, text = depthmill("train", recipe, "--no-prefect")
    assert (ended, steps) == (code, [1, 2]), text
    line = f"ended by {signal.Signals(number).name}: step 2 is saved in "
    assert any(said.startswith(line) and said.endswith("the same command goes on from there") for said in text.splitlines())
    assert "Traceback" not in text
    assert slurm.is_file() == (number == signal.SIGUSR1)
    if slurm.is_file():
        assert slurm.read_text() == "requeue 4711\n"
        assert text.splitlines()[-1] == "job 4711 is put back into the queue"
    ended, text = depthmill("train", recipe, "--no-prefect")
    assert ended == 0
    assert "going on with" in text
    assert steps == [1, 2, 3]


def test_training_when_interrupted_then_it_is_one_line(recipe, depthmill, monkeypatch):
    monkeypatch.setattr(interrupt, "INTERRUPT_GRACE_S", 1e6)  # the process that the command is to end is that of the tests
    steps = tell(monkeypatch, signal.SIGINT)
    code, text = depthmill("train", recipe, "--no-prefect")
    assert (code, steps) == (130, [1, 2]), text
    assert text.splitlines()[-1] == "interrupted: finished units are kept; the same command does what is left"
    assert text.count("interrupted:") == 1 and "Traceback" not in text and "Aborted" not in text


def test_ablation_and_round_when_told_to_stop_then_nothing_else_is_trained_and_the_history_says_so(
    recipe, depthmill, monkeypatch, tmp_path
):
    with monkeypatch.context() as patch:
        steps = tell(patch, signal.SIGTERM)
        assert depthmill("ablate", recipe, "--no-prefect")[0] == 143
        assert steps == [1, 2]
    with monkeypatch.context() as patch:
        steps = tell(patch, signal.SIGTERM)
        assert depthmill("retrain", recipe, "--no-prefect", "--set", "train.seed=9")[0] == 143
    rows = read_history(str(tmp_path / "store" / "runs" / "history"))
    assert [(row.outcome, row.note) for row in rows] == [("failed", "interrupted")]


def test_job_when_it_cannot_be_requeued_then_said(recipe, depthmill, monkeypatch, slurm):
    slurm.with_name("scontrol").write_text("#!/bin/sh\necho 'Invalid job id specified' >&2\nexit 1\n")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    tell(monkeypatch, signal.SIGUSR1)
    code, text = depthmill("train", recipe, "--no-prefect")
    assert code == 138
    assert (
        "the job was not put back into the queue: scontrol requeue 40_3: Invalid job id specified. Submit the same script again"
        in text
    )
