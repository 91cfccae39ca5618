"""Small corpora, a tokenizer with special tokens, and runs that read them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from common.config import StageConfig
from common.models.config import ModelConfig
from learner.stages.corpus import Corpus, prepare
from learner.stages.segments import Segment

END, MASK, TURN, TURN_END, PAD = range(5)
SPECIAL = ["<|endoftext|>", "<|mask|>", "<|im_start|>", "<|im_end|>", "<|dlm_pad|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MODEL = ModelConfig(
    vocab_size=272,
    hidden_size=8,
    intermediate_size=8,
    num_hidden_layers=1,
    num_attention_heads=1,
    num_key_value_heads=1,
    mask_token_id=MASK,
    eos_token_id=END,
    pad_token_id=PAD,
    end_of_turn_token_id=TURN_END,
    token_count=5 + 256,
)


@cache
def byte_tokenizer(template: str | None = TEMPLATE, pad: str | None = SPECIAL[PAD]) -> Any:
    """A tokenizer whose tokens are the special ones and the 256 bytes."""
    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=SPECIAL[END],
        mask_token=SPECIAL[MASK],
        pad_token=pad,
        chat_template=template,
    )


def ids_of(text: str) -> list[int]:
    """Encode text in which special tokens are tokens."""
    ids: list[int] = byte_tokenizer()(text, add_special_tokens=False)["input_ids"]
    return ids


def text_of(ids: Iterable[int]) -> str:
    text: str = byte_tokenizer().decode([int(token) for token in ids])
    return text


def rows(path: Path, *values: object) -> Path:
    """Write JSON lines; a string is a line as it is."""
    lines = [value if isinstance(value, str) else json.dumps(value) for value in values]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def documents(path: Path, texts: Iterable[str]) -> Path:
    return rows(path, *({"text": text} for text in texts))


def run_of(
    *sources: Path | dict[str, Any], stage: str = "pretrain", seed: int = 0, sequences: int = 3, **data: Any
) -> StageConfig:
    """A run on these sources, with nothing held out unless ``data`` says so."""
    return StageConfig.model_validate(
        {
            "stage": stage,
            "run": {"seed": seed},
            "model": {"path": "builtin:quickstart"},
            "learner": {"sequences_per_step": sequences},
            "data": {
                "sources": [source if isinstance(source, dict) else {"path": str(source)} for source in sources],
                "held_out_share": 0,
                "context_length": 32,
                **data,
            },
        }
    )


def corpus_of(config: StageConfig, target: Path, tokenizer: Any = None, model: ModelConfig = MODEL) -> Corpus:
    """Prepare the corpus of a run and open it."""
    folder = prepare(config, tokenizer or byte_tokenizer(), model, target, lambda source, tokens: None)
    return Corpus.open(folder, config)


def steps(corpus: Corpus, count: int, first: int = 0) -> list[Segment]:
    return [segment for number in range(first, first + count) for segment in corpus.step(number)]


def plain(segments: Sequence[Segment]) -> list[tuple[list[int], tuple[int, int, int, int], int, int]]:
    """Segments as values that compare."""
    return [(segment.ids.tolist(), segment.key, segment.prompt, segment.padding) for segment in segments]
