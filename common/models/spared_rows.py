"""Rows that a layer need not compute: those of a token that it has met before, and those that nobody asks for.

Before the first layer a token's hidden state is its embedding, wherever it stands, so its projections are the same
too. After the last layer only some rows are read, so only they need queries. Both are found where a batch is laid
out, as the host knows its tokens there.
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


@dataclass(frozen=True)
class Asked:
    """The m rows that are read of the last layer, by sequence: ``counts`` says how many each has, in the order in
    which they lie in the batch.

    ``ascending`` [m] puts the rows in that order, and ``back`` [m] into the one in which they are asked for.
    """

    ascending: Tensor
    back: Tensor
    counts: tuple[int, ...]

    def queries(self, rows: Tensor) -> Queries:
        """Return the rows [m] as queries: the same that were asked for, or all of them one to the left."""
        return Queries(rows[self.ascending], self.counts)


@dataclass(frozen=True)
class SparedRows:
    """What is left out of the passes over one batch; None of either: nothing."""

    different: Different | None = None
    asked: Asked | None = None

    @classmethod
    def of(cls, ids: Tensor, packing: Packing, rows: Tensor) -> SparedRows:
        """Find what can be left out of passes over tokens [N] on a CPU of which ``rows`` [m] are read.

        Tokens have to come twice on average to be worth it. Where no row is read, all have queries, so that every
        weight gets its gradient, of zeros: ranks exchange them all.
        """
        different, places = torch.unique(ids, return_inverse=True)
        repeated = _REPEATS * len(different) <= len(ids)
        return cls(
            Different(different, places) if repeated else None, _asked(packing, rows) if len(rows) else None
        )


def gathered(rows: Tensor, places: Tensor) -> Tensor:
    """Return row ``places[i]`` of ``rows`` [u, ...] for each i, in fp32 at least.

    The gradients of a row are added up in that type and in order, so that they repeat bitwise.
    """
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    return F.embedding(places, wide)


def _asked(packing: Packing, rows: Tensor) -> Asked:
    ordered, ascending = rows.sort()
    ends = torch.searchsorted(ordered, packing.ends[1:].long())
    counts = ends.diff(prepend=ends.new_zeros(1))
    return Asked(ascending, ascending.argsort(), tuple(counts.tolist()))
