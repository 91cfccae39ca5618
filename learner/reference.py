"""The reference policy: a frozen copy, moved towards the policy at fixed intervals."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from common.config import LearnerConfig
from common.models.shapes import part_size
from learner.deepspeed_settings import PERSISTENT_ELEMENTS
from learner.policy import Policy


class Reference:
    """A copy of ``policy``, made before DeepSpeed takes that over. Weights that are not trained are shared.

    Under ZeRO each rank holds a part of every large weight, whatever the stage, and those of a module are whole
    only while it computes: every rank must make the same passes. Small ones, those that ZeRO-3 leaves whole, are
    whole here too: to gather them takes longer than to compute with them. Each weight is held in the type in which
    a pass reads it (bf16 for a policy that computes in bf16). Where the reference is mixed with the policy, it
    adds up in fp32, in the memory of the CPU, and the weights are that sum, rounded once: in bf16 small steps
    would be lost.
    """

    def __init__(self, policy: Policy, config: LearnerConfig) -> None:
        self._ranks, self._rank = (dist.get_world_size(), dist.get_rank()) if config.zero_stage else (1, 0)
        self._mixes = config.reference_sync_steps > 0 and 0.0 < config.reference_sync_share < 1.0
        offloaded = config.zero_offload == "all"
        types = policy.read_types()
        trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        shared = {id(p): p for p in policy.parameters() if not p.requires_grad}
        own = {name: nn.Parameter(p.new_empty(0, dtype=types[name]), False) for name, p in trained.items()}
        memo: dict[int, Any] = {**shared, **{id(p): own[name] for name, p in trained.items()}}
        self.policy = copy.deepcopy(policy, memo=memo).eval().requires_grad_(False)
        self._shapes = {name: p.shape for name, p in trained.items()}
        self._held: dict[str, Tensor] = {}
        self._exact: dict[str, Tensor] = {}
        for name, parameter in trained.items():
            part = self._part(parameter.detach())
            self._held[name] = part.to("cpu" if offloaded else part.device, types[name], copy=True)
            if self._mixes and types[name] != torch.float32:
                self._exact[name] = part.to("cpu", torch.float32, copy=True)
        scattered: dict[str, nn.Parameter] = {}
        for name, parameter in own.items():
            if offloaded or self._parts(self._shapes[name].numel()) > 1:
                scattered[name] = parameter
            else:
                parameter.data = self._held[name].view(self._shapes[name])
        self._gather_in_passes(scattered, next(policy.parameters()).device)

    @torch.no_grad()
    def move_towards(self, weights: Iterable[tuple[str, Tensor]], share: float) -> None:
        """Move ``share`` of the way to ``weights``: those of the policy that are trained, whole and in fp32.

        Each is valid until the next.
        """
        for name, whole in weights:
            held = self._held[name]
            exact = self._exact.get(name, held)
            theirs = self._part(whole).to(exact.device, exact.dtype)
            exact.lerp_(theirs, share)
            if exact is not held:
                held.copy_(exact)

    def save(self, folder: Path) -> None:
        """Write this rank's part; every rank must call it."""
        if self._ranks > 1 or dist.get_rank() == 0:
            save_file(self._state(), self._file(folder))

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Restore what :meth:`save` wrote."""
        saved = load_file(self._file(folder))
        for name, part in self._state().items():
            part.copy_(saved[name])
            self._held[name].copy_(part)

    def _state(self) -> Mapping[str, Tensor]:
        return self._held | self._exact

    def _file(self, folder: Path) -> Path:
        return folder / ("reference.safetensors" if self._ranks == 1 else f"reference-{self._rank}.safetensors")

    def _parts(self, elements: int) -> int:
        """Return into how many parts a weight of so many elements is cut."""
        return self._ranks if elements > PERSISTENT_ELEMENTS else 1

    def _part(self, whole: Tensor) -> Tensor:
        """Return what this rank holds of a weight, flat: all parts are of one size, the last ones padded."""
        parts = self._parts(whole.numel())
        size = part_size(whole.numel(), parts)
        first = self._rank * size if parts > 1 else 0
        part = whole.flatten()[first : first + size]
        return nn.functional.pad(part, (0, size - len(part)))

    def _gather_in_passes(self, own: Mapping[str, nn.Parameter], device: torch.device) -> None:
        names = {id(parameter): name for name, parameter in own.items()}

        def gather(module: nn.Module, _: Any) -> None:
            for parameter in module.parameters(recurse=False):
                if id(parameter) in names:
                    parameter.data = self._whole(names[id(parameter)], device)

        def release(module: nn.Module, *_: Any) -> None:
            for parameter in module.parameters(recurse=False):
                if id(parameter) in names:
                    parameter.data = parameter.new_empty(0)

        for module in self.policy.modules():
            if any(id(parameter) in names for parameter in module.parameters(recurse=False)):
                module.register_forward_pre_hook(gather)
                module.register_forward_hook(release)

    def _whole(self, name: str, device: torch.device) -> Tensor:
        part, shape = self._held[name].to(device), self._shapes[name]
        whole, parts = part, self._parts(shape.numel())
        if parts > 1:
            whole = part.new_empty(parts * len(part))
            # As bytes: not every backend knows bf16.
            dist.all_gather_into_tensor(whole.view(torch.uint8), part.view(torch.uint8))
        return whole[: shape.numel()].view(shape)
