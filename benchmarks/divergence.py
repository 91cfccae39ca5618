"""Where two engines part on the same request, and whether rounding explains it.

Up to the step at which they part both have written the same, so both decided there from the same canvas. They may
part because two positions are almost equally confident, a token lies at the edge of the nucleus, or the uniform
number of a draw at the edge between two tokens. All of these are near-ties: logits that are a little different
decide otherwise. How much is enough says how near the tie was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from common.models.packing import Packing, Queries
from common.models.transformer import Rows
from common.models.window import Memory, Window
from common.records import NOT_COMMITTED, Completion, Sampler
from rollout_workers.batch import Batch
from rollout_workers.denoise import DenoisingStep
from rollout_workers.denoiser import Denoiser
from rollout_workers.kernels import Kernels
from rollout_workers.requests import Request

#: Differences of logits that two engines in fp32 may have, whose products sum up in different orders.
NEAR_TIE = 1e-4
#: Changes of logits that are tried, smallest first.
_CHANGES = (0.0, 1e-6, 1e-5, NEAR_TIE, 1e-3, 1e-2, 1e-1)
#: Random changes of each size: one of them decides a tie between two in either way with probability 1/2.
_TRIES = 8

#: What a step wrote: (position in the completion, token).
Written = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Divergence:
    """The first denoising ``step`` at which two completions of one request differ.

    ``kind``: other positions were committed, or other tokens at the same ones. ``change`` is the smallest of the
    changes of logits, in nats, with which the reference model decides as each of the two engines did; None where
    none up to 0.1 does, or none was tried.
    """

    step: int
    kind: Literal["positions", "tokens"]
    change: float | None

    @property
    def near_tie(self) -> bool:
        """Whether rounding explains it."""
        return self.change is not None and self.change <= NEAR_TIE


@dataclass(frozen=True)
class Parity:
    """How many completions of two engines there are, and where those that are not the same part."""

    completions: int
    divergences: tuple[Divergence, ...]

    @property
    def same(self) -> int:
        """Completions of which every step wrote the same."""
        return self.completions - len(self.divergences)

    @property
    def near_ties(self) -> int:
        """Completions that part at a near-tie."""
        return sum(each.near_tie for each in self.divergences)

    @property
    def unexplained(self) -> int:
        """Completions that part for another reason."""
        return len(self.divergences) - self.near_ties

    def __add__(self, other: Parity) -> Parity:
        return Parity(self.completions + other.completions, self.divergences + other.divergences)

    def __str__(self) -> str:
        parts = [f"{self.same} of {self.completions} completions are the same"]
        for each in self.divergences:
            change = "more than 0.1" if each.change is None else f"{each.change:g}"
            parts.append(f"one parts at step {each.step} in {each.kind}, for which logits must differ by {change}")
        return "; ".join(parts)


def compare(
    model: Denoiser,
    requests: Sequence[Request],
    sampler: Sampler,
    ones: Sequence[Completion],
    others: Sequence[Completion],
    explain: bool = True,
) -> Parity:
    """Compare what two engines have written for the same requests; see :func:`find_divergence`."""
    pairs = zip(requests, ones, others, strict=True)
    found = [find_divergence(model, request, sampler, one, other, explain) for request, one, other in pairs]
    return Parity(len(found), tuple(each for each in found if each is not None))


def find_divergence(
    model: Denoiser,
    request: Request,
    sampler: Sampler,
    one: Completion,
    other: Completion,
    explain: bool = True,
) -> Divergence | None:
    """Find where two completions of ``request`` part, and how near the tie was; None where both wrote the same.

    ``model`` is the reference, in fp32, with the weights of both. Takes a forward pass for each change tried, and
    none without ``explain``.
    """
    step = first_difference(one, other)
    if step is None:
        return None
    found = written(one, step), written(other, step)
    same_places = {place for place, _ in found[0]} == {place for place, _ in found[1]}
    kind: Literal["positions", "tokens"] = "tokens" if same_places else "positions"
    if not explain:
        return Divergence(step, kind, None)
    changes = [_needed_change(model, request, sampler, one, step, wanted) for wanted in found]
    known = [change for change in changes if change is not None]
    return Divergence(step, kind, max(known) if len(known) == len(changes) else None)


def first_difference(one: Completion, other: Completion) -> int | None:
    """Find the first denoising step that wrote something else; None where both wrote the same at all steps."""
    differing = _all_written(one) ^ _all_written(other)
    return min((step for step, _, _ in differing), default=None)


def written(completion: Completion, step: int) -> Written:
    """Collect what a step wrote, also where later the end of the text made it void."""
    return frozenset((place, token) for when, place, token in _all_written(completion) if when == step)


def _all_written(completion: Completion) -> set[tuple[int, int, int]]:
    """Collect (step, position, token) of all that was committed."""
    kept = enumerate(zip(completion.step_map, completion.completion_ids, strict=True))
    shown = {(step, place, token) for place, (step, token) in kept if step != NOT_COMMITTED}
    return shown | {(step, place, token) for place, token, step in completion.overwritten}


def _needed_change(
    model: Denoiser, request: Request, sampler: Sampler, completion: Completion, step: int, wanted: Written
) -> float | None:
    """Find the smallest change of logits with which ``step``, after those before it, writes ``wanted``."""
    for change in _CHANGES:
        for seed in range(_TRIES if change else 1):
            batch = _batch_before(model, request, sampler, completion, step)
            DenoisingStep(_Changed(model, change, seed), sampler, Kernels())(batch)
            cells = batch.cells
            places = (cells.step_map[0] == step).nonzero().squeeze(-1)
            if frozenset(zip(places.tolist(), cells.tokens[0, places].tolist(), strict=True)) == wanted:
                return change
    return None


def _batch_before(model: Denoiser, request: Request, sampler: Sampler, completion: Completion, step: int) -> Batch:
    """Make a batch of the request alone in which the steps before ``step`` have written what they wrote."""
    batch = Batch(sampler, model.config, model.device, len(request.prompt_ids) + sampler.completion_length)
    batch.add([request])
    while batch.rows[0].step < step:
        tokens = torch.zeros_like(batch.cells.tokens)
        chosen = torch.zeros_like(tokens, dtype=torch.bool)
        for place, token in written(completion, batch.rows[0].step):
            tokens[0, place], chosen[0, place] = token, True
        places = batch.places(chosen, [int(chosen.sum())])
        nothing = batch.cells.logprobs[chosen]  # what a step records does not bear on later ones
        batch.commit(places, tokens[chosen], nothing, nothing)
        batch.advance(0, 0.0)
    return batch


class _Changed:
    """A model whose every logit is changed at random, by at most ``change``."""

    def __init__(self, model: Denoiser, change: float, seed: int) -> None:
        self._model = model
        self._change = change
        self._numbers = torch.Generator(model.device).manual_seed(seed)
        self.config = model.config
        self.device = model.device
        self.vocabulary = model.vocabulary

    def hidden(self, ids: Tensor, packing: Packing, queries: Queries | None = None) -> Tensor:
        return self._model.hidden(ids, packing, queries)

    def refresh(self, ids: Tensor, packing: Packing, window: Window, memory: Memory) -> Tensor:
        return self._model.refresh(ids, packing, window, memory)

    def logits(self, rows: Tensor) -> Tensor:
        logits = self._model.logits(rows)
        changes = torch.empty_like(logits).uniform_(-self._change, self._change, generator=self._numbers)
        return logits + changes

    def local_logits(self, rows: Tensor) -> Tensor:
        return self.logits(rows)

    def source_rows(self, target_rows: Rows) -> Rows:
        return self._model.source_rows(target_rows)
