"""Who sees which frame when: pure functions of (seed, epoch), ranks and batch size; no torch, no state.

The *epoch order* is one permutation of all samples that every rank computes for itself. A step takes the next
``num_ranks * batch_size`` positions of it, rank r the r-th ``batch_size`` of these. So a position that a run has reached means
the same for any number of ranks, and a run resumes at any position with any number of ranks and workers: workers only read
what the ranks' batches name, in the order of the batches.

Locality   Every scene is cut into pieces of a few consecutive frames, at other places each epoch, and the pieces of all scenes
           are shuffled. Frames of a piece are neighbours in their shards, so one read brings them all; a batch holds pieces
           of several scenes.
Remainder  Training: all ranks take the same number of full batches; the fewer than ``num_ranks * batch_size`` positions at the
           end of the order are left out, which are other frames each epoch. Evaluation (ragged): they are shared out, nothing
           is lost or repeated, and ranks may differ by one batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def epoch_order(run_lengths: Sequence[int], *, seed: int, epoch: int, piece_frames: int) -> NDArray[np.int64]:
    """Return the order in which an epoch visits its samples.

    Args:
        run_lengths: lengths of the runs of consecutive frames of one scene and camera, in manifest order.
        seed: of the run.
        epoch: from 0.
        piece_frames: frames of a run that stay together, in ascending order.

    Returns:
        (n,) a permutation of the sample numbers 0 to n - 1.
    """
    rng = np.random.default_rng([seed, epoch])
    pieces: list[NDArray[np.int64]] = []
    first = 0
    for length in run_lengths:
        cuts = np.arange(int(rng.integers(1, piece_frames + 1)), length, piece_frames)
        pieces.extend(np.split(np.arange(first, first + length), cuts))
        first += length
    if not pieces:
        return np.zeros(0, np.int64)
    return np.concatenate([pieces[number] for number in rng.permutation(len(pieces))])


def chosen_share(keys: Sequence[str], *, share: float, seed: int) -> list[int]:
    """Return which samples a share of them is, in ascending order.

    A hash of seed and key ranks the samples, so a smaller share of the same samples lies within a larger one, and each has
    exactly as many samples as it says (rounded, at least one).

    Args:
        keys: of the samples, all different.
        share: above 0, at most 1.
        seed: another one chooses others.
    """
    count = max(1, round(share * len(keys)))
    ranked = sorted(
        range(len(keys)), key=lambda number: hashlib.blake2b(f"{seed}/{keys[number]}".encode(), digest_size=8).digest()
    )
    return sorted(ranked[:count])


def draw_digest(key: str, *, seed: int, epoch: int, num_bytes: int) -> bytes:
    """Return what decides all that is drawn for a sample of this key in an epoch, whichever process reads it and when."""
    return hashlib.blake2b(f"{seed}/{epoch}/{key}".encode(), digest_size=num_bytes).digest()


def draw_generator(key: str, *, seed: int, epoch: int) -> np.random.Generator:
    """Return the generator of a sample's random view."""
    return np.random.default_rng(int.from_bytes(draw_digest(key, seed=seed, epoch=epoch, num_bytes=16), "little"))


def rank_spans(
    num_samples: int, *, start: int, rank: int, num_ranks: int, batch_size: int, is_ragged: bool
) -> list[tuple[int, int]]:
    """Return the batches of one rank as spans (first, stop) of positions in the epoch order.

    Args:
        num_samples: length of the order.
        start: position that all ranks together have reached.
        rank: from 0.
        num_ranks: ranks that share the epoch.
        batch_size: positions a rank takes at a step.
        is_ragged: share out the remainder (evaluation) instead of leaving it out (training).

    Raises:
        ValueError: start or rank out of bounds.
    """
    if not 0 <= start <= num_samples:
        raise ValueError(f"cannot resume at sample {start} of an epoch of {num_samples}; expected 0 to {num_samples}")
    if not 0 <= rank < num_ranks:
        raise ValueError(f"rank is {rank}, expected 0 to {num_ranks - 1} for {num_ranks} ranks")
    step = num_ranks * batch_size
    num_full = (num_samples - start) // step
    spans = [(first, first + batch_size) for first in range(start + rank * batch_size, start + num_full * step, step)]
    if is_ragged:
        first = start + num_full * step
        share, extra = divmod(num_samples - first, num_ranks)
        first += rank * share + min(rank, extra)
        stop = first + share + (rank < extra)
        if stop > first:
            spans.append((first, stop))
    return spans


def position_after(steps: int, *, start: int, num_samples: int, num_ranks: int, batch_size: int) -> int:
    """Return the position that all ranks together have reached after some steps."""
    return min(num_samples, start + steps * num_ranks * batch_size)
