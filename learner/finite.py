"""Whether weights are finite, on all ranks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor


@torch.no_grad()
def first_not_finite(weights: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first weight that has a value which is not finite, on whichever rank; None for none.

    A collective call: every rank gives what it holds of the same weights, in the same order.
    """
    names, found = [], []
    for name, weight in weights:
        names.append(name)
        extremes = torch.stack(torch.aminmax(weight)) if weight.numel() else weight.new_zeros(2)
        found.append(extremes.isfinite().all())  # a NaN is an extreme, too
    if not names:
        return None
    bad = (~torch.stack(found)).to(torch.int32)
    dist.all_reduce(bad, op=dist.ReduceOp.MAX)
    return next((name for name, is_bad in zip(names, bad.tolist(), strict=True) if is_bad), None)
