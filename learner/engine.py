"""One DeepSpeed rank: scores, updates, and holds the reference policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import deepspeed
import torch
import torch.distributed as dist
from torch import Tensor

from common.config import LearnerConfig
from common.likelihood.views import Estimator
from common.models.config import ModelConfig
from learner import lora
from learner.batch import PackedViews, ScoredTokens, pack_views
from learner.checkpoints import CheckpointError
from learner.gather import full_parameters
from learner.objective import Objective
from learner.optimizer import learning_rate, make_optimizer, set_learning_rate
from learner.plan import MicroBatch, micro_batches, units
from learner.policy import Policy
from learner.reference import Reference
from learner.samples import TrainingSample
from learner.staleness import importance
from learner.tally import Tally

_ROWS, _ENTROPY = "rows", "policy/entropy"
_VARIANCE, _IMPORTANCE = "policy/estimator_variance", "policy/importance_mean"


class Engine:
    """The policy under DeepSpeed on this rank.

    Every rank is given the same samples and works on its share. The loss is divided by the count of its units over
    all ranks and micro-batches, so the gradient does not depend on how the batch is split.
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
        self._reference = Reference(policy, config.zero_stage, self._rank) if config.needs_reference else None
        self._engine, self._optimizer, *_ = deepspeed.initialize(
            model=policy,
            optimizer=make_optimizer(policy, config.optimizer),
            config=_deepspeed_settings(config),
            dist_init_required=False,
        )
        self._policy = policy
        self._device = next(policy.parameters()).device

    @property
    def model_config(self) -> ModelConfig:
        return self._policy.model.config

    def train(self, samples: Sequence[TrainingSample], updates: int) -> dict[str, float]:
        """Run the inner iterations on ``samples``; ``updates`` is the count of optimizer steps so far."""
        config, iterations = self._config, self._config.inner_iterations
        linked = self._objective.link(samples)
        parts = units(linked, self._estimator, self._seed, self._objective.by_token)
        share = micro_batches(parts, self._world, config.batch_tokens)[self._rank]
        count = self._objective.count(linked)
        names = ("policy/loss", *self._objective.metric_names)
        tally = Tally((*names, _ROWS, _ENTROPY, _VARIANCE, _IMPORTANCE), self._device)
        with tally.phase("seconds/score"):
            passes = self._at_entry([[self._pack(batch, i) for batch in share] for i in range(iterations)])
            for packed in passes[0]:
                if packed.tokens.importance is not None:
                    tally.add(_IMPORTANCE, packed.tokens.importance.sum())
        # Two iterations estimate the same tokens, under the same weights, by different masks.
        compares_masks = iterations > 1 and self._estimator.complete and self._objective.needs_old
        norms = 0.0
        for iteration, batches in enumerate(passes):
            rate = learning_rate(config.optimizer, updates + iteration, self._total_updates)
            set_learning_rate(self._optimizer, rate)
            for number, packed in enumerate(batches):
                with tally.phase("seconds/score"):
                    anchored = self._with_reference(packed)
                with tally.phase("seconds/backward"):
                    scores = self._backward(anchored, count, number == len(batches) - 1, tally)
                other = passes[1][number].tokens.old if compares_masks and iteration == 0 else None
                if other is not None:
                    tally.add(_VARIANCE, (packed.tokens.estimates(scores) - other).square().sum() / 2.0)
            with tally.phase("seconds/optimizer"):
                norms += self._step()
                self._sync_reference(updates + iteration + 1)
        sums = tally.reduce()
        valid_tokens = float(sum(sample.valid_tokens for sample in samples))
        metrics = {name: sums[name] / (count * iterations) for name in names}
        if sums[_ROWS]:
            metrics[_ENTROPY] = sums[_ENTROPY] / sums[_ROWS]
        if compares_masks:
            metrics[_VARIANCE] = sums[_VARIANCE] / valid_tokens
        if config.off_policy_cap is not None:
            metrics[_IMPORTANCE] = sums[_IMPORTANCE] / valid_tokens
        return {
            **metrics,
            **tally.seconds,
            "optim/grad_norm": norms / iterations,
            "optim/learning_rate": rate,
            "policy/valid_tokens": valid_tokens,
        }

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Names and full fp32 weights of the model, each valid until the next; a collective call under ZeRO-3."""
        model = self._policy.model
        if self._config.lora is not None:
            return lora.merged_parameters(model)
        return full_parameters(model.named_parameters(), self._config.zero_stage, self._config.bucket_mb << 20)

    def save(self, folder: Path) -> None:
        """Write this rank's part of a checkpoint; every rank must call it."""
        self._engine.save_checkpoint(
            str(folder), tag="engine", exclude_frozen_parameters=self._config.lora is not None
        )
        if self._reference is not None:
            self._reference.save(folder)

    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote. Raises :class:`CheckpointError`."""
        if not (folder / "engine").is_dir():  # DeepSpeed would fail on an assertion without a message
            raise CheckpointError(f"{folder}: not a usable checkpoint: it holds no engine state")
        self._engine.load_checkpoint(str(folder), tag="engine", load_module_strict=self._config.lora is None)
        if self._reference is not None:
            self._reference.load(folder)

    def _pack(self, batch: MicroBatch, iteration: int) -> PackedViews:
        views = [self._estimator.views(piece.sample.key(self._seed, iteration), piece.sample) for piece in batch]
        return pack_views(batch, views, self.model_config.mask_token_id, self._device)

    @torch.no_grad()
    def _estimates(self, policy: Policy, packed: PackedViews) -> Tensor:
        return packed.tokens.estimates(policy(packed))

    def _at_entry(self, passes: list[list[PackedViews]]) -> list[list[PackedViews]]:
        """Add what the weights at entry say: old likelihoods, each under the masks of the iteration that uses
        them, and the weights against staleness. The first iteration's old likelihoods are its new ones."""
        cap = self._config.off_policy_cap
        weights: list[Tensor | None] = [None] * len(passes[0])
        if cap is not None:
            weights = [importance(p.tokens, self._estimates(self._policy, p), cap) for p in passes[0]]
        found: list[list[PackedViews]] = []
        for iteration, batches in enumerate(passes):
            found.append([])
            for packed, weight in zip(batches, weights, strict=True):
                scores_old = iteration > 0 and self._objective.needs_old
                old = self._estimates(self._policy, packed) if scores_old else None
                found[-1].append(packed.beside(old=old, importance=weight))
        return found

    def _with_reference(self, packed: PackedViews) -> PackedViews:
        if self._reference is None:
            return packed
        return packed.beside(reference=self._estimates(self._reference.policy, packed))

    def _backward(self, packed: PackedViews, count: float, last: bool, tally: Tally) -> Tensor:
        """Add the gradients of a micro-batch; the log-probabilities [m] that it found."""

        def loss_of(tokens: ScoredTokens, scores: Tensor) -> Tensor:
            sums = self._objective.sums(tokens, scores)
            tally.add("policy/loss", sums.loss.detach())
            for name, value in sums.metrics.items():
                tally.add(name, value)
            return sums.loss

        if self._objective.by_token:
            loss, scores, entropies = self._engine(packed, loss_of)
            tally.add(_ENTROPY, entropies.sum())
            tally.add(_ROWS, entropies.numel())
        else:
            scores = self._engine(packed)
            # An idle rank scores nothing, and still takes part in the backward pass.
            loss = loss_of(packed.tokens, scores) if scores.numel() else scores.sum()
        # DeepSpeed averages gradients over ranks; the division here is already global.
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss * (self._world / count))
        found: Tensor = scores.detach()
        return found

    def _step(self) -> float:
        """Take the optimizer step; the norm of the gradient before it was clipped."""
        if self._config.zero_stage:
            self._engine.step()
            return float(self._engine.get_global_grad_norm() or 0.0)
        gradients = [p.grad for p in self._policy.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        self._engine.step()
        return norm

    def _sync_reference(self, update: int) -> None:
        interval = self._config.reference_sync_steps
        if self._reference is not None and interval and update % interval == 0:
            self._reference.follow(self._policy, self._config.reference_sync_share)


def _deepspeed_settings(config: LearnerConfig) -> dict[str, object]:
    zero: dict[str, object] = {"stage": config.zero_stage}
    if config.zero_offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.zero_offload == "all":
        zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,  # counts calls of the engine; we set the boundary ourselves
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optimizer.max_grad_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }
