"""The two sides of ``couplet bench update``: the learner's passes, and the naive ones, over one group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import naive_update
from benchmarks.naive_denoise import stock_model
from common.flops import TRAINING_PASSES, forward_flops
from common.likelihood.coupled import CoupledEstimator
from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel
from learner.batch import PackedViews, pack_views
from learner.objectives.grpo import TokenGrpo
from learner.objectives.ratios import Clip
from learner.partition import micro_batches, units
from learner.policy import Policy
from learner.samples import TrainingSample

ESTIMATOR = CoupledEstimator()
VIEWS = 1 + 2 * ESTIMATOR.pairs
#: DiffuCoder's.
CLIP, KL_WEIGHT = 0.5, 0.01

_SEED = 0
#: Behind the special tokens of the quick start's model.
_FIRST_TEXT_ID = 2
#: How far the old estimates are from the new: within the clip and beyond it, and not where rounding could decide.
_OLD_OFFSETS = (-0.8, -0.1, 0.1, 0.8)
_REFERENCE_DEVIATION = 0.1

#: Old and reference estimates, [n, L] each, of all tokens of the group.
Anchors = tuple[Tensor, Tensor]


class Operations(NamedTuple):
    """Floating-point operations of the products of both tasks, by :mod:`common.flops`; recomputation included."""

    train: int
    score: int


class Learner:
    """The learner's side, in micro-batches of ``batch_tokens`` as it makes them."""

    def __init__(
        self,
        model: MaskedDiffusionModel,
        samples: Sequence[TrainingSample],
        batch_tokens: int,
        dtype: torch.dtype,
    ) -> None:
        self.policy = Policy(model, dtype)
        self._samples = samples
        parts = units([[sample] for sample in samples], ESTIMATOR, _SEED, by_token=True)
        self.batches = micro_batches(parts, ranks=1, batch_tokens=batch_tokens)[0]
        self._objective = TokenGrpo(Clip(CLIP, CLIP), KL_WEIGHT)
        self._count = self._objective.count([samples])

    @torch.no_grad()
    def score(self) -> Tensor:
        """The estimates [n, L] of all tokens of the group."""
        length = len(self._samples[0].completion_ids)
        found = torch.zeros(len(self._samples), length, device=self.policy.model.device)
        for packed in self._packed():
            found[self._places(packed)] = packed.tokens.estimates(self.policy.log_probs(packed))
        return found

    def train(self, anchors: Anchors) -> None:
        """Add up the gradient of all micro-batches."""
        for packed in self._packed():
            old, reference = (estimates[self._places(packed)] for estimates in anchors)
            anchored = packed.with_estimates(old=old, reference=reference)
            loss = self.policy.loss(anchored, partial(self._loss_of, anchored)).value
            torch.autograd.backward(loss / self._count)

    def operations(self) -> Operations:
        """Count what the products of both tasks compute."""
        model = self.policy.model
        passes = [_learner_pass(packed) for packed in self._packed()]
        return _operations(model.config, passes, again=model.checkpoint_layers)

    def _loss_of(self, packed: PackedViews, targets: slice, log_probs: Tensor) -> Tensor:
        return self._objective.sums(packed.part(targets), log_probs).loss

    def _packed(self) -> Iterator[PackedViews]:
        config, device = self.policy.model.config, self.policy.model.device
        for batch in self.batches:
            views = [ESTIMATOR.views(piece.sample.key(_SEED, 0), piece.sample) for piece in batch]
            yield pack_views(batch, views, config.mask_token_id, device)

    def _places(self, packed: PackedViews) -> tuple[Tensor, Tensor]:
        numbers = torch.tensor([sample.sample for sample in packed.tokens.samples], device=packed.ids.device)
        return numbers[packed.tokens.owner], packed.tokens.position


