"""Variables that vLLM and OpenMP read when they are imported, set before that."""

from __future__ import annotations

import logging
import os

from common.errors import UserError

#: A level of logging in this variable has vLLM and its processes write what they log to standard error.
LOG = "COUPLET_VLLM_LOG"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_SETTINGS = {
    # Nothing about a run leaves the machine.
    "VLLM_NO_USAGE_STATS": "1",
    # Standard output is the command's own.
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
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


def prepare(threads: int, processes: int) -> None:
    """Set what is not set yet, for ``processes`` with so many ``threads`` each; 0 shares out the cores.

    Raises UserError where ``COUPLET_VLLM_LOG`` is no level of logging.
    """
    level = shown_level()
    os.environ.setdefault("VLLM_LOGGING_LEVEL", level or "CRITICAL")  # errors are raised as well
    if level is None:  # torch warns of a missing Triton when vLLM is imported
        logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # Ray sets 1 for actors that were given no cores; the processes inherit what stands here.
    os.environ["OMP_NUM_THREADS"] = str(threads or max(1, len(os.sched_getaffinity(0)) // processes))


def shown_level() -> str | None:
    """Return the level from which on vLLM's log is shown; None where it is not. Raises UserError."""
    level = os.environ.get(LOG, "").upper()
    if level and level not in _LEVELS:
        raise UserError(f"${LOG}: {level!r} is no level of logging; set one of {', '.join(_LEVELS)}")
    return level or None
