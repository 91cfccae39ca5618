"""The model families: what distinguishes them, and how each writes its config.json and names its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from common.errors import UserError

Family = Literal["dream", "llada", "qwen2", "llama"]

#: The section of a config.json that :func:`common.models.loading.save_model` writes.
SECTION = "masked_diffusion"


class ModelError(UserError, ValueError):
    """A model folder that cannot be used; the message names the file, the field and the remedy."""


@dataclass(frozen=True)
class Traits:
    """What distinguishes a family.

    ``layout``: the stock architecture of its graph; one of Qwen2 has biases at q, k and v, one of Llama has none.
    ``shift``: the logits that predict position i are read at position i - 1.
    ``end_of_turn``, ``mask`` and ``pad``: the texts of these tokens, looked up in the tokenizer. A family without
    a mask text is a stock causal one, which has a mask token only once it was adapted. A pad text is that of a
    learned pad token, which not every tokenizer of the family has.
    """

    layout: Literal["qwen2", "llama"]
    shift: bool
    end_of_turn: str
    mask: str | None = None
    pad: str | None = None


FAMILIES: dict[Family, Traits] = {
    "dream": Traits("qwen2", shift=True, end_of_turn="<|im_end|>", mask="<|mask|>", pad="<|dlm_pad|>"),
    "llada": Traits("llama", shift=False, end_of_turn="<|eot_id|>", mask="<|mdm_mask|>"),
    "qwen2": Traits("qwen2", shift=True, end_of_turn="<|im_end|>"),
    "llama": Traits("llama", shift=True, end_of_turn="<|eot_id|>"),
}

_FAMILY_OF_MODEL_TYPE: dict[str, Family] = {
    "Dream": "dream",
    "dream": "dream",
    "llada": "llada",
    "qwen2": "qwen2",
    "llama": "llama",
}

#: What a key of a stock architecture must say; its absence means the same.
_STOCK_KEYS: dict[str, Any] = {
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "mlp_bias": False,
    "use_sliding_window": False,
    "use_mrope": False,
}

#: LLaDA's keys: what the absence of one means to its own code, and which values this project implements.
_LLADA_KEYS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "block_type": ("sequential", ("llama",)),
    "block_group_size": (1, (1,)),
    "activation_type": ("swiglu", ("silu",)),
    "layer_norm_type": ("default", ("rms",)),
    "layer_norm_with_affine": (True, (True,)),
    "bias_for_layer_norm": (None, (None, False)),
    "attention_layer_norm": (False, (False,)),
    "input_emb_norm": (False, (False,)),
    "include_bias": (False, (False,)),
    "include_qkv_bias": (False, (None, False)),
    "multi_query_attention": (None, (None, False)),
    "rope": (False, (True,)),
    "rope_full_precision": (True, (True,)),
    "alibi": (False, (False,)),
    "scale_logits": (False, (False,)),
    "attention_dropout": (0.1, (0.0,)),
    "residual_dropout": (0.1, (0.0,)),
    "embedding_dropout": (0.1, (0.0,)),
}

_LLADA_OUTER_NAMES = {
    "model.embed_tokens": "wte",
    "model.norm": "ln_f",
    "lm_head": "ff_out",
}
_LLADA_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ff_norm",
    "self_attn.q_proj": "q_proj",
    "self_attn.k_proj": "k_proj",
    "self_attn.v_proj": "v_proj",
    "self_attn.o_proj": "attn_out",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}


def stated_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a ModelConfig that a config.json states; special ids it leaves open are None or absent.

    Raises ValueError, which names the key, for an architecture this project does not implement.
    """
    model_type = raw.get("model_type")
    family = _FAMILY_OF_MODEL_TYPE.get(model_type) if isinstance(model_type, str) else None
    if family is None:
        known = ", ".join(sorted(_FAMILY_OF_MODEL_TYPE))
        raise ValueError(f"model_type {model_type!r} is not one of {known}")
    conventions = {"family": family} | _section(raw, family)
    traits = FAMILIES[conventions["family"]]
    if traits.mask is None and SECTION not in raw and raw.get("mask_token_id") is None:
        raise ValueError(
            f"mask_token_id: missing, and there is no section {SECTION!r}: this is a causal model; adapt it to "
            "masked diffusion first, or name the mask token that it was adapted with"
        )
    shape = _llada_shape(raw) if model_type == "llada" else _stock_shape(raw, traits)
    ids = {name: raw.get(name) for name in ("mask_token_id", "eos_token_id", "pad_token_id")}
    return shape | ids | {"shift": traits.shift} | conventions


