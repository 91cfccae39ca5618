"""Shapes of published models, so that a run can be planned before any of them is downloaded."""

from __future__ import annotations

from collections.abc import Mapping

from common.models.config import ModelConfig

#: Dream-7B, which has the shape of Qwen2.5-7B, and DiffuCoder-7B, which took over its code. The ids are those of
#: Dream's config.json and tokenizer; DiffuCoder adds a token to pad with.
_DREAM_7B = ModelConfig(
    family="dream",
    vocab_size=152064,
    hidden_size=3584,
    intermediate_size=18944,
    num_hidden_layers=28,
    num_attention_heads=28,
    num_key_value_heads=4,
    max_position_embeddings=131072,
    tie_word_embeddings=False,
    mask_token_id=151666,
    eos_token_id=151643,
    pad_token_id=151643,
    end_of_turn_token_id=151645,
)

#: Qwen2.5-Coder-7B, of the same shape, and SmolLM2-135M, as they are after adaptation with a mask token.
_QWEN_7B = _DREAM_7B.model_copy(update={"family": "qwen2", "mask_token_id": 151665})
_SMOLLM2_135M = ModelConfig(
    family="llama",
    vocab_size=49153,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    max_position_embeddings=8192,
    rope_theta=100_000.0,
    tie_word_embeddings=True,
    mask_token_id=49152,
    eos_token_id=2,
    pad_token_id=2,
)

#: By Hub name. Only their sizes are meant to be read: a run takes everything from the model's own folder.
PUBLISHED: Mapping[str, ModelConfig] = {
    "Dream-org/Dream-v0-Base-7B": _DREAM_7B,
    "Dream-org/Dream-v0-Instruct-7B": _DREAM_7B,
    "apple/DiffuCoder-7B-Base": _DREAM_7B,
    "apple/DiffuCoder-7B-Instruct": _DREAM_7B,
    "apple/DiffuCoder-7B-cpGRPO": _DREAM_7B,
    "Qwen/Qwen2.5-Coder-7B": _QWEN_7B,
    "Qwen/Qwen2.5-Coder-7B-Instruct": _QWEN_7B,
    "HuggingFaceTB/SmolLM2-135M": _SMOLLM2_135M,
    "HuggingFaceTB/SmolLM2-135M-Instruct": _SMOLLM2_135M,
}
