"""The reference policy: a frozen copy, moved towards the policy at fixed intervals."""

from __future__ import annotations

import copy
from pathlib import Path

import deepspeed
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from learner.policy import Policy


class Reference:
    """A copy of ``policy``, made before DeepSpeed takes that over. Weights that are not trained are shared.

    Under ZeRO-3 the copy is partitioned like the policy. Otherwise its matrices are held in the compute type.
    """

    def __init__(self, policy: Policy, zero_stage: int, rank: int) -> None:
        shared = {id(p): p for p in policy.parameters() if not p.requires_grad}
        self._owned = [name for name, p in policy.named_parameters() if p.requires_grad]
        self.policy = copy.deepcopy(policy, memo=dict(shared)).eval().requires_grad_(False)
        self._partitioned = zero_stage == 3
        self._holds = not shared and not self._partitioned
        self._rank = rank
        if self._partitioned:
            # Small parameters would stay whole, and would not see what changes in the parts.
            zero = {"stage": 3, "stage3_param_persistence_threshold": 0}
            settings = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": zero}
            deepspeed.initialize(model=self.policy, config=settings, dist_init_required=False)
        self._hold()

    @torch.no_grad()
    def move_towards(self, policy: Policy, share: float) -> None:
        """Move ``share`` of the way to ``policy``'s weights."""
        theirs = dict(policy.named_parameters())
        for name, mine in self._parts(self.policy).items():
            mine.lerp_(self._part(theirs[name]).to(mine.dtype), share)
        self._hold()

    def save(self, folder: Path) -> None:
        """Write this rank's part; every rank must call it."""
        if self._partitioned or self._rank == 0:
            state = {name: part.contiguous() for name, part in self._parts(self.policy).items()}
            save_file(state, self._file(folder))

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote."""
        state = load_file(self._file(folder))
        for name, part in self._parts(self.policy).items():
            part.copy_(state[name])

    def _file(self, folder: Path) -> Path:
        return folder / (f"reference-{self._rank}.safetensors" if self._partitioned else "reference.safetensors")

    def _parts(self, policy: Policy) -> dict[str, Tensor]:
        parameters = dict(policy.named_parameters())
        return {name: self._part(parameters[name]) for name in self._owned}

    def _part(self, parameter: Tensor) -> Tensor:
        """Return what this rank holds of a parameter; ZeRO-3 partitions both policies in the same way."""
        return parameter.ds_tensor if self._partitioned else parameter  # type: ignore[attr-defined]

    def _hold(self) -> None:
        if self._holds:
            for _, module in self.policy.model.products():
                module.hold(self.policy.dtype)
