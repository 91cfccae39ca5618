"""Where a process that holds weights runs."""

from __future__ import annotations

from dataclasses import dataclass

import ray


@dataclass(frozen=True)
class Location:
    """Where a process runs: Ray's id of the machine, its address, and the id of the process's GPU (or nothing)."""

    node: str
    host: str
    gpu: str

    @classmethod
    def here(cls, gpu: str | None = None) -> Location:
        """Return the location of the calling actor's process, or of one on ``gpu`` that it has started."""
        host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        return cls(ray.get_runtime_context().get_node_id(), host, own_gpu() if gpu is None else gpu)


def own_gpu() -> str:
    """Return the id of the GPU that this process computes on; empty without one."""
    import torch  # takes seconds; a process that only reads locations does without

    if not torch.cuda.is_available():
        return ""
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
