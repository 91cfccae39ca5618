"""Tasks to what the model reads, and what it wrote to an answer, with the model's own tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from common.config import PromptSettings
from common.models.chat import ChatTemplate, prompt_ids
from common.models.families import ModelError
from common.models.folder import load_tokenizer, tokenizer_hash
from common.records import Task


class PromptEncoder:
    """Renders and encodes tasks: the one place that knows what a model reads before it writes.

    The prompt is a user's turn of the chat template, if there is to be one (released DiffuCoder recipe), and
    ``answer_prefix`` begins the assistant's answer to a ``fenced`` task. That text is the prompt's for the policy,
    which neither writes it nor learns to, and the answer's for the reward, as in the released code for prompts
    that end with an assistant's message. ``fingerprint`` is a hash of the tokenizer files and of these settings.
    ``tokenizer`` is that of the model where it is a causal one.

    Raises :class:`ModelError` for a template that is missing or cannot be rendered.
    """

    def __init__(self, model_path: str, settings: PromptSettings, tokenizer: Any = None) -> None:
        self._tokenizer = load_tokenizer(model_path) if tokenizer is None else tokenizer
        self._settings = settings
        self._template = ChatTemplate(self._tokenizer, settings.chat_template_file)
        if settings.chat_template and self._template.text is None:
            raise ModelError(
                f"data.chat_template: the tokenizer of {model_path!r} has no chat template; set it to false, or "
                "name the file of one in data.chat_template_file"
            )
        chat = [self._template.file_text, settings.system_prompt] if settings.chat_template else None
        facts = json.dumps([tokenizer_hash(model_path), chat, settings.answer_prefix])
        self.fingerprint = hashlib.sha256(facts.encode()).hexdigest()[:16]
        self._encode_text = lru_cache(maxsize=4096)(self._encode)

    def encode(self, task: Task) -> tuple[int, ...]:
        """Return the ids that the model reads, those of ``answer_prefix`` included."""
        return self._encode_text(task.prompt, self.answer_prefix(task))

    def answer_prefix(self, task: Task) -> str:
        """Return the text that the answer begins with; empty for a ``continuation``, which is no answer."""
        return self._settings.answer_prefix if task.completion == "fenced" else ""

    def answer(self, task: Task, ids: Sequence[int]) -> str:
        """Return the whole answer of a completion: ``answer_prefix``, and the ids without special tokens."""
        return self.answer_prefix(task) + self.decode(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode ids, with special tokens left out."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _encode(self, prompt: str, answer_prefix: str) -> tuple[int, ...]:
        if self._settings.chat_template:
            prompt = self._template.prompt([{"role": "user", "content": prompt}], self._settings.system_prompt)
        return tuple(prompt_ids(self._tokenizer, [prompt + answer_prefix])[0])
