"""Shared memory whose names are taken away once every process has it open.

With a name, the memory of a process that is killed would stay for ever, as Ray also kills what would tidy up.
"""

from __future__ import annotations

import gc
from pathlib import Path

from rollout_workers.backends.vllm_backend.names import ShmRingBuffer


def unlink_queues() -> None:
    """Unlink the message queues that this process has made. They must have been opened by all that use them."""
    for found in gc.get_objects():
        if type(found) is ShmRingBuffer and found.is_creator:
            found.shared_memory.unlink()
            found.is_creator = False  # else it would unlink it once more at its end


def unlink_shared_memory(address: str) -> None:
    """Unlink that through which processes that have met at ``address`` reduce tensors on a CPU."""
    for file in Path("/dev/shm").glob(f"{Path(address).name}-*"):
        file.unlink(missing_ok=True)
