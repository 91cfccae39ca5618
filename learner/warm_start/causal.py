"""A small causal model of Python, made from nothing: a start for the chain of stages that needs no download.

It is a stock Qwen2 of transformers with a chat template, as the paper's starting model is, trained to predict the
next token for a few seconds: enough to have something that adaptation keeps.
"""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import rng
from common.config import OptimizerConfig
from common.models.quiet import quiet_transformers
from learner.optimizer import learning_rate, set_learning_rate
from learner.warm_start.tokenizer import END_ID, END_TOKEN, train_tokenizer

_TURN_BEGINS, _TURN_ENDS = "<|im_start|>", "<|im_end|>"
#: Qwen's template (ChatML) without what it says of tools.
_CHAT_TEMPLATE = (
    "{% for turn in messages %}"
    "{{ '<|im_start|>' + turn['role'] + '\\n' + turn['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class CausalModel:
    """Shape and training of the model; ``length`` is the tokens of a sequence, ``batch`` its sequences a step."""

    seed: int = 0
    steps: int = 60
    batch: int = 8
    length: int = 128
    vocab_size: int = 1024
    hidden_size: int = 128
    intermediate_size: int = 384
    layers: int = 4
    heads: int = 4


def standard_library_modules() -> Iterator[str]:
    """Yield every fourth top-level module of this interpreter's standard library, over a megabyte of source."""
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[::4]:
        yield file.read_text(encoding="utf-8")


def make_causal_model(
    texts: Sequence[str],
    target: Path,
    settings: CausalModel,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train a tokenizer and a model on ``texts``, and write them as a folder of transformers' to ``target``.

    ``progress`` is told the step and its loss. Raises ValueError for texts that are shorter than a sequence.
    """
    special = (END_TOKEN, _TURN_BEGINS, _TURN_ENDS)
    tokenizer = train_tokenizer(texts, settings.vocab_size, special)
    ids = np.concatenate([[*document.ids, END_ID] for document in tokenizer.encode_batch(list(texts))])
    if len(ids) <= settings.length:
        raise ValueError(f"texts: {len(ids)} tokens are less than a sequence of {settings.length}; give more text")
    optimization = OptimizerConfig(learning_rate=3e-3, warmup_steps=settings.steps // 10, final_share=0.1)
    model = _new_model(settings, tokenizer.get_vocab_size())
    optimizer = torch.optim.AdamW(model.parameters(), lr=optimization.learning_rate, betas=(0.9, 0.95))
    draw = rng.stream(settings.seed, "causal-model")
    for step in range(settings.steps):
        starts = draw.integers(0, len(ids) - settings.length, settings.batch)
        batch = torch.from_numpy(np.stack([ids[start : start + settings.length] for start in starts]))
        # From 1: at the schedule's step 0 the rate is 0.
        set_learning_rate(optimizer, learning_rate(optimization, step + 1, settings.steps + 1))
        optimizer.zero_grad()
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_GRAD_NORM)
        optimizer.step()
        progress(step + 1, float(loss.detach()))
    with quiet_transformers():
        model.save_pretrained(target)
    tokenizer.save(str(target / "tokenizer.json"))
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_TOKEN,
        "pad_token": END_TOKEN,
        "chat_template": _CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _new_model(settings: CausalModel, vocab_size: int) -> Any:
    """Return transformers' model with weights that the seed draws; the global generator is left alone."""
    with quiet_transformers():
        from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=2048,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=END_ID,
        pad_token_id=END_ID,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return Qwen2ForCausalLM(config).train()
