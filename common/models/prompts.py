"""Prompts to token ids and back, with the model's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from common.models.families import ModelError
from common.models.loading import load_tokenizer, tokenizer_hash
from common.records import Task

_SYSTEM_PROMPT = "You are a helpful assistant."


class PromptEncoder:
    """Encodes tasks. ``chat_template`` wraps the prompt as a user turn (released DiffuCoder recipe).

    Raises :class:`ModelError` for a model without a chat template.
    """

    def __init__(self, model_path: str, chat_template: bool) -> None:
        self._tokenizer = load_tokenizer(model_path)
        if chat_template and not self._tokenizer.chat_template:
            raise ModelError(
                f"data.chat_template: the tokenizer of {model_path!r} has no chat template; set it to false"
            )
        self._chat_template = chat_template
        self.fingerprint = tokenizer_hash(model_path)
        self._encode_text = lru_cache(maxsize=4096)(self._encode)

    def encode(self, task: Task) -> tuple[int, ...]:
        return self._encode_text(task.prompt)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids, with special tokens left out."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _encode(self, prompt: str) -> tuple[int, ...]:
        if not self._chat_template:
            return tuple(self._tokenizer(prompt, add_special_tokens=False)["input_ids"])
        turns = [{"role": "system", "content": _SYSTEM_PROMPT}, {"role": "user", "content": prompt}]
        return tuple(self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False))
