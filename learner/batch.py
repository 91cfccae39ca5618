"""Views of samples packed into one row, and the positions whose log-probabilities are computed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.likelihood.views import Views
from common.models.packing import Packing
from learner.partition import Piece
from learner.samples import TrainingSample

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TokenRows:
    """m rows, one for each token and view that measures it, of T tokens of n pieces of samples.

    ``weights`` [m] and ``token`` [m], which of the T tokens a row measures, ascending; ``owner`` [T], which of the
    n pieces a token belongs to, ascending; ``position`` [T], where in its completion it is; ``advantages`` [n];
    ``measured`` [n], how many tokens of a piece's whole sample some view of it measures;
    ``draws`` is 1, or where each piece is one of the draws of its sample (:class:`Views`), their number.
    Where they are needed, ``old`` and ``reference`` [T] are estimates under other policies, and ``importance`` [T]
    weighs tokens against staleness.
    """

    samples: Sequence[TrainingSample]
    advantages: Tensor
    weights: Tensor
    token: Tensor
    owner: Tensor
    position: Tensor
    measured: Tensor
    draws: int = 1
    old: Tensor | None = None
    reference: Tensor | None = None
    importance: Tensor | None = None

    def estimates(self, log_probs: Tensor) -> Tensor:
        """Estimate token log-likelihoods [T] from the log-probabilities [m] of all rows."""
        zeros = torch.zeros(self.owner.numel(), device=log_probs.device)
        return zeros.index_add(0, self.token, self.weights * log_probs)

    def importance_weights(self, old: Tensor, cap: float) -> Tensor:
        """Return min(cap, likelihood under the weights of this step / under those that sampled), [T].

        ``old`` [T] are the estimates under the weights of this step, for the masks of the first inner iteration:
        those for which the rollout recorded its own. Raises ValueError for a rollout that recorded none.
        """
        recorded = []
        for sample in self.samples:
            if len(sample.sampling_logprobs) != len(sample.completion_ids):
                raise ValueError(
                    f"group {sample.group}, sample {sample.sample}: its rollout has no token likelihoods; "
                    "learner.off_policy_cap must be set from the start of a run"
                )
            recorded.append(sample.sampling_logprobs)
        table = torch.tensor(recorded, device=old.device)
        ratio = torch.exp(old - table[self.owner, self.position])
        return ratio.clamp(max=cap)

    def part(self, rows: slice, tokens: slice) -> TokenRows:
        """Select some consecutive tokens and the rows that measure them."""
        return replace(
            self,
            weights=self.weights[rows],
            token=self.token[rows] - tokens.start,
            owner=self.owner[tokens],
            position=self.position[tokens],
            old=None if self.old is None else self.old[tokens],
            reference=None if self.reference is None else self.reference[tokens],
            importance=None if self.importance is None else self.importance[tokens],
        )

    def of_samples(self, value: Callable[[TrainingSample], float]) -> Tensor:
        """Return a number of every piece's sample, [n]."""
        numbers = [value(sample) for sample in self.samples]
        return torch.tensor(numbers, dtype=torch.float32, device=self.weights.device)


@dataclass(frozen=True)
class PackedRows:
    """The sequences of a micro-batch in one row of N tokens, and what is predicted.

    ``ids`` [N]; ``rows`` [m] are the flat positions to be predicted and ``targets`` [m] their tokens.
    """

    ids: Tensor
    packing: Packing
    rows: Tensor
    targets: Tensor

    def chunks(self, rows: int) -> list[slice]:
        """Cut the rows into spans of at most ``rows``."""
        count = self.rows.numel()
        return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


@dataclass(frozen=True)
class PackedViews(PackedRows):
    """The views of a micro-batch. ``first_rows`` (length T + 1) says at which row each token's begin."""

    first_rows: Sequence[int]
    tokens: TokenRows

    def with_estimates(
        self, *, old: Tensor | None = None, reference: Tensor | None = None, importance: Tensor | None = None
    ) -> PackedViews:
        """Return the same views with estimates [T] of other policies, or weights [T] against staleness."""
        given = {"old": old, "reference": reference, "importance": importance}
        known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(self, tokens=replace(self.tokens, **known))

    def chunks(self, rows: int) -> list[slice]:
        """Cut the rows into spans of at most ``rows``, or of one token: no token's rows are parted."""
        spans, first = [], 0
        for token in range(1, len(self.first_rows)):
            following = self.first_rows[min(token + 1, len(self.first_rows) - 1)]
            if token == len(self.first_rows) - 1 or following - self.first_rows[first] > rows:
                spans.append(slice(self.first_rows[first], self.first_rows[token]))
                first = token
        return spans

    def part(self, rows: slice) -> TokenRows:
        """Select the rows of one of the :meth:`chunks` and the tokens that they measure."""
        first, end = (bisect_left(self.first_rows, row) for row in (rows.start, rows.stop))
        return self.tokens.part(rows, slice(first, end))


def pack_views(
    pieces: Sequence[Piece], views: Sequence[Views], mask_token_id: int, device: torch.device
) -> PackedViews:
    """Lay out the views of all pieces. ``views`` are those of each piece's whole sample."""
    sequences: list[Array] = []
    places, weights, counts = [], [], []
    for number, (piece, drawn) in enumerate(zip(pieces, views, strict=True)):
        chosen = list(piece.views)
        measured = drawn.measured(piece.sample)
        if piece.idle:
            measured[:] = False
        counts.append(int(measured.any(0).sum()))
        measured = measured[chosen]
        # By token first, then by view: what measures one token lies together.
        positions, numbers = np.nonzero(measured.T)
        places.append(np.stack([np.full(len(positions), number), len(sequences) + numbers, positions]))
        weights.append(drawn.weights[chosen][numbers, positions])
        sequences += list(drawn.canvases(piece.sample, mask_token_id)[chosen])
    owner, sequence, position = np.concatenate(places, axis=1)
    packing = Packing.of([len(ids) for ids in sequences], device)
    starts = np.asarray(packing.starts)
    prompts = np.asarray([len(piece.sample.prompt_ids) for piece in pieces])
    completions = [piece.sample.completion_ids for piece in pieces]
    targets = [completions[i][k] for i, k in zip(owner, position, strict=True)]
    new = np.ones(len(owner), dtype=bool)
    new[1:] = (np.diff(owner) != 0) | (np.diff(position) != 0)

    def tensor(values: Sequence[Any] | Array, kind: torch.dtype = torch.long) -> Tensor:
        return torch.as_tensor(values, dtype=kind, device=device)

    return PackedViews(
        ids=packing.pack(sequences),
        packing=packing,
        rows=tensor(starts[sequence] + prompts[owner] + position),
        targets=tensor(targets),
        first_rows=[*np.flatnonzero(new).tolist(), len(owner)],
        tokens=TokenRows(
            samples=[piece.sample for piece in pieces],
            advantages=tensor([piece.sample.advantage for piece in pieces], torch.float32),
            weights=tensor(np.concatenate(weights), torch.float32),
            token=tensor(np.cumsum(new) - 1),
            owner=tensor(owner[new]),
            position=tensor(position[new]),
            measured=tensor(counts, torch.float32),
            draws=len(views[0].masks) // len(pieces[0].views) if views[0].draws > 1 else 1,
        ),
    )
