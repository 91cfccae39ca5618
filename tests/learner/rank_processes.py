"""Processes that are ranks of one group: gloo on the loopback interface."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch

from tests.forkserver import forkserver

_TIMEOUT = timedelta(seconds=120)
_READINGS = 4


def join_deepspeed() -> None:
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("gloo", timeout=_TIMEOUT, verbose=False)


def join_torch() -> None:
    torch.distributed.init_process_group("gloo", timeout=_TIMEOUT)


def run_ranks(
    world: int,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    deadline: float,
    join: Callable[[], None] = join_deepspeed,
) -> None:
    """Have ``work(rank, *arguments)`` done in ``world`` processes that have joined each other, by ``join``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = forkserver()
    processes = [
        context.Process(target=_rank_main, args=(rank, world, port, join, work, arguments), daemon=True)
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    end = time.monotonic() + deadline
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * world, f"ranks ended with {codes} (None: missed the deadline)"


def held_for_good(read: Callable[[], int]) -> int:
    """Return the least of a few readings of the bytes that a rank holds: gloo lets go of buffers late."""
    found = []
    for _ in range(_READINGS):
        found.append(read())
        time.sleep(0.02)
    return min(found)


def _rank_main(
    rank: int,
    world: int,
    port: int,
    join: Callable[[], None],
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_RANK": "0",
    }
    torch.set_num_threads(1)
    join()
    work(rank, *arguments)
    # A rank that leaves first takes connections away that another may still be closing: gloo then aborts that one.
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
