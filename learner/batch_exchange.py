"""Rank 0 shares the groups of a step with the other ranks."""

from __future__ import annotations

from collections.abc import Sequence

import msgpack
import torch
import torch.distributed as dist

from common.records import TrajectoryGroup


def broadcast_groups(groups: Sequence[TrajectoryGroup] | None) -> Sequence[TrajectoryGroup]:
    """Called by all ranks; ``groups`` is given on rank 0 alone, and every rank gets them."""
    if dist.get_world_size() == 1:
        assert groups is not None
        return groups
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    payload = b"" if groups is None else msgpack.packb([group.encode() for group in groups])
    size = torch.tensor([len(payload)], device=device)
    dist.broadcast(size, src=0)
    buffer = torch.zeros(int(size), dtype=torch.uint8, device=device)
    if groups is not None:
        buffer.copy_(torch.frombuffer(bytearray(payload), dtype=torch.uint8))
    dist.broadcast(buffer, src=0)
    if groups is not None:
        return groups
    return [TrajectoryGroup.decode(data) for data in msgpack.unpackb(buffer.cpu().numpy().tobytes())]
