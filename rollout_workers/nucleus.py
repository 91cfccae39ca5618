"""Where the nucleus of a row ends, found by sorting: on a CPU, its largest weights alone where these are enough.

The most likely tokens of a trained model often reach top-p soon, and NumPy finds the largest values of a row in an
eighth of the time in which it sorts them all. What is found is the same, to the last bit: both add up the same
numbers in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

#: Smallest weight that counts as kept when nothing is filtered; forbidden tokens have weight 0.
TINY = torch.finfo(torch.float32).tiny
#: Weights of a row that are tried before all are sorted.
LARGEST = 512
#: Weights in a column of the table that a row is laid out as, to leave out those that are in no high column.
_HEIGHT = 16
#: Rows of fewer tokens are sorted at once.
LONG = 2 * _HEIGHT * LARGEST


class Nucleus(NamedTuple):
    """``floor`` [n], the smallest weight in the nucleus of each row: tokens that tie with it are all in.

    ``largest`` [n, LARGEST] are the row's largest weights, falling, where they were looked for. Of a row whose
    floor is above the last of them, they are all that there is in the nucleus.
    """

    floor: Tensor
    largest: Tensor | None = None


def by_sorting(weights: Tensor, needed: Tensor) -> Tensor:
    """Find the floors [n] of the weights [n, V] whose mass must reach ``needed`` [n]."""
    if weights.is_cuda:
        return _floor(weights.sort(descending=True).values, needed)
    return _floor(_falling(weights), needed)


def among_largest(weights: Tensor, needed: Tensor, otherwise: Callable[[Tensor], Tensor]) -> Nucleus:
    """Find nuclei of the weights [n, V], at most 1 each, whose mass must reach ``needed`` [n].

    ``otherwise`` finds the floors of the rows of which it is given the numbers, whose largest weights do not do.
    """
    # No weight is above 1, so rows that need more than this are flat: none ends among so few.
    if bool((needed > LARGEST).all()):
        return Nucleus(otherwise(torch.arange(len(weights))))
    largest = _falling(_largest(weights))
    floor = _floor(largest, needed)
    rest = (~reached(floor, largest)).nonzero().squeeze(-1)
    if len(rest):
        floor[rest] = otherwise(rest)
    return Nucleus(floor, largest)


def reached(floor: Tensor, largest: Tensor) -> Tensor:
    """Mark the rows [n] of which every weight of at least ``floor`` [n] is among the ``largest`` [n, LARGEST]."""
    return floor > largest[:, -1]


def _largest(weights: Tensor) -> Tensor:
    """Find the largest weights of each row, in any order: [n, LARGEST].

    As many columns, those with the highest maxima, have them: whatever is elsewhere is at most each of these.
    """
    width = weights.shape[-1] // _HEIGHT
    table = weights[:, : _HEIGHT * width].view(len(weights), _HEIGHT, width)
    columns = torch.from_numpy(np.argpartition(table.amax(1).numpy(), -LARGEST, axis=-1)[:, -LARGEST:])
    high = table.gather(-1, columns.unsqueeze(1).expand(-1, _HEIGHT, -1)).flatten(1)
    some = torch.cat([high, weights[:, _HEIGHT * width :]], -1)
    return torch.from_numpy(np.partition(some.numpy(), -LARGEST, axis=-1)[:, -LARGEST:])


def _falling(weights: Tensor) -> Tensor:
    """Sort each row, the largest first; NumPy's sort of values alone takes a fifteenth of torch's."""
    return torch.from_numpy(np.sort(weights.numpy(), axis=-1)).flip(-1)


def _floor(falling: Tensor, needed: Tensor) -> Tensor:
    before = falling.cumsum(-1) - falling
    kept = (before < needed.unsqueeze(-1)) & (falling >= TINY)
    # Of a row that is not finite, nothing is kept.
    return falling.gather(-1, (kept.sum(-1, keepdim=True) - 1).clamp(min=0)).squeeze(-1)
