"""The process group of a learner's ranks."""

from __future__ import annotations

import os
import socket
from datetime import timedelta

import torch.distributed as dist


def join(host: str, port: int, rank: int, ranks: int, gpus: bool, timeout: timedelta) -> None:
    """Join the group of ``ranks`` processes, which meet at rank 0's address: by NCCL, or by gloo on CPUs."""
    os.environ |= {
        "MASTER_ADDR": host,
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_RANK": "0",
    }
    import deepspeed

    # On CPUs DeepSpeed would compile a shared-memory collective at start, which needs a compiler and a minute.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if gpus else "gloo", timeout=timeout, verbose=False)


def join_alone(timeout: timedelta) -> None:
    """Make this process the only member of a group on CPUs, unless it is in a group already."""
    if dist.is_initialized():
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    join("127.0.0.1", port, rank=0, ranks=1, gpus=False, timeout=timeout)
