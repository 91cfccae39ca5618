"""One DeepSpeed rank: scores, updates, and holds the reference policy."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import deepspeed
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.config import LearnerConfig
from common.models.config import ModelConfig
from learner.batch import PackedViews, TrainingSample, pack_views
from learner.checkpoints import CheckpointError
from learner.estimator import Estimator, SampleKey
from learner.objective import grpo_loss
from learner.optimizer import learning_rate, make_optimizer, set_learning_rate
from learner.policy import Policy

_REFERENCE_FILE = "reference.safetensors"


class Engine:
    """The policy under DeepSpeed on this rank.

    Every rank is given the same samples and works on its share. The loss is divided by the count of valid
    tokens over all ranks and micro-batches, so the gradient does not depend on how the batch is split.
    """

    def __init__(
        self, policy: Policy, estimator: Estimator, config: LearnerConfig, seed: int, total_updates: int
    ) -> None:
        self._config = config
        self._estimator = estimator
        self._seed = seed
        self._total_updates = total_updates
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._reference = copy.deepcopy(policy).eval().requires_grad_(False) if config.kl_weight else None
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
        """Run the inner iterations on ``samples``; ``updates`` is the count of optimizer steps so far.

        Old log-likelihoods are those of the weights at entry, under the masks of the iteration that uses them.
        """
        batches = self._micro_batches(samples)
        valid_tokens = sum(sample.valid_tokens for sample in samples)
        iterations = range(self._config.inner_iterations)
        old: dict[int, list[Tensor]] = {
            i: [self._score(self._policy, self._pack(batch, i)) for batch in batches] for i in iterations[1:]
        }
        totals = torch.zeros(5, dtype=torch.float64)
        for iteration in iterations:
            update = updates + iteration
            rate = learning_rate(self._config.optimizer, update, self._total_updates)
            set_learning_rate(self._optimizer, rate)
            for number, batch in enumerate(batches):
                totals[:4] += self._backward(
                    batch,
                    iteration,
                    old[iteration][number] if iteration else None,
                    valid_tokens,
                    last=number == len(batches) - 1,
                )
            totals[4] += self._gradient_norm()
            self._engine.step()
            self._sync_reference(update + 1)
        sums = totals[:4].to(self._device)  # NCCL reduces only what lies on the GPU
        dist.all_reduce(sums)
        loss, kl, ratio, clipped = (sums / (valid_tokens * len(iterations))).tolist()
        return {
            "policy/loss": loss,
            "policy/kl": kl,
            "policy/ratio_mean": ratio,
            "policy/clip_fraction": clipped,
            "optim/grad_norm": totals[4].item() / len(iterations),
            "optim/learning_rate": rate,
            "policy/valid_tokens": float(valid_tokens),
        }

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Names and full fp32 weights; a collective call under ZeRO-3."""
        partitioned = self._config.zero_stage == 3
        with self._gathered():
            for name, parameter in self._policy.model.named_parameters():
                # Gathered weights are freed when this ends, which is before a caller flushes its last bucket.
                yield name, parameter.detach().clone() if partitioned else parameter

    def save(self, folder: Path) -> None:
        """Write this rank's part of a checkpoint; every rank must call it."""
        self._engine.save_checkpoint(str(folder), tag="engine")
        if self._reference is not None and self._rank == 0:
            state = {name: p.contiguous() for name, p in self._reference.model.named_parameters()}
            save_file(state, folder / _REFERENCE_FILE)

    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote. Raises :class:`CheckpointError`."""
        if not (folder / "engine").is_dir():  # DeepSpeed would fail on an assertion without a message
            raise CheckpointError(f"{folder}: not a usable checkpoint: it holds no engine state")
        self._engine.load_checkpoint(str(folder), tag="engine")
        if self._reference is not None:
            state = load_file(folder / _REFERENCE_FILE)
            for name, parameter in self._reference.model.named_parameters():
                parameter.copy_(state[name])

    def _micro_batches(self, samples: Sequence[TrainingSample]) -> list[list[TrainingSample]]:
        """This rank's share in micro-batches, as many on every rank: backward passes are collective.

        A short share is filled with samples that have no valid token and so add nothing.
        """
        share = -(-len(samples) // self._world)
        local = list(samples[self._rank :: self._world])
        local += [replace(samples[0], valid_tokens=0)] * (share - len(local))
        size = self._config.micro_batch
        return [local[start : start + size] for start in range(0, share, size)]

    def _pack(self, batch: Sequence[TrainingSample], iteration: int) -> PackedViews:
        views = [
            self._estimator.views(
                SampleKey(self._seed, sample.group, sample.sample, iteration), len(sample.completion_ids)
            )
            for sample in batch
        ]
        return pack_views(batch, views, self.model_config.mask_token_id, self._device)

    @torch.no_grad()
    def _score(self, policy: Policy, packed: PackedViews) -> Tensor:
        estimates: Tensor = policy(packed)
        return estimates

    def _backward(
        self,
        batch: Sequence[TrainingSample],
        iteration: int,
        old: Tensor | None,
        valid_tokens: int,
        last: bool,
    ) -> Tensor:
        packed = self._pack(batch, iteration)
        new: Tensor = self._engine(packed)
        lengths = torch.tensor([sample.valid_tokens for sample in batch], device=self._device)
        sums = grpo_loss(
            new=new,
            old=new.detach() if old is None else old,
            reference=self._score(self._reference, packed) if self._reference is not None else None,
            advantages=torch.tensor([sample.advantage for sample in batch], device=self._device),
            valid=torch.arange(new.shape[1], device=self._device) < lengths.unsqueeze(1),
            clip=self._config.clip,
            kl_weight=self._config.kl_weight,
        )
        # DeepSpeed averages gradients over ranks; the division here is already global.
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(sums.loss * (self._world / valid_tokens))
        return torch.stack([sums.loss.detach(), sums.kl, sums.ratio, sums.clipped]).double().cpu()

    def _gradient_norm(self) -> float:
        """Norm before clipping. ZeRO knows it only after the step, so there it is the previous step's."""
        if self._config.zero_stage:
            return float(self._engine.get_global_grad_norm() or 0.0)
        gradients = [p.grad for p in self._policy.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))

    @torch.no_grad()
    def _sync_reference(self, update: int) -> None:
        if self._reference is None or update % self._config.reference_sync_steps:
            return
        with self._gathered():
            for mine, theirs in zip(self._reference.parameters(), self._policy.parameters(), strict=True):
                mine.lerp_(theirs, self._config.reference_sync_share)

    def _gathered(self) -> AbstractContextManager[object]:
        if self._config.zero_stage < 3:
            return nullcontext()
        context: AbstractContextManager[object] = deepspeed.zero.GatheredParameters(
            list(self._policy.parameters())
        )
        return context


def _deepspeed_settings(config: LearnerConfig) -> dict[str, object]:
    return {
        "train_micro_batch_size_per_gpu": 1,  # counts calls of the engine; we set the boundary ourselves
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optimizer.max_grad_norm,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31,
    }
