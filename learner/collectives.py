"""What the ranks of the learner do together: share groups, gather weights, add up metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import deepspeed
import msgpack
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_fp32_param
from torch import Tensor, nn

from common.records import TrajectoryGroup
from learner.phase_clock import PhaseClock


def broadcast_groups(groups: Sequence[TrajectoryGroup] | None) -> Sequence[TrajectoryGroup] | None:
    """Return what rank 0 gives, groups or None, on every rank; a collective call."""
    if dist.get_world_size() == 1:
        return groups
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    leader = dist.get_rank() == 0
    payload = b""
    if leader:
        payload = msgpack.packb(None if groups is None else [group.encode() for group in groups])
    size = torch.tensor([len(payload)], device=device)
    dist.broadcast(size, src=0)
    buffer = torch.zeros(int(size), dtype=torch.uint8, device=device)
    if leader:
        buffer.copy_(torch.frombuffer(bytearray(payload), dtype=torch.uint8))
    dist.broadcast(buffer, src=0)
    if leader:
        return groups
    received = msgpack.unpackb(buffer.cpu().numpy().tobytes())
    return None if received is None else [TrajectoryGroup.decode(data) for data in received]


def full_parameters(
    named_parameters: Iterable[tuple[str, nn.Parameter]], zero_stage: int, bucket_bytes: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield names and whole parameters, in their order and type; each tensor is valid until the next.

    Under ZeRO stage 3 this is a collective call: every rank must run it to its end. It then gathers about
    ``bucket_bytes`` at a time (a larger parameter alone), so a rank never holds all weights.
    """
    if zero_stage < 3:
        for name, parameter in named_parameters:
            yield name, parameter.detach()
        return
    for bucket in _buckets(named_parameters, bucket_bytes):
        with deepspeed.zero.GatheredParameters([parameter for _, parameter in bucket]):
            for name, parameter in bucket:
                yield name, parameter.detach()


def master_parameters(
    named_parameters: Iterable[tuple[str, nn.Parameter]], zero_stage: int, bucket_bytes: int, master_shards: bool
) -> Iterator[tuple[str, Tensor]]:
    """Yield names and whole parameters in fp32, as the optimizer holds them; each tensor is valid until the next.

    Where it holds them in shards beside bf16 weights (``master_shards``), this is a collective call at every
    stage, which gathers one at a time; else it is :func:`full_parameters`.
    """
    if not master_shards:
        yield from full_parameters(named_parameters, zero_stage, bucket_bytes)
        return
    for name, parameter in named_parameters:
        yield name, safe_get_full_fp32_param(parameter)


def _buckets(named_parameters: Iterable[tuple[str, Any]], bucket_bytes: int) -> Iterator[list[tuple[str, Any]]]:
    bucket: list[tuple[str, Any]] = []
    filled = 0
    for name, parameter in named_parameters:
        size = parameter.ds_numel * parameter.element_size()  # numel() is of what this rank holds by itself
        if bucket and filled + size > bucket_bytes:
            yield bucket
            bucket, filled = [], 0
        bucket.append((name, parameter))
        filled += size
    if bucket:
        yield bucket


class MetricAccumulator:
    """Means under fixed names, over the units of all ranks, and seconds of phases of this rank."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self._names = {name: number for number, name in enumerate(names)}
        self._sums = torch.zeros(2, len(names), dtype=torch.float64, device=device)
        self._clock = PhaseClock(device)

    def add(self, name: str, total: Tensor | float, units: Tensor | float) -> None:
        """Add the sum ``total`` over so many units."""
        self._sums[0, self._names[name]] += total
        self._sums[1, self._names[name]] += units

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Add the seconds that the block takes, the work of the device included."""
        return self._clock.phase(name)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of every phase so far; waits for the device."""
        return self._clock.seconds()

    def means(self) -> dict[str, float]:
        """Return sums divided by units, both over all ranks, of the names that have any; a collective call."""
        dist.all_reduce(self._sums)
        totals, units = self._sums.tolist()
        return {name: totals[number] / units[number] for name, number in self._names.items() if units[number]}
