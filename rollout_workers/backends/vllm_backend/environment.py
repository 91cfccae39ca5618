"""Variables that vLLM and OpenMP read when they are imported, set before that."""

from __future__ import annotations

import os

_SETTINGS = {
    # Nothing about a run leaves the machine.
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # Ray and `model.threads` decide about cores; vLLM would take them from its peers on the same machine.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # A forked process would share the parent's threads and CUDA state.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Messages are small; a queue takes ten times this much shared memory, of which containers have little.
    "VLLM_MQ_MAX_CHUNK_BYTES_MB": "1",
    # Its key has the path of the model, which here is another one at every start.
    "VLLM_DISABLE_COMPILE_CACHE": "1",
    # Attention in fp32 is Triton's on a GPU, which would round its operands to TF32.
    "TRITON_F32_DEFAULT": "ieee",
}


def prepare(threads: int) -> None:
    """Set what is not set yet; ``threads`` is the number for each of vLLM's processes."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # Ray sets 1 for actors that were given no cores; the processes inherit what stands here.
    os.environ["OMP_NUM_THREADS"] = str(threads)
