"""The inference backends that a recipe can name."""

from __future__ import annotations

from common.config import Config, VllmBackendConfig
from common.sampler import DECODERS
from rollout_workers.backends.interface import Backend
from rollout_workers.backends.torch_backend import TorchBackend
from rollout_workers.backends.vllm_backend.installation import INSTALL, VllmUnusableError, find_installation
from rollout_workers.decoders import find_confidence


def build_backend(config: Config) -> Backend:
    """Load the model of ``config`` into the backend that it names.

    Raises ModelError, VllmError, or VllmUnusableError, and PluginError for a decoder that cannot be loaded: here
    rather than at the first batch.
    """
    if config.rollout.decoder not in DECODERS:
        find_confidence(config.rollout.decoder)
    if isinstance(config.rollout.backend, VllmBackendConfig):
        if find_installation() is None:
            raise VllmUnusableError("vllm is not installed", INSTALL)
        # Importing vLLM takes seconds, and not everybody has it.
        from rollout_workers.backends.vllm_backend.backend import VllmBackend

        return VllmBackend(config)
    return TorchBackend.build(config)
