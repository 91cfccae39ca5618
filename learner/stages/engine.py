"""One DeepSpeed rank of a supervised stage: it trains a model to denoise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from common.config import StageConfig
from common.flops import Dtype, model_flop_utilization, peak_tflops, training_flops
from common.models import runtime
from common.models.config import ModelConfig
from common.models.loading import load_model
from learner.collectives import MetricAccumulator
from learner.deepspeed_policy import DeepSpeedPolicy
from learner.member import Member
from learner.optimizer import learning_rate
from learner.policy import Policy
from learner.stages.annealing import visible_pairs, visible_share
from learner.stages.batch import EIGHTHS, TENTHS, NoisedRows, micro_batches, pack
from learner.stages.noise import conditional_share, held_out_noised, noised
from learner.stages.segments import Segment
from learner.traffic import pass_tokens

_LOSS = "denoising/loss"
_BY_RATIO = [f"denoising/loss_at_t/{tenth}" for tenth in range(TENTHS)]
_BY_POSITION = [f"denoising/loss_at_position/{eighth}" for eighth in range(EIGHTHS)]
_FORWARD_BACKWARD, _OPTIMIZER = "seconds/forward_backward", "seconds/optimizer"


class StageEngine:
    """The model under DeepSpeed on this rank.

    Every rank is given the same segments and works on its share. The loss of a step is divided by a count over all
    ranks and micro-batches, so the gradient does not depend on how segments are split or packed.
    """

    def __init__(self, policy: Policy, config: StageConfig, total_steps: int) -> None:
        self._config = config
        self._total_steps = total_steps
        self._rank, self._world = dist.get_rank(), dist.get_world_size()
        self._policy = DeepSpeedPolicy(policy, config.learner)
        self._device = self._policy.device
        self._peak = config.learner.peak_tflops or _device_peak(self._device, config.model.dtype)

    @property
    def model_config(self) -> ModelConfig:
        """The configuration of the model that is trained."""
        return self._policy.policy.model.config

    def train(self, segments: Sequence[Segment], step: int, epochs: float) -> dict[str, float]:
        """Take optimizer step ``step`` (0-based) on ``segments``; return its metrics, the same on every rank.

        ``epochs`` are the passes over the data before it. The loss is the sum over masked targets of their
        weighted cross-entropy, divided by the number of targets or of masked ones (``objective.normalization``),
        whatever each weighs. Losses by ratio and by position are means of the cross-entropy itself, over masked
        targets that weigh anything. Seconds, and what is measured by them, are those of this rank.
        """
        settings, seed = self._config.objective, self._config.run.seed
        share = conditional_share(settings, epochs)
        drawn = [noised(segment, settings, seed, share, self.model_config.shift) for segment in segments]
        targets = sum(int(segment.targets.sum()) for segment in drawn)
        masked = sum(segment.masked_targets for segment in drawn)
        count = max(1, targets if settings.normalization == "tokens" else masked)
        seen = visible_share(settings.annealing_steps, step)
        rate = learning_rate(self._config.learner.optimizer, step, self._total_steps)
        sums = MetricAccumulator([_LOSS, *_BY_RATIO, *_BY_POSITION], self._device)
        sums.add(_LOSS, 0.0, count / self._world)
        with sums.phase(_FORWARD_BACKWARD):
            visible = self._visible(seen, step)
            batches = micro_batches(drawn, self._world, self._rank, pass_tokens(self._config.learner))
            for number, batch in enumerate(batches):
                packed = pack(batch, self.model_config.mask_token_id, self._device)
                self._backward(packed, visible, count, number == len(batches) - 1, sums)
        with sums.phase(_OPTIMIZER):
            norm = self._policy.step(rate)
        seconds = sums.seconds[_FORWARD_BACKWARD] + sums.seconds[_OPTIMIZER]
        metrics = {
            **sums.means(),
            **sums.seconds,
            "denoising/masked_share": masked / max(1, targets),
            "optim/grad_norm": norm,
            "optim/learning_rate": rate,
            "data/targets": float(masked),
            "perf/tokens_per_second": sum(map(len, drawn)) / seconds,
        }
        if self._peak is not None:
            flops = training_flops(self.model_config, list(map(len, drawn)), masked)
            metrics["perf/mfu"] = model_flop_utilization(flops, seconds, self._peak * self._world)
        return metrics | ({"denoising/visible_share": seen} if self._config.stage == "adapt" else {})

    @torch.no_grad()
    def evaluate(self, segments: Sequence[Segment]) -> dict[str, float]:
        """Compute the mean cross-entropy of masked tokens, in nats, at each of ``evaluation.ratios``.

        It is not weighed by 1/t, attention is full at every step of a run, and masks are the same every time, so
        evaluations of a run, and of runs on the same held-out data, compare. A collective call. Of no segments it
        returns nothing.
        """
        found: dict[str, float] = {}
        if not segments:
            return found
        keys = {f"held_out/loss_at_t/{ratio:g}": ratio for ratio in self._config.evaluation.ratios}
        sums = MetricAccumulator(list(keys), self._device)
        for key, ratio in keys.items():
            drawn = [
                held_out_noised(segment, ratio, self._config.run.seed, self.model_config.shift)
                for segment in segments
            ]
            for batch in micro_batches(drawn, self._world, self._rank, pass_tokens(self._config.learner)):
                packed = pack(batch, self.model_config.mask_token_id, self._device)
                log_probs = self._policy.policy(Policy.log_probs, packed)
                sums.add(key, -log_probs.double().sum(), log_probs.numel())
        found = sums.means()
        return {"held_out/loss": sum(found.values()) / len(found), **found} if found else found

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and full weights, as :meth:`DeepSpeedPolicy.parameters` does."""
        return self._policy.parameters()

    def not_finite(self) -> str | None:
        """Return the name of a weight that is not finite, as :meth:`DeepSpeedPolicy.not_finite` does."""
        return self._policy.not_finite()

    def save(self, folder: Path) -> None:
        """Write this rank's part of a checkpoint; every rank must call it."""
        self._policy.save(folder)

    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote. Raises :class:`CheckpointError`."""
        self._policy.load(folder)

    def _visible(self, share: float, step: int) -> Tensor | None:
        """Return which positions see which at a step, [C, C] for sequences of up to C tokens; None for all."""
        if share >= 1.0:
            return None
        length = self._config.data.context_length
        return torch.from_numpy(visible_pairs(share, length, self._config.run.seed, step)).to(self._device)

    def _backward(
        self, packed: NoisedRows, visible: Tensor | None, count: int, last: bool, sums: MetricAccumulator
    ) -> None:
        """Add the gradients and the losses of a micro-batch."""

        def loss_of(rows: slice, log_probs: Tensor) -> Tensor:
            return -(packed.weights[rows] * log_probs).sum()

        loss, log_probs, _ = self._policy(Policy.loss, packed, loss_of, visible)
        self._policy.backward(loss * (self._world / count), last)
        sums.add(_LOSS, loss.detach(), 0.0)
        for names, part in ((_BY_RATIO, packed.tenth), (_BY_POSITION, packed.eighth)):
            totals = torch.zeros(2, len(names), dtype=torch.float64, device=self._device)
            totals.index_add_(1, part, torch.stack([-log_probs, torch.ones_like(log_probs)]).double())
            for name, total, units in zip(names, *totals, strict=True):
                sums.add(name, total, units)


def load_engine(model: str, config: StageConfig, member: Member) -> StageEngine:
    """Load the starting model, by its folder or name, on a rank that has joined the others; a collective call.

    Raises ModelError, and DivergedError where its weights are not finite.
    """
    policy = member.policy(load_model(model, runtime.configure(config.model)))
    return StageEngine(policy, config, config.run.total_steps)


def _device_peak(device: torch.device, dtype: Dtype) -> float | None:
    """Return the peak of a device in TFLOP/s; None for a CPU, and for a GPU that is not known."""
    return peak_tflops(torch.cuda.get_device_name(device), dtype) if device.type == "cuda" else None
