"""One DeepSpeed rank: it updates the policy and holds the reference policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor

from common.config import LearnerConfig
from common.likelihood.views import Estimator, Views
from common.models.config import ModelConfig
from learner.batch import PackedViews, TokenRows, pack_views
from learner.collectives import MetricAccumulator
from learner.deepspeed_policy import DeepSpeedPolicy
from learner.learner_loop import Training
from learner.minibatches import Linked, minibatches
from learner.objectives.draws import DrawByDraw
from learner.objectives.objective import Objective
from learner.optimizer import learning_rate
from learner.partition import MicroBatch, Piece, micro_batches, units
from learner.policy import Policy
from learner.reference import Reference
from learner.samples import TrainingSample
from learner.traffic import pass_tokens

_LOSS, _ENTROPY = "policy/loss", "policy/entropy"
_VARIANCE, _IMPORTANCE = "policy/estimator_variance", "policy/importance_mean"


@dataclass(frozen=True)
class _Share:
    """A minibatch: this rank's micro-batches of it, and what its loss is divided by."""

    batches: list[MicroBatch]
    count: float


class Engine:
    """The policy under DeepSpeed on this rank.

    Every rank is given the same samples and works on its share. The loss of an update is divided by the count of
    its units over all ranks and micro-batches, so the gradient does not depend on how they are split.
    """

    def __init__(
        self,
        policy: Policy,
        estimator: Estimator,
        objective: Objective,
        config: LearnerConfig,
        seed: int,
        total_updates: int,
    ) -> None:
        self._config = config
        self._estimator = estimator
        self._objective = objective
        self._seed = seed
        self._total_updates = total_updates
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._reference = Reference(policy, config) if objective.needs_reference else None
        self._policy = DeepSpeedPolicy(policy, config)
        self._device = self._policy.device

    @property
    def model_config(self) -> ModelConfig:
        return self._policy.policy.model.config

    def train(self, samples: Sequence[TrainingSample], updates: int) -> Training:
        """Run the inner iterations on ``samples``, each in ``minibatches`` updates.

        ``updates`` is the count of optimizer steps so far. Takes none where no sample has a part in the loss.
        """
        config = self._config
        linked = self._objective.link(samples)
        shares = [self._share(part) for part in minibatches(linked, config.minibatches)]
        if not shares:
            return Training(0, {})
        names = (_LOSS, *self._objective.metric_names, _ENTROPY, _VARIANCE, _IMPORTANCE)
        sums = MetricAccumulator(names, self._device)
        schedule = [(iteration, share) for iteration in range(config.inner_iterations) for share in shares]
        with sums.phase("seconds/log_probs"):
            passes = [[self._pack(batch, i) for batch in share.batches] for i, share in schedule]
            passes = self._with_step_start(passes, len(shares))
        for packed in chain.from_iterable(passes[: len(shares)]):
            if packed.tokens.importance is not None:
                sums.add(_IMPORTANCE, packed.tokens.importance.sum(), packed.tokens.importance.numel())
        norms = 0.0
        for update, ((_, share), batches) in enumerate(zip(schedule, passes, strict=True)):
            rate = learning_rate(config.optimizer, updates + update, self._total_updates)
            sums.add(_LOSS, 0.0, share.count / self._world)
            for number, packed in enumerate(batches):
                with sums.phase("seconds/log_probs"):
                    anchored = self._with_reference(packed)
                with sums.phase("seconds/backward"):
                    log_probs = self._backward(anchored, share.count, number == len(batches) - 1, sums)
                if update < len(shares) and self._compares_masks:
                    spread = _squared_spread(packed, log_probs, passes[update + len(shares)][number])
                    sums.add(_VARIANCE, spread.sum(), spread.numel())
            with sums.phase("seconds/optimizer"):
                norms += self._policy.step(rate)
                self._sync_reference(updates + update + 1)
        metrics = {
            **sums.means(),
            **sums.seconds,
            "optim/grad_norm": norms / len(passes),
            "optim/learning_rate": rate,
            "policy/valid_tokens": float(sum(sample.valid_tokens for sample in samples)),
        }
        return Training(len(passes), metrics)

    def token_estimates(self, piece: Piece, views: Views) -> npt.NDArray[np.float64]:
        """Estimate the log-likelihoods [L] of the tokens that a piece's views measure; 0 for the others.

        ``views`` are those of its whole sample; the piece's measure no token twice. A collective call under
        ZeRO-3: every rank must give the same piece.
        """
        sample = piece.sample
        at_once = max(1, pass_tokens(self._config) // (len(sample.prompt_ids) + len(sample.completion_ids)))
        found = np.zeros(len(sample.completion_ids))
        for first in range(0, len(piece.views), at_once):
            part = Piece(sample, piece.views[first : first + at_once])
            packed = pack_views([part], [views], self.model_config.mask_token_id, self._device)
            found[packed.tokens.position.cpu()] = self._estimates(self._policy.policy, packed).cpu()
        return found

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and full weights, as :meth:`DeepSpeedPolicy.parameters` does."""
        return self._policy.parameters()

    def masters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and full fp32 weights of what is trained, as :meth:`DeepSpeedPolicy.masters` does."""
        return self._policy.masters()

    def not_finite(self) -> str | None:
        """Return the name of a weight that is not finite, as :meth:`DeepSpeedPolicy.not_finite` does."""
        return self._policy.not_finite()

    def save(self, folder: Path) -> None:
        """Write this rank's part of a checkpoint; every rank must call it."""
        self._policy.save(folder)
        if self._reference is not None:
            self._reference.save(folder)

    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote. Raises :class:`CheckpointError`."""
        self._policy.load(folder)
        if self._reference is not None:
            self._reference.load(folder)

    def _share(self, linked: Sequence[Linked]) -> _Share:
        by_draw = isinstance(self._objective, DrawByDraw)
        parts = units(linked, self._estimator, self._seed, self._objective.by_token, by_draw)
        batches = micro_batches(parts, self._world, pass_tokens(self._config))[self._rank]
        return _Share(batches, self._objective.count(linked))

    def _pack(self, batch: MicroBatch, iteration: int) -> PackedViews:
        views = [self._estimator.views(piece.sample.key(self._seed, iteration), piece.sample) for piece in batch]
        return pack_views(batch, views, self.model_config.mask_token_id, self._device)

    @torch.no_grad()
    def _estimates(self, policy: Policy, packed: PackedViews) -> Tensor:
        return packed.tokens.estimates(policy(Policy.log_probs, packed))

    def _with_step_start(self, passes: list[list[PackedViews]], first: int) -> list[list[PackedViews]]:
        """Add what the weights at the start of the step say to the micro-batches of each of its updates.

        That is old estimates, under the masks that the update uses, and the weights against staleness, under those
        of the first iteration, which is the ``first`` updates. The first update's old estimates are its new ones.
        """
        cap = self._config.off_policy_cap
        weights: list[list[Tensor | None]] = [[None] * len(batches) for batches in passes[:first]]
        if cap is not None:
            weights = [
                [p.tokens.importance_weights(self._estimates(self._policy.policy, p), cap) for p in batches]
                for batches in passes[:first]
            ]
        found: list[list[PackedViews]] = []
        for update, batches in enumerate(passes):
            found.append([])
            for packed, weight in zip(batches, weights[update % first], strict=True):
                needs_old = update > 0 and self._objective.needs_old
                old = self._estimates(self._policy.policy, packed) if needs_old else None
                found[-1].append(packed.with_estimates(old=old, importance=weight))
        return found

    def _with_reference(self, packed: PackedViews) -> PackedViews:
        if self._reference is None:
            return packed
        return packed.with_estimates(reference=self._estimates(self._reference.policy, packed))

    @property
    def _compares_masks(self) -> bool:
        """Whether two iterations estimate the same tokens, under the same weights, by different masks."""
        return self._config.inner_iterations > 1 and self._estimator.complete and self._objective.needs_old

    def _backward(self, packed: PackedViews, count: float, last: bool, sums: MetricAccumulator) -> Tensor:
        """Add the gradients of a micro-batch; return the log-probabilities [m] that it found."""

        def loss_of(tokens: TokenRows, log_probs: Tensor) -> Tensor:
            found = self._objective.sums(tokens, log_probs)
            sums.add(_LOSS, found.loss.detach(), 0.0)
            for name, total in found.metrics.items():
                sums.add(name, total, found.units)
            return found.loss

        if self._objective.by_token:
            loss, log_probs, entropies = self._policy(
                Policy.loss, packed, lambda targets, log_probs: loss_of(packed.part(targets), log_probs)
            )
            sums.add(_ENTROPY, entropies.sum(), entropies.numel())
        else:
            log_probs = self._policy(Policy.log_probs, packed)
            # An idle rank has no rows, and still takes part in the backward pass.
            loss = loss_of(packed.tokens, log_probs) if log_probs.numel() else log_probs.sum()
        self._policy.backward(loss * (self._world / count), last)
        found: Tensor = log_probs.detach()
        return found

    def _sync_reference(self, update: int) -> None:
        interval = self._config.reference_sync_steps
        if self._reference is not None and interval and update % interval == 0:
            self._reference.move_towards(self.masters(), self._config.reference_sync_share)


def _squared_spread(packed: PackedViews, log_probs: Tensor, other: PackedViews) -> Tensor:
    """Return half the squared distances [T] of the tokens' estimates under two draws of masks: their variance.

    Both are under the weights at the start of the step, as ``log_probs`` are of the first update.
    """
    assert other.tokens.old is not None
    one = packed.tokens.estimates(log_probs) if packed.tokens.old is None else packed.tokens.old
    return (one - other.tokens.old).square() / 2.0 * packed.tokens.draws
