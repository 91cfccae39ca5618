"""A policy under DeepSpeed on this rank: backward passes, optimizer steps, whole weights, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import deepspeed
import torch
from torch import Tensor

from common.config import EngineConfig
from learner.checkpoints import CheckpointError
from learner.collectives import full_parameters, master_parameters
from learner.deepspeed_settings import deepspeed_settings
from learner.finite import first_not_finite
from learner.optimizer import make_optimizer, set_learning_rate
from learner.policy import Policy
from learner.preparation import merged_parameters
from learner.spared_compiler import spare_compiler

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class DeepSpeedPolicy:
    """The policy, its optimizer, and how ranks share them. Every rank makes the same calls in the same order."""

    def __init__(self, policy: Policy, config: EngineConfig) -> None:
        self.policy = policy
        self._config = config
        if not (config.compile or config.zero_stage == 3):  # ZeRO-3 excludes its hooks from compilation
            spare_compiler()
        trained = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
        self._engine, self._optimizer, *_ = deepspeed.initialize(
            model=policy,
            optimizer=make_optimizer(policy, config.optimizer),
            config=deepspeed_settings(config, trained),
            dist_init_required=False,
        )
        self.device = next(policy.parameters()).device

    def __call__(
        self,
        method: Callable[Concatenate[Policy, _Parameters], _Result],
        *args: _Parameters.args,
        **kwargs: _Parameters.kwargs,
    ) -> _Result:
        """Call ``method`` with the policy in a forward pass whose result is differentiated."""
        result: _Result = self._engine(method, *args, **kwargs)
        return result

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of a micro-batch; ``last`` says that an optimizer step follows.

        DeepSpeed averages gradients over ranks: a loss that is divided by a count over all ranks has to be
        multiplied by the number of ranks.
        """
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss)

    def step(self, rate: float) -> float:
        """Take the optimizer step at a learning rate; return the norm of the gradient before it was clipped."""
        set_learning_rate(self._optimizer, rate)
        if self._config.zero_stage:
            self._engine.step()
            return float(self._engine.get_global_grad_norm() or 0.0)
        gradients = [p.grad for p in self.policy.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        self._engine.step()
        return norm

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and full weights, those that the learner computes with: in ``weights_dtype``.

        Each is valid until the next. A collective call under ZeRO-3.
        """
        model = self.policy.model
        if self._config.lora is not None:
            return merged_parameters(model)
        return full_parameters(model.named_parameters(), self._config.zero_stage, self._config.bucket_mb << 20)

    def masters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and full fp32 weights of what is trained, as the optimizer holds them.

        Each is valid until the next. A collective call under ZeRO-3, and wherever weights are held in bf16.
        """
        trained = ((name, p) for name, p in self.policy.named_parameters() if p.requires_grad)
        shards = self._config.weights_dtype == "bfloat16"
        return master_parameters(trained, self._config.zero_stage, self._config.bucket_mb << 20, shards)

    def not_finite(self) -> str | None:
        """Return the name of a trained weight that has a value which is not finite, if there is one.

        A collective call.
        """
        trained = ((name, p) for name, p in self.policy.named_parameters() if p.requires_grad)
        # Under ZeRO-3 of each only this rank's part is there.
        return first_not_finite((name, getattr(p, "ds_tensor", p).detach()) for name, p in trained)

    def save(self, folder: Path) -> None:
        """Write this rank's part of a checkpoint; every rank must call it."""
        self._engine.save_checkpoint(
            str(folder), tag="engine", exclude_frozen_parameters=self._config.lora is not None
        )

    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote. Raises :class:`CheckpointError`."""
        if not (folder / "engine").is_dir():  # DeepSpeed would fail on an assertion without a message
            raise CheckpointError(f"{folder}: not a usable checkpoint: it holds no engine state")
        self._engine.load_checkpoint(str(folder), tag="engine", load_module_strict=self._config.lora is None)