class Naive:
    """The naive side, ``micro_batch`` samples at a time."""

    def __init__(
        self, model: MaskedDiffusionModel, samples: Sequence[TrainingSample], micro_batch: int, dtype: torch.dtype
    ) -> None:
        self.stock = stock_model(model, torch.float32).requires_grad_(True)
        self._config = model.config
        self._dtype = dtype
        self._batches = [samples[at : at + micro_batch] for at in range(0, len(samples), micro_batch)]
        self._count = sum(sample.valid_tokens for sample in samples)

    @torch.no_grad()
    def score(self) -> Tensor:
        """As :meth:`Learner.score`."""
        return torch.cat([self._estimates(samples) for samples in self._batches])

    def train(self, anchors: Anchors) -> None:
        """As :meth:`Learner.train`."""
        for samples in self._batches:
            numbers = [sample.sample for sample in samples]
            old, reference = (estimates[numbers] for estimates in anchors)
            loss = naive_update.grpo(self._estimates(samples), old, reference, samples, CLIP, KL_WEIGHT)
            torch.autograd.backward(loss / self._count)

    def operations(self) -> Operations:
        """As :meth:`Learner.operations`: every position of every view is scored."""
        lengths = [
            [len(sample.prompt_ids) + len(sample.completion_ids) for sample in samples] * VIEWS
            for samples in self._batches
        ]
        passes = [_Pass(some, sum(some)) for some in lengths]
        return _operations(self._config, passes, again=self.stock.is_gradient_checkpointing)

    def _estimates(self, samples: Sequence[TrainingSample]) -> Tensor:
        views = [ESTIMATOR.views(sample.key(_SEED, 0), sample) for sample in samples]
        return naive_update.estimates(self.stock, self._config, samples, views, self._dtype)


class _Pass(NamedTuple):
    """One pass, as :func:`forward_flops` takes it: its sequences, the scored rows, and what is left out."""

    lengths: Sequence[int]
    rows: int
    different: int | None = None
    asked: Sequence[int] | None = None

    def forward(self, config: ModelConfig) -> int:
        return forward_flops(config, self.lengths, self.rows, different=self.different, asked=self.asked)


def _learner_pass(packed: PackedViews) -> _Pass:
    different, asked = (None, None) if packed.spared is None else (packed.spared.different, packed.spared.asked)
    return _Pass(
        sorted(packed.packing.lengths),
        len(packed.rows),
        None if different is None else len(different.ids),
        None if asked is None else asked.counts,
    )


def _operations(config: ModelConfig, passes: Sequence[_Pass], again: bool) -> Operations:
    """Count what passes compute.

    ``again``: the backward pass computes the layers again, each up to its last product, which nobody needs.
    """
    forward = sum(one.forward(config) for one in passes)
    train = TRAINING_PASSES * forward
    if again:
        tokens, rows = sum(sum(one.lengths) for one in passes), sum(one.rows for one in passes)
        last_products = ((config.num_hidden_layers - 1) * tokens + rows) * config.intermediate_size
        train += forward - 2 * config.hidden_size * (rows * config.vocab_size + last_products)
    return Operations(train, forward)


def random_group(vocabulary: int, size: int, prompt: int, completion: int) -> list[TrainingSample]:
    """One group of random completions to one prompt, all of whose tokens count."""
    numbers = np.random.default_rng(_SEED)

    def text(length: int) -> tuple[int, ...]:
        return tuple(numbers.integers(_FIRST_TEXT_ID, vocabulary, length).tolist())

    prompt_ids = text(prompt)
    return [
        TrainingSample(
            group=0,
            sample=number,
            prompt_ids=prompt_ids,
            completion_ids=text(completion),
            valid_tokens=completion,
            advantage=-0.5 if number % 2 else 0.5,
        )
        for number in range(size)
    ]


def some_anchors(new: Tensor) -> Anchors:
    """Old and reference estimates a little off the given ones, so that ratios and KL matter to the gradient."""
    numbers = np.random.default_rng(_SEED)
    old = torch.tensor(numbers.choice(_OLD_OFFSETS, new.shape), dtype=new.dtype, device=new.device)
    moved = numbers.normal(0.0, _REFERENCE_DEVIATION, new.shape)
    return new + old, new + torch.tensor(moved, dtype=new.dtype, device=new.device)
