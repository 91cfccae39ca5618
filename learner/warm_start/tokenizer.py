"""A small byte-level BPE tokenizer, trained on the texts of a run and saved as a Hugging Face folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

END_TOKEN = "<|endoftext|>"
MASK_TOKEN = "<|mask|>"
END_ID = 0
MASK_ID = 1

# A digit is always a token of its own, so that constants can be copied; a word takes its leading space along.
_PIECES = r"\d| ?[A-Za-z_]+| ?[^\sA-Za-z_\d]+\n?|\s+(?=\s[A-Za-z_])|\s+"

_BYTES = 256


def train_tokenizer(
    texts: Iterable[str], vocab_size: int = 448, special_tokens: Sequence[str] = (END_TOKEN, MASK_TOKEN)
) -> Tokenizer:
    """Train on ``texts``. Every text, also one with unseen characters, survives encode and decode unchanged.

    The vocabulary has the special tokens, whose ids count from 0 (by default end of text, which also pads, and
    mask), all 256 bytes, and as many merges as ``vocab_size`` leaves room for and the texts repeat. Raises
    ValueError if ``vocab_size`` cannot hold the bytes.
    """
    least = _BYTES + len(special_tokens)
    if vocab_size < least:
        raise ValueError(f"vocab_size must be at least {least} to hold every byte, got {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json; the folder then loads with AutoTokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_TOKEN,
        "pad_token": END_TOKEN,
        "mask_token": MASK_TOKEN,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
