"""The model families: what distinguishes them, and how each writes its config.json and names its weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from common.errors import UserError
from common.plugins import IMPORT_PATH, PluginError, installed_plugins, load_plugin

#: The section of a config.json that :func:`common.models.loading.save_model` writes.
SECTION = "masked_diffusion"


class ModelError(UserError, ValueError):
    """A model folder that cannot be used; the message names the file, the field and the remedy."""


@dataclass(frozen=True)
class Family:
    """The distinguishing traits of a family of models. One of yours is found by name (docs/extending.md).

    ``layout``: the stock architecture of its graph; one of Qwen2 has biases at q, k and v, one of Llama has none.
    ``shift``: the logits that predict position i are read at position i - 1.
    ``end_of_turn``, ``mask`` and ``pad``: the texts of these tokens, looked up in the tokenizer. A family without
    a mask text is a stock causal one, which has a mask token only once it was adapted. A pad text is that of a
    learned pad token, which not every tokenizer of the family has.
    ``shape``: the fields of a ModelConfig that a config.json states in keys of the family's own; it raises
    ValueError, naming the key, for what is not implemented. ``parameter_name``: what a checkpoint of the family
    calls a parameter of the model. Without them both are those of the stock architecture. ``rows_keys``: the keys
    that a larger embedding is stated in.
    """

    layout: Literal["qwen2", "llama"]
    shift: bool
    end_of_turn: str
    mask: str | None = None
    pad: str | None = None
    shape: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    parameter_name: Callable[[str], str] | None = None
    rows_keys: tuple[str, ...] = ("vocab_size",)


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


def family_named(name: str) -> Family:
    """Return one of our families, or the plug-in that ``name`` means. Raises ValueError."""
    return FAMILIES[name] if name in FAMILIES else _plugin_family(name)


@cache
def _plugin_family(name: str) -> Family:
    family = load_plugin("model_family", name, known=tuple(FAMILIES))
    if not isinstance(family, Family):
        raise ValueError(f"model family {name!r}: must be a common.models.families.Family, not {family!r}")
    return family


def stated_fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Read the fields of a ModelConfig that a config.json states; ids that it leaves open are None or absent.

    Raises ValueError, which names the key, for an architecture this project does not implement.
    """
    written_as = _family_of_file(raw)
    conventions = {"family": written_as} | _section(raw, written_as)
    family = family_named(conventions["family"])
    if is_causal(raw):
        raise ValueError(
            f"mask_token_id: missing, and there is no section {SECTION!r}: this is a causal model; adapt it to "
            "masked diffusion first, or name the mask token that it was adapted with"
        )
    shape = family_named(written_as).shape
    fields = _stock_shape(raw, family) if shape is None else shape(raw)
    ids = {name: raw.get(name) for name in ("mask_token_id", "eos_token_id", "pad_token_id")}
    return fields | ids | {"shift": family.shift} | conventions


def is_causal(raw: Mapping[str, Any]) -> bool:
    """Return whether a config.json is that of a stock causal model, which has no mask token.

    Raises ValueError for an architecture this project does not implement.
    """
    stated = SECTION in raw or raw.get("mask_token_id") is not None
    return not stated and family_named(_family_of_file(raw)).mask is None


def stock_family(raw: Mapping[str, Any]) -> str | None:
    """Return the stock architecture, ``qwen2`` or ``llama``, that a config.json names; None for another family."""
    written_as = _family_of_file(raw)
    return written_as if written_as == family_named(written_as).layout else None


def with_rows(raw: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return a config.json that states an embedding of so many rows, in the keys of its family."""
    return {**raw, **dict.fromkeys(family_named(_family_of_file(raw)).rows_keys, rows)}


def checkpoint_name(raw: Mapping[str, Any], name: str) -> str:
    """Return what the checkpoint beside a config.json calls the model's parameter ``name``."""
    rename = family_named(_family_of_file(raw)).parameter_name
    return name if rename is None else rename(name)


def _family_of_file(raw: Mapping[str, Any]) -> str:
    """Return the family whose keys and parameter names a folder is written in."""
    model_type = raw.get("model_type")
    if isinstance(model_type, str) and model_type in _FAMILY_OF_MODEL_TYPE:
        return _FAMILY_OF_MODEL_TYPE[model_type]
    section = raw.get(SECTION)
    stated = section.get("family") if isinstance(section, dict) else None
    if isinstance(stated, str) and re.fullmatch(IMPORT_PATH, stated):
        return stated
    installed = {plugin.name for plugin in installed_plugins() if plugin.kind == "model_family"}
    if isinstance(model_type, str) and model_type in installed:
        return model_type
    known = ", ".join(sorted({*_FAMILY_OF_MODEL_TYPE, *installed}))
    raise ValueError(f"model_type {model_type!r} is not one of {known}")


def _llada_parameter_name(name: str) -> str:
    owner, _, leaf = name.rpartition(".")
    if owner in _LLADA_OUTER_NAMES:
        return f"model.transformer.{_LLADA_OUTER_NAMES[owner]}.{leaf}"
    number, _, part = owner.removeprefix("model.layers.").partition(".")
    return f"model.transformer.blocks.{number}.{_LLADA_LAYER_NAMES[part]}.{leaf}"


def _section(raw: Mapping[str, Any], written_as: str) -> dict[str, Any]:
    section = raw.get(SECTION, {})
    if not isinstance(section, dict):
        raise ValueError(f"{SECTION}: must be a section, not {section!r}")
    stated = section.get("family", written_as)
    if not isinstance(stated, str):
        raise ValueError(f"{SECTION}.family: must be a name, not {stated!r}")
    try:
        layout = family_named(stated).layout
    except PluginError as error:
        raise ValueError(f"{SECTION}.family {error}") from error
    if layout != family_named(written_as).layout:
        raise ValueError(f"{SECTION}.family {stated!r} does not go with model_type {raw['model_type']!r}")
    return section


def _stock_shape(raw: Mapping[str, Any], family: Family) -> dict[str, Any]:
    for key, value in (_STOCK_KEYS | {"attention_bias": family.layout == "qwen2"}).items():
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
    """Read the base of the rotary angles, which stands beside or inside the section on their scaling."""
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


FAMILIES: dict[str, Family] = {
    "dream": Family("qwen2", shift=True, end_of_turn="<|im_end|>", mask="<|mask|>", pad="<|dlm_pad|>"),
    "llada": Family(
        "llama",
        shift=False,
        end_of_turn="<|eot_id|>",
        mask="<|mdm_mask|>",
        shape=_llada_shape,
        parameter_name=_llada_parameter_name,
        rows_keys=("vocab_size", "embedding_size"),
    ),
    "qwen2": Family("qwen2", shift=True, end_of_turn="<|im_end|>"),
    "llama": Family("llama", shift=True, end_of_turn="<|eot_id|>"),
}

_FAMILY_OF_MODEL_TYPE = {
    "Dream": "dream",
    "dream": "dream",
    "llada": "llada",
    "qwen2": "qwen2",
    "llama": "llama",
}
