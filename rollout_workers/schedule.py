"""How many tokens each denoising step commits; and, for random order, at which step each position is committed.

The default gives every row an exact budget. ``upstream`` gives the published schedules: Dream's truncates to whole
tokens on a time grid (as many steps as tokens commit nothing at first and two at last), LLaDA's hands the
remainder out first.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from common.records import Sampler
from common.sampler import DREAM_DECODERS

#: Smallest time of Dream's grid.
_EPSILON = 1e-3


def budget(step: int, steps: int, length: int) -> int:
    """Count the tokens that a row of ``length`` mask tokens commits at ``step`` (0-based) of ``steps``; the sum
    is exact."""
    return length * (step + 1) // steps - length * step // steps


def budgets(sampler: Sampler) -> tuple[int, ...]:
    """Count the tokens that each of the S steps commits, block by block; the sum is L, and a count may be 0."""
    block = sampler.block_length or sampler.completion_length
    blocks = sampler.completion_length // block
    steps = sampler.denoising_steps // blocks
    if not sampler.upstream:
        one = tuple(budget(step, steps, block) for step in range(steps))
    elif sampler.decoder in DREAM_DECODERS:
        one = _dream_budgets(steps, block)
    else:
        one = tuple(block // steps + (step < block % steps) for step in range(steps))
    return one * blocks


def random_steps(sampler: Sampler, noise: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Draw the step [L] at which each position is committed in random order; ``noise`` [L] is uniform in [0, 1).

    Published ``origin`` commits a masked position with probability 1 - s/t at the step from time t to s. One
    number u per position says the same: it is still masked at time s with probability s, so it goes at the first
    s <= u.
    """
    if sampler.upstream and sampler.decoder == "origin":
        reached = noise[:, None] >= _dream_times(sampler.denoising_steps)[None, 1:-1]
        return np.where(reached.any(1), reached.argmax(1), sampler.denoising_steps - 1)
    length = sampler.completion_length
    block = sampler.block_length or length
    # Blocks come one after the other; inside a block the noise decides.
    order = np.lexsort((noise, np.arange(length) // block))
    steps = np.empty(length, dtype=np.int64)
    steps[order] = np.repeat(np.arange(sampler.denoising_steps), budgets(sampler))
    return steps


def _dream_times(steps: int) -> npt.NDArray[np.float32]:
    """Return the times [steps + 1] from 1 to epsilon, in the published sampler's fp32: truncation depends on
    it."""
    times: npt.NDArray[np.float32] = torch.linspace(1, _EPSILON, steps + 1).numpy()
    return times


def _dream_budgets(steps: int, length: int) -> tuple[int, ...]:
    left, counts = length, []
    for step, (now, then) in enumerate(pairwise(_dream_times(steps))):
        count = left if step == steps - 1 else int(np.float32(left) * (1 - then / now))
        counts.append(count)
        left -= count
    return tuple(counts)
