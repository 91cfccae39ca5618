"""Tiny causal checkpoints as they are published, written by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

TEXT = "def f(x):\n    return x + 1\n"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<empty_output>", "<|eot_id|>")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-3,
}


def write_tokenizer(folder: Path, template: str | None = CHATML, **declared: str) -> dict[str, int]:
    """Write a byte-level tokenizer, which declares its end of text and what is said; return its vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(SPECIAL),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT * 4], trainer)
    names = {"eos_token": "<|endoftext|>"} | declared
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    fast.chat_template = template
    fast.save_pretrained(folder)
    return dict(fast.get_vocab())


def causal_model(layout: str, rows: int, tied: bool, **changes: Any) -> PreTrainedModel:
    """Make a random model of distinct logits, whose rotary base, norms and biases say something."""
    kinds: dict[str, tuple[Any, Any]] = {
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "llama": (LlamaConfig, LlamaForCausalLM),
    }
    config, kind = kinds[layout]
    rope = {"rope_type": "default", "rope_theta": 777.0}
    ids = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": None}
    shape = SHAPE | ids | {"vocab_size": rows, "tie_word_embeddings": tied, "rope_parameters": rope}
    made: PreTrainedModel = kind(config(**shape | changes))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.2
            parameter.copy_(1.0 + noise if name.endswith("norm.weight") else noise)
    return made.eval()


def causal_folder(
    folder: Path, layout: str = "qwen2", spare: int = 0, tied: bool = True, shard: str = "1GB", **changes: Any
) -> PreTrainedModel:
    """Write a model, in files of at most ``shard``, and a tokenizer, beyond which it has ``spare`` rows."""
    vocabulary = write_tokenizer(folder)
    model = causal_model(layout, max(vocabulary.values()) + 1 + spare, tied, **changes)
    model.save_pretrained(folder, max_shard_size=shard)
    return model


def write_gguf(file: Path, folder: Path, model: PreTrainedModel) -> None:
    """Write a Qwen2 model and the tokenizer of ``folder`` as llama.cpp's converter does, in fp32."""
    import gguf

    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    config = model.config
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(777.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    special, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([special if token in SPECIAL else normal for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(0)
    writer.add_chat_template(CHATML)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if not (config.tie_word_embeddings and name == "lm_head.weight"):
            stem, _, leaf = name.rpartition(".")
            writer.add_tensor(f"{names.get_name(stem)}.{leaf}", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def change_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
