"""The process group of a learner's ranks."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist
from torch._C._distributed_c10d import HashStore, Store, TCPStore  # torch.distributed's, with their types


def open_store(timeout: timedelta) -> TCPStore:
    """Open the store at which all ranks meet, on a port that the system chooses and rank 0 keeps."""
    return TCPStore("0.0.0.0", 0, is_master=True, wait_for_workers=False, timeout=timeout)


def find_store(host: str, port: int, timeout: timedelta) -> TCPStore:
    """Connect to the store that rank 0 has opened."""
    return TCPStore(host, port, is_master=False, timeout=timeout)


def join(store: Callable[[], Store], rank: int, ranks: int, gpus: bool, timeout: timedelta) -> None:
    """Join the group of ``ranks`` processes, which meet at ``store``: by NCCL, or by gloo on CPUs.

    A process that is in a group already stays in that one.
    """
    if dist.is_initialized():
        return
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": "0"}
    backend = "nccl" if gpus else "gloo"
    dist.init_process_group(backend, store=store(), rank=rank, world_size=ranks, timeout=timeout)
    import deepspeed

    # On CPUs DeepSpeed would compile a shared-memory collective at start, which needs a compiler and a minute.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(backend, timeout=timeout, verbose=False, auto_mpi_discovery=False)


def join_alone(timeout: timedelta) -> None:
    """Make this process the only member of a group on CPUs, unless it is in a group already."""
    join(HashStore, rank=0, ranks=1, gpus=False, timeout=timeout)
