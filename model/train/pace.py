"""How long a training is, and when it is measured, counted in batches: a step takes ``accumulate`` of them, across epochs."""

from __future__ import annotations

import math
from typing import NamedTuple

from model.train.config import CommonConfig


class Pace(NamedTuple):
    """The pace of a training.

    Attributes:
        num_batches: batches of one process in an epoch.
        accumulate: batches whose gradients make one step. Those that an epoch has left over begin the next epoch's first step.
        num_steps: optimiser steps of the whole training.
        evaluate_batches: batches between two evaluations.
        keep_batches: batches between two checkpoints that are kept; None = none is.
    """

    num_batches: int
    accumulate: int
    num_steps: int
    evaluate_batches: int
    keep_batches: int | None = None

    @classmethod
    def of(cls, config: CommonConfig, num_batches: int) -> Pace:
        """Return the pace of a configuration.

        Args:
            config: of the training; ``epochs`` are passes over the split.
            num_batches: batches of one process in an epoch.
        """
        num_steps = max(config.epochs * num_batches // config.accumulate, 1)
        every = max(round(config.evaluate_every_epochs * num_batches), 1)
        kept = None if config.checkpoint_every_epochs is None else max(round(config.checkpoint_every_epochs * num_batches), 1)
        return cls(num_batches, config.accumulate, int(min(num_steps, config.max_steps or math.inf)), every, kept)

    def epoch(self, step: int) -> float:
        """Return the passes done after so many steps."""
        return step * self.accumulate / self.num_batches

    def is_measured(self, step: int) -> bool:
        """Say whether a step that is just done is followed by an evaluation: every so many batches, and after the last step."""
        return self._passes(step, self.evaluate_batches)

    def is_kept(self, step: int) -> bool:
        """Say whether the checkpoint of a step that is just done is kept: every so many batches, and after the last step."""
        return self.keep_batches is not None and self._passes(step, self.keep_batches)

    def _passes(self, step: int, every: int) -> bool:
        after, before = (number * self.accumulate // every for number in (step, step - 1))
        return after > before or step == self.num_steps
