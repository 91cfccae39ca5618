"""Views of samples packed into one row, and the positions whose log-probabilities are computed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from common.likelihood.views import Views
from common.models.log_probabilities import Span, even_spans
from common.models.packing import Packing
from common.models.spared_rows import SparedRows
from learner.partition import Piece
from learner.samples import TrainingSample

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class TokenRows:
    """m rows, one for each token and view that measures it, of T tokens of n pieces of samples.

    Tokens are in the order of their positions, and at one position in that of the pieces. ``weights`` [m] and
    ``token`` [m], which of the T tokens a row measures, ascending; ``owner`` [T], which of the n pieces a token
    belongs to; ``position`` [T], where in its completion it is, ascending; ``advantages`` [n];
    ``measured`` [n], how many tokens of a piece's whole sample some view of it measures; ``present``, the numbers
    of the pieces that have a row. Of a piece's sample, ``valid`` [n] is how many tokens are valid, ``lengths`` [n]
    how many there are, and ``groups`` [n] the number of its group, from 0 in the order in which they come.
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
    present: Tensor
    valid: Tensor
    lengths: Tensor
    groups: Tensor
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


@dataclass(frozen=True)
class PackedRows:
    """The sequences of a micro-batch in one row of N tokens, and what is predicted.

    ``ids`` [N]; ``rows`` [u] are the flat positions to be predicted and ``targets`` [m] tokens there. Where one
    position has several targets, ``row_of`` [m] says which of the rows each belongs to. ``spared`` says what the
    layers can leave out.
    """

    ids: Tensor
    packing: Packing
    rows: Tensor
    targets: Tensor
    row_of: Tensor | None = field(default=None, kw_only=True)
    spared: SparedRows | None = field(default=None, kw_only=True)

    def chunks(self, rows: int) -> list[Span]:
        """Cut the targets, and with them the rows, into spans of at most ``rows`` rows."""
        return even_spans(self.targets.numel(), rows)


@dataclass(frozen=True)
class PackedViews(PackedRows):
    """The views of a micro-batch; views that show the model the same are one sequence.

    ``first`` (length T + 1) says at which target each token's begin, and ``cuts`` where targets may be parted,
    with the count of rows before that: no token's targets are parted, nor are those of one row.
    """

    first: Sequence[int]
    cuts: Sequence[tuple[int, int]]
    tokens: TokenRows

    def with_estimates(
        self, *, old: Tensor | None = None, reference: Tensor | None = None, importance: Tensor | None = None
    ) -> PackedViews:
        """Return the same views with estimates [T] of other policies, or weights [T] against staleness."""
        given = {"old": old, "reference": reference, "importance": importance}
        known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(self, tokens=replace(self.tokens, **known))

    def chunks(self, rows: int) -> list[Span]:
        """Cut into spans of at most ``rows`` rows, or of what may not be parted."""
        spans: list[Span] = []
        start = end = self.cuts[0]
        for cut in [*self.cuts[1:], None]:
            if end > start and (cut is None or cut[1] - start[1] > rows):
                spans.append(Span(slice(start[0], end[0]), slice(start[1], end[1])))
                start = end
            end = cut or end
        return spans

    def part(self, targets: slice) -> TokenRows:
        """Select the targets of one of the :meth:`chunks` and the tokens that they measure."""
        first, end = (bisect_left(self.first, target) for target in (targets.start, targets.stop))
        return self.tokens.part(targets, slice(first, end))


