"""The parameters of a model by name, from its configuration alone: what memory is reckoned with."""

from __future__ import annotations

from common.models.config import ModelConfig


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter of the model, by name and in its order; a tied head is not counted."""
    width, inner = config.hidden_size, config.intermediate_size
    kv = config.num_key_value_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config.vocab_size, width)}
    for number in range(config.num_hidden_layers):
        layer = f"model.layers.{number}"
        shapes[f"{layer}.input_layernorm.weight"] = (width,)
        for name, rows in (("q_proj", width), ("k_proj", kv), ("v_proj", kv)):
            shapes[f"{layer}.self_attn.{name}.weight"] = (rows, width)
            if config.attention_bias:
                shapes[f"{layer}.self_attn.{name}.bias"] = (rows,)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (width, width)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (width,)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (inner, width)
        shapes[f"{layer}.mlp.up_proj.weight"] = (inner, width)
        shapes[f"{layer}.mlp.down_proj.weight"] = (width, inner)
    shapes["model.norm.weight"] = (width,)
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, width)
    return shapes


def is_operand(name: str) -> bool:
    """Return whether a parameter is one of a product, which is rounded to the type that is computed in.

    The others (embedding, a head that is the embedding too, norms) are read as they are held.
    """
    return "_proj." in name or name == "lm_head.weight"


def part_size(elements: int, parts: int) -> int:
    """Return the elements of one of ``parts`` equal parts that hold ``elements``."""
    return -(-elements // parts)
