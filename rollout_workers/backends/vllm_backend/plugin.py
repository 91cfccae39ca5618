"""What vLLM loads into each of its processes, through the entry point ``vllm.general_plugins``."""

from __future__ import annotations

from rollout_workers.backends.vllm_backend.started_process import settle_in

#: The architectures by the layout of a family (:mod:`common.models.families`).
ARCHITECTURES = {"qwen2": "CoupletQwen2ForMaskedDiffusion", "llama": "CoupletLlamaForMaskedDiffusion"}

#: The name under which vLLM finds our way of transferring weights.
WEIGHT_TRANSFER = "couplet"

_ROOM = "rollout_workers.backends.vllm_backend"


def register() -> None:
    """Register our architectures and our weight transfer, and let a process that we have started settle in.

    Imports no more of vLLM than it needs, not even :mod:`.names`: every vLLM of this environment calls it.
    """
    settle_in()
    from vllm import ModelRegistry
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    known = ModelRegistry.get_supported_archs()
    for layout, architecture in ARCHITECTURES.items():
        if architecture not in known:
            ModelRegistry.register_model(architecture, f"{_ROOM}.models:{layout.capitalize()}ForMaskedDiffusion")
    if WEIGHT_TRANSFER not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(WEIGHT_TRANSFER, f"{_ROOM}.transfer", "CoupletWeightTransfer")
