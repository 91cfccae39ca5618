"""The inference backends that a recipe can name."""

from __future__ import annotations

from collections.abc import Callable

from common.config import Config, VllmBackendConfig
from common.sampler import DECODERS
from rollout_workers.backends.interface import Backend
from rollout_workers.backends.torch_backend import TorchBackend
from rollout_workers.backends.vllm_backend import environment
from rollout_workers.backends.vllm_backend.installation import INSTALL, VllmUnusableError, find_installation
from rollout_workers.decoders import find_confidence


def build_backend(config: Config, check: Callable[[], None] = lambda: None) -> Backend:
    """Load the model of ``config`` into the backend that it names.

    ``check`` is called while processes of another start, within ``deadlines.start_seconds``, and may raise.
    The caller prepares the backend (:meth:`Backend.prepare`), or goes without what is compiled.
    Raises ModelError, VllmError, or VllmUnusableError, and PluginError for a decoder that cannot be loaded: here
    rather than at the first batch.
    """
    if config.rollout.decoder not in DECODERS:
        find_confidence(config.rollout.decoder)
    backend = config.rollout.backend
    if isinstance(backend, VllmBackendConfig):
        if find_installation() is None:
            raise VllmUnusableError("vllm is not installed", INSTALL)
        environment.prepare(config.model.threads, backend.tensor_parallel_size)
        # Importing vLLM takes seconds, and not everybody has it.
        from rollout_workers.backends.vllm_backend.backend import VllmBackend

        return VllmBackend(config, check)
    return TorchBackend.build(config)
