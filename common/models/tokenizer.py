"""A model's tokenizer from the files in its folder, without running code that lies there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from common.models.families import FAMILIES, Family, ModelError, family_named

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


def read_tokenizer(folder: Path, family: str) -> Any:
    """Load the tokenizer in ``folder``, or None where none lies there. Raises :class:`ModelError`.

    The classes are named here, so what ``tokenizer_config.json`` names in ``auto_map`` is never looked at. The
    learned pad token of a family is declared as the pad if the tokenizer has it.
    """
    # Here: learner ranks need no tokenizer, and save a second. Classes of one family take a third more to find.
    from transformers import PreTrainedTokenizerFast

    if (folder / "tokenizer.json").is_file():
        kind = PreTrainedTokenizerFast
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        if family_named(family).layout != "qwen2":
            raise ModelError(f"{folder}: a tokenizer of family {family!r} needs tokenizer.json")
        from transformers import Qwen2Tokenizer

        kind = Qwen2Tokenizer
    else:
        return None
    try:
        tokenizer = kind.from_pretrained(folder, local_files_only=True)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise ModelError(f"{folder}: the tokenizer cannot be read: {error}") from error
    vocabulary = tokenizer.get_vocab()
    _check_added_tokens(folder, vocabulary)
    if family_named(family).pad in vocabulary:
        tokenizer.add_special_tokens({"pad_token": family_named(family).pad})
    return tokenizer


@dataclass(frozen=True)
class SpecialTokens:
    """The special tokens of a tokenizer. ``count`` is one more than the highest id of a token.

    ``learned_pad``: the pad is the family's own token, whatever config.json says.
    """

    count: int
    mask: int | None
    eos: int | None
    pad: int | None
    end_of_turn: int | None
    learned_pad: bool

    def complete(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Fill in the fields that a published config.json, which counts no tokens, leaves open."""
        known = {"mask_token_id": self.mask, "eos_token_id": self.eos, "pad_token_id": self.pad}
        ids = {name: token if fields[name] is None else fields[name] for name, token in known.items()}
        if self.learned_pad:
            ids["pad_token_id"] = self.pad
        return fields | ids | {"end_of_turn_token_id": self.end_of_turn, "token_count": self.count}

    def check(self, stated: Mapping[str, Any]) -> None:
        """Raise ValueError, which names the field, where the fields of a model configuration say otherwise."""
        for name, theirs in (
            ("mask_token_id", self.mask),
            ("eos_token_id", self.eos),
            ("pad_token_id", self.pad),
            ("end_of_turn_token_id", self.end_of_turn),
            ("token_count", self.count),
        ):
            ours = stated[name]
            if ours is not None and theirs is not None and ours != theirs:
                raise ValueError(
                    f"{name} is {ours} in config.json and {theirs} in the tokenizer; correct the one that differs "
                    "from what the model was trained with"
                )
        if self.count > stated["vocab_size"]:
            raise ValueError(
                f"vocab_size is {stated['vocab_size']} in config.json and the tokenizer has {self.count} tokens; "
                "take the tokenizer that the model was trained with"
            )


def special_tokens(tokenizer: Any, family: str) -> SpecialTokens:
    """Look up the tokens that are special to ``family`` in ``tokenizer``.

    What ends a turn of a stock model is what its chat template says, since models of either architecture come with
    templates of all kinds. Without one it is the text of that name that the vocabulary has.
    """
    traits, vocabulary = family_named(family), tokenizer.get_vocab()
    mask = tokenizer.mask_token_id
    return SpecialTokens(
        count=max(vocabulary.values()) + 1,
        mask=vocabulary.get(traits.mask) if mask is None else mask,
        eos=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
        end_of_turn=_end_of_turn(tokenizer, traits, vocabulary),
        learned_pad=traits.pad in vocabulary,
    )


def _end_of_turn(tokenizer: Any, traits: Family, vocabulary: Mapping[str, int]) -> int | None:
    if traits.mask is not None:
        return vocabulary.get(traits.end_of_turn)
    stated = _end_of_template_turn(tokenizer)
    if stated is not None:
        return stated
    texts = (traits.end_of_turn, *(family.end_of_turn for family in FAMILIES.values()))
    return next((vocabulary[text] for text in texts if text in vocabulary), None)


def _end_of_template_turn(tokenizer: Any) -> int | None:
    """Return the added token that the chat template writes behind an answer, None without such a template."""
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError):
        return None  # whoever renders prompts with it is told
    _, _, behind = text.rpartition("answer")
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"]
    return next((token for token in ids if token in tokenizer.added_tokens_decoder), None)


def _check_added_tokens(folder: Path, vocabulary: dict[str, int]) -> None:
    """Raise ModelError for added tokens whose ids in the vocabulary are not those they state, as of a cut file."""
    path = folder / "tokenizer_config.json"
    stated = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for token, entry in stated.get("added_tokens_decoder", {}).items():
        if vocabulary.get(entry["content"]) != int(token):
            raise ModelError(
                f"{path}: added_tokens_decoder says {entry['content']!r} is {token}, the vocabulary makes it "
                f"{vocabulary.get(entry['content'])}; fetch the tokenizer files again"
            )
