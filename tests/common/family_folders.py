"""Folders as they are published: their config.json by family, and random weights under their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

Change = dict[str, Any]

LAYERS = 2
SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-3,
    "rope_theta": 777.0,
    "tie_word_embeddings": False,
}
IDS: dict[str, Any] = {"mask_token_id": 30, "eos_token_id": 3, "pad_token_id": 3}
DREAM: dict[str, Any] = {
    "architectures": ["DreamModel"],
    "model_type": "Dream",
    "auto_map": {"AutoModel": "modeling_dream.DreamModel"},
    "attention_dropout": 0.0,
    "bos_token_id": 3,
    "hidden_act": "silu",
    "max_window_layers": 28,
    "rope_scaling": None,
    "sliding_window": None,
    "use_mrope": False,
    "use_sliding_window": False,
    **SHAPE,
    **IDS,
}
LLADA: dict[str, Any] = {
    "architectures": ["LLaDAModelLM"],
    "model_type": "llada",
    "auto_map": {"AutoModel": "modeling_llada.LLaDAModelLM"},
    "activation_type": "silu",
    "alibi": False,
    "alibi_bias_max": 8.0,
    "attention_dropout": 0.0,
    "attention_layer_norm": False,
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "d_model": 32,
    "embedding_dropout": 0.0,
    "embedding_size": 40,
    "include_bias": False,
    "include_qkv_bias": False,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "max_sequence_length": 64,
    "mlp_hidden_size": 48,
    "mlp_ratio": 4,
    "multi_query_attention": None,
    "n_heads": 4,
    "n_kv_heads": 2,
    "n_layers": LAYERS,
    "residual_dropout": 0.0,
    "rms_norm_eps": 1e-3,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 777.0,
    "scale_logits": False,
    "vocab_size": 38,
    "weight_tying": False,
    **IDS,
}


def stock_model(kind: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    """A random transformers model whose logits are far from uniform and whose norms and biases say something."""
    generator = torch.Generator().manual_seed(0)
    config._attn_implementation = "sdpa"
    model = kind(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(1.0 + noise if name.endswith("norm.weight") else noise)
    return model.eval()


def stock_qwen2(**changes: Any) -> PreTrainedModel:
    shape = SHAPE | changes
    rope = {"rope_type": "default", "rope_theta": shape.pop("rope_theta")}
    return stock_model(Qwen2ForCausalLM, Qwen2Config(**shape, rope_parameters=rope))


def stock_llama(**changes: Any) -> PreTrainedModel:
    shape = SHAPE | changes
    rope = {"rope_type": "default", "rope_theta": shape.pop("rope_theta")}
    return stock_model(LlamaForCausalLM, LlamaConfig(**shape, rope_parameters=rope))


def llada_weights(llama: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of a Llama model under LLaDA's names."""
    theirs = llama.state_dict()
    weights = {
        "model.transformer.wte.weight": theirs["model.embed_tokens.weight"],
        "model.transformer.ln_f.weight": theirs["model.norm.weight"],
        "model.transformer.ff_out.weight": theirs["lm_head.weight"],
    }
    for layer in range(LAYERS):
        source, target = f"model.layers.{layer}", f"model.transformer.blocks.{layer}"
        weights |= {
            f"{target}.attn_norm.weight": theirs[f"{source}.input_layernorm.weight"],
            f"{target}.q_proj.weight": theirs[f"{source}.self_attn.q_proj.weight"],
            f"{target}.k_proj.weight": theirs[f"{source}.self_attn.k_proj.weight"],
            f"{target}.v_proj.weight": theirs[f"{source}.self_attn.v_proj.weight"],
            f"{target}.attn_out.weight": theirs[f"{source}.self_attn.o_proj.weight"],
            f"{target}.ff_norm.weight": theirs[f"{source}.post_attention_layernorm.weight"],
            # LLaDA's activation goes over ff_proj.
            f"{target}.ff_proj.weight": theirs[f"{source}.mlp.gate_proj.weight"],
            f"{target}.up_proj.weight": theirs[f"{source}.mlp.up_proj.weight"],
            f"{target}.ff_out.weight": theirs[f"{source}.mlp.down_proj.weight"],
        }
    return weights


def publish(folder: Path, config: Change, weights: dict[str, Tensor], shards: int = 1) -> Path:
    """A folder as on the Hub: config.json and one file, or shards with an index."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
        return folder
    files = {}
    for i, name in enumerate(sorted(weights)):
        files[name] = f"model-{i % shards + 1:05}-of-{shards:05}.safetensors"
    for file in set(files.values()):
        save_file({name: weights[name].contiguous() for name in files if files[name] == file}, folder / file)
    index = {"metadata": {"total_size": 0}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
