"""Rows that a layer need not compute: those of a token that it has met before, and those that nobody asks for.

Before the first layer a token's hidden state is its embedding, wherever it stands, so its projections are the same
too. After the last layer only some rows are read, so only they need queries.

Both are known on a CPU alone: to count them on a GPU, the host would have to wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from common.models.packing import Packing, Queries

#: Tokens for each different one from which on it pays to gather rows, which takes time too.
_REPEATS = 2


@dataclass(frozen=True)
class Different:
    """The different ``ids`` [u] of a batch of tokens; ``places`` [N] says which of them each token is."""

    ids: Tensor
    places: Tensor

    @classmethod
    def of(cls, ids: Tensor) -> Different | None:
        """Find the different ids of tokens [N]; None where they are too many to be worth it, or on a GPU."""
        if ids.device.type != "cpu":
            return None
        different, places = torch.unique(ids, return_inverse=True)
        return cls(different, places) if _REPEATS * len(different) <= len(ids) else None


@dataclass(frozen=True)
class Asked:
    """The rows that are read of the last layer: as ``queries``, which are ascending, and ``order`` [m], which of
    these each was when it was asked for."""

    queries: Queries
    order: Tensor

    @classmethod
    def of(cls, packing: Packing, rows: Tensor) -> Asked | None:
        """Order the wanted flat rows [m] by sequence; None on a GPU, and where there are none.

        With no queries, keys and values would have no gradients, and ranks exchange those of the same parameters.
        """
        if rows.device.type != "cpu" or not len(rows):
            return None
        ascending, by_place = rows.sort()
        lengths = torch.tensor([length for _, count, length in packing.blocks for _ in range(count)])
        ends = torch.searchsorted(ascending, lengths.cumsum(0))
        counts = ends.diff(prepend=ends.new_zeros(1))
        return cls(Queries(ascending, tuple(counts.tolist())), by_place.argsort())


def gathered(rows: Tensor, places: Tensor) -> Tensor:
    """Return row ``places[i]`` of ``rows`` [u, ...] for each i, in fp32 at least.

    The gradients of a row are added up in that type and in order, so that they repeat bitwise.
    """
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return F.embedding(places, wide)
