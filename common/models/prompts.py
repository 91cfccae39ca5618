"""Tasks to what the model reads, and what it wrote to an answer, with the model's own tokenizer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from jinja2 import TemplateError

from common.config import PromptSettings
from common.models.families import ModelError
from common.models.loading import load_tokenizer, tokenizer_hash
from common.records import Task


class PromptEncoder:
    """Renders and encodes tasks: the one place that knows what a model reads before it writes.

    The prompt is a user's turn of the chat template, if there is to be one (released DiffuCoder recipe), and
    ``answer_prefix`` begins the assistant's answer to a ``fenced`` task. That text is the prompt's for the policy,
    which neither writes it nor learns to, and the answer's for the reward, as in the released code for prompts
    that end with an assistant's message. ``fingerprint`` is a hash of the tokenizer files and of these settings.

    Raises :class:`ModelError` for a template that is missing or cannot be rendered.
    """

    def __init__(self, model_path: str, settings: PromptSettings) -> None:
        self._tokenizer = load_tokenizer(model_path)
        self._settings = settings
        self._template = _template(settings)
        if settings.chat_template and not (self._template or self._tokenizer.chat_template):
            raise ModelError(
                f"data.chat_template: the tokenizer of {model_path!r} has no chat template; set it to false, or "
                "name the file of one in data.chat_template_file"
            )
        chat = [self._template, settings.system_prompt] if settings.chat_template else None
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
        text = self._in_template(prompt) if self._settings.chat_template else prompt
        return tuple(self._tokenizer(text + answer_prefix, add_special_tokens=False)["input_ids"])

    def _in_template(self, prompt: str) -> str:
        system = self._settings.system_prompt
        turns = [] if system is None else [{"role": "system", "content": system}]
        turns.append({"role": "user", "content": prompt})
        try:
            text: str = self._tokenizer.apply_chat_template(
                turns, chat_template=self._template, add_generation_prompt=True, tokenize=False
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            name = "tokenizer's own" if self._template is None else str(self._settings.chat_template_file)
            raise ModelError(
                f"data.chat_template: {name} cannot be rendered: {error}; mend the template"
            ) from error
        return text


def _template(settings: PromptSettings) -> str | None:
    """Read the template file, None where there is none."""
    if settings.chat_template_file is None:
        return None
    try:
        template = Path(settings.chat_template_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"data.chat_template_file {settings.chat_template_file}: cannot be read: {error}; name a Jinja file "
            "that this machine can read"
        ) from error
    if not template.strip():
        raise ModelError(
            f"data.chat_template_file {settings.chat_template_file}: is empty, so that no prompt would be read; "
            "write a template into it, or leave the field out"
        )
    return template