def checkpoint_name(model_type: str, name: str) -> str:
    """How a checkpoint of a config.json's ``model_type`` names the model's parameter ``name``."""
    if model_type != "llada":
        return name
    owner, _, leaf = name.rpartition(".")
    if owner in _LLADA_OUTER_NAMES:
        return f"model.transformer.{_LLADA_OUTER_NAMES[owner]}.{leaf}"
    number, _, part = owner.removeprefix("model.layers.").partition(".")
    return f"model.transformer.blocks.{number}.{_LLADA_LAYER_NAMES[part]}.{leaf}"


def _section(raw: Mapping[str, Any], family: Family) -> dict[str, Any]:
    section = raw.get(SECTION, {})
    if not isinstance(section, dict):
        raise ValueError(f"{SECTION}: must be a section, not {section!r}")
    stated = section.get("family", family)
    if stated not in FAMILIES:
        raise ValueError(f"{SECTION}.family {stated!r} is not one of {', '.join(FAMILIES)}")
    if FAMILIES[stated].layout != FAMILIES[family].layout:
        raise ValueError(f"{SECTION}.family {stated!r} does not go with model_type {raw['model_type']!r}")
    return section


def _stock_shape(raw: Mapping[str, Any], traits: Traits) -> dict[str, Any]:
    for key, value in (_STOCK_KEYS | {"attention_bias": traits.layout == "qwen2"}).items():
        _require(raw, key, value, (value,))
    if "sliding_attention" in (raw.get("layer_types") or ()):
        raise ValueError("layer_types: 'sliding_attention' is not implemented")
    names = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "rms_norm_eps",
        "tie_word_embeddings",
    )
    fields = {"tie_word_embeddings": False} | {name: raw[name] for name in names if name in raw}
    if fields.get("num_key_value_heads") is None:
        fields["num_key_value_heads"] = raw.get("num_attention_heads")
    heads, width = raw.get("num_attention_heads"), raw.get("hidden_size")
    if raw.get("head_dim") is not None and isinstance(heads, int) and raw["head_dim"] * heads != width:
        raise ValueError(f"head_dim {raw['head_dim']}: only hidden_size / num_attention_heads is implemented")
    return fields | {"rope_theta": _rope_theta(raw)}


def _rope_theta(raw: Mapping[str, Any]) -> Any:
    """The base of the rotary angles, which stands beside or inside the section on their scaling."""
    theta = raw.get("rope_theta")
    for key in ("rope_scaling", "rope_parameters"):
        section = raw.get(key) or {}
        if not isinstance(section, dict):
            raise ValueError(f"{key}: must be a section, not {section!r}")
        kind = section.get("rope_type", section.get("type", "default"))
        others = sorted(section.keys() - {"rope_type", "type", "rope_theta"})
        if kind != "default" or others:
            raise ValueError(
                f"{key}: {kind!r} with {others or 'no parameters'} is not implemented, only 'default'"
            )
        theta = section.get("rope_theta") if theta is None else theta
    if theta is None:
        raise ValueError("rope_theta: missing; state the base of the rotary angles the model was trained with")
    return theta


def _llada_shape(raw: Mapping[str, Any]) -> dict[str, Any]:
    for key, (default, accepted) in _LLADA_KEYS.items():
        _require(raw, key, default, accepted)
    names = {
        "hidden_size": "d_model",
        "intermediate_size": "mlp_hidden_size",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "max_position_embeddings": "max_sequence_length",
        "rope_theta": "rope_theta",
        "rms_norm_eps": "rms_norm_eps",
        "tie_word_embeddings": "weight_tying",
        "vocab_size": "vocab_size",
    }
    for key in names.values():
        if raw.get(key) is None:
            raise ValueError(f"{key}: missing; state it")
    fields = {ours: raw[theirs] for ours, theirs in names.items()}
    kv_heads, rows = raw.get("n_kv_heads"), raw.get("embedding_size")
    fields["num_key_value_heads"] = raw["n_heads"] if kv_heads is None else kv_heads
    # vocab_size counts the tokens and embedding_size the rows, some of which may be padding.
    if rows is not None:
        fields |= {"vocab_size": rows, "token_count": raw["vocab_size"]}
    return fields


def _require(raw: Mapping[str, Any], key: str, default: Any, accepted: tuple[Any, ...]) -> None:
    if raw.get(key, default) not in accepted:
        absent = "" if key in raw else " (what its absence means)"
        raise ValueError(f"{key}: {raw.get(key, default)!r}{absent} is not implemented, only {accepted[-1]!r}")