def pack_views(
    pieces: Sequence[Piece], views: Sequence[Views], mask_token_id: int, device: torch.device
) -> PackedViews:
    """Lay out the views of all pieces. ``views`` are those of each piece's whole sample.

    Views in which the model sees the same tokens are computed once: those of a group's samples that mask all of
    the completion differ in their targets alone.
    """
    numbers: dict[bytes, int] = {}  # of each canvas that the model has to see
    canvases: list[Array] = []
    places, weights, counts = [], [], []
    for number, (piece, drawn) in enumerate(zip(pieces, views, strict=True)):
        chosen = list(piece.views)
        measured = drawn.measured(piece.sample)
        if piece.idle:
            measured[:] = False
        counts.append(int(measured.any(0).sum()))
        measured = measured[chosen]
        seen = np.empty(len(chosen), dtype=np.int64)
        for view, shown in enumerate(drawn.canvases(piece.sample, mask_token_id)[chosen]):
            seen[view] = numbers.setdefault(shown.tobytes(), len(numbers))
            if seen[view] == len(canvases):
                canvases.append(shown)
        positions, views_of = np.nonzero(measured.T)
        places.append(np.stack([np.full(len(positions), number), seen[views_of], positions]))
        weights.append(drawn.weights[chosen][views_of, positions])
    packing = Packing.of([len(ids) for ids in canvases], device)
    # By position first: what samples share of a position lies together.
    order = np.argsort(np.concatenate([position for _, _, position in places]), kind="stable")
    owner, canvas, position = np.concatenate(places, axis=1)[:, order]
    prompts = np.asarray([len(piece.sample.prompt_ids) for piece in pieces])
    completions = [piece.sample.completion_ids for piece in pieces]
    rows, row_of = _in_order(np.asarray(packing.starts)[canvas] + prompts[owner] + position)
    new = np.ones(len(owner), dtype=bool)
    new[1:] = (np.diff(owner) != 0) | (np.diff(position) != 0)
    first = np.flatnonzero(new)

    groups = {group: number for number, group in enumerate(dict.fromkeys(p.sample.group for p in pieces))}

    def tensor(values: Sequence[Any] | Array, kind: torch.dtype = torch.long) -> Tensor:
        return torch.as_tensor(values, dtype=kind, device=device)

    ids, flat_rows = packing.pack(canvases), tensor(rows)
    return PackedViews(
        ids=ids,
        packing=packing,
        rows=flat_rows,
        # On a GPU it would save less than a hundredth of a deep model's work, for more and smaller calls.
        spared=SparedRows.of(ids, packing, flat_rows) if device.type == "cpu" else None,
        targets=tensor([completions[i][k] for i, k in zip(owner, position, strict=True)]),
        row_of=tensor(row_of) if len(rows) < len(row_of) else None,
        first=[*first.tolist(), len(owner)],
        cuts=_cuts(first, row_of),
        tokens=TokenRows(
            samples=[piece.sample for piece in pieces],
            advantages=tensor([piece.sample.advantage for piece in pieces], torch.float32),
            weights=tensor(np.concatenate(weights)[order], torch.float32),
            token=tensor(np.cumsum(new) - 1),
            owner=tensor(owner[new]),
            position=tensor(position[new]),
            measured=tensor(counts, torch.float32),
            present=tensor(np.unique(owner)),
            valid=tensor([piece.sample.valid_tokens for piece in pieces], torch.float32),
            lengths=tensor([len(piece.sample.completion_ids) for piece in pieces], torch.float32),
            groups=tensor([groups[piece.sample.group] for piece in pieces]),
            draws=len(views[0].masks) // len(pieces[0].views) if views[0].draws > 1 else 1,
        ),
    )


def _in_order(places: Array) -> tuple[Array, Array]:
    """Return the different places, in the order in which they first occur, and which of them each is."""
    different, begin, inverse = np.unique(places, return_index=True, return_inverse=True)
    order = np.argsort(begin)
    return different[order], np.argsort(order)[inverse]


def _cuts(first: Array, row_of: Array) -> list[tuple[int, int]]:
    """Return the beginnings of tokens before which no row has a target that comes later, and the end.

    Each with the count of rows before it; rows are counted in the order in which they first have a target.
    """
    if not len(row_of):
        return [(0, 0)]
    before = np.concatenate([[0], np.maximum.accumulate(row_of) + 1])
    later = np.minimum.accumulate(row_of[::-1])[::-1]
    places = [*(int(place) for place in first if later[place] >= before[place]), len(row_of)]
    return [(place, int(before[place])) for place in places]
