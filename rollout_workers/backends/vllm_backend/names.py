"""Every name of vLLM that is used, imported in one place: most are internal, and a new version may move them.

Written for vLLM 0.32. ``tests/rollout_workers/test_vllm_names.py`` says which of them a version has moved, and
what is expected of each. Importing this module imports vLLM, which takes seconds: only what runs it does so.
"""

from __future__ import annotations

from vllm import LLMEngine, ModelRegistry, SamplingParams
from vllm.config import VllmConfig, get_layers_from_vllm_config
from vllm.config.weight_transfer import WeightTransferConfig
from vllm.distributed.device_communicators.shm_broadcast import ShmRingBuffer
from vllm.distributed.parallel_state import get_tp_group
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.engine.arg_utils import EngineArgs
from vllm.forward_context import set_forward_context
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.model_executor.models.llama import LlamaForCausalLM
from vllm.model_executor.models.qwen2 import Qwen2ForCausalLM
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind
from vllm.v1.attention.backend import CommonAttentionMetadata
from vllm.v1.executor import multiproc_executor
from vllm.v1.executor.multiproc_executor import MultiprocExecutor
from vllm.v1.kv_cache_interface import EncoderOnlyAttentionSpec

__all__ = [
    "Attention",
    "CommonAttentionMetadata",
    "EncoderOnlyAttentionSpec",
    "EngineArgs",
    "LLMEngine",
    "LlamaForCausalLM",
    "ModelRegistry",
    "MultiprocExecutor",
    "Qwen2ForCausalLM",
    "RequestOutputKind",
    "SamplingParams",
    "ShmRingBuffer",
    "VllmConfig",
    "WeightTransferConfig",
    "WeightTransferEngine",
    "WeightTransferEngineFactory",
    "WeightTransferInitInfo",
    "WeightTransferUpdateInfo",
    "current_platform",
    "finalize_layerwise_reload",
    "get_layers_from_vllm_config",
    "get_tp_group",
    "initialize_layerwise_reload",
    "multiproc_executor",
    "set_forward_context",
]
