"""Chat templates: conversations to the text that a model reads before it answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from common.models.families import ModelError

#: A turn of a conversation: its ``role`` (system, user or assistant) and its ``content``.
Turn = dict[str, str]


class ChatTemplate:
    """The chat template of a tokenizer, or the one in ``file`` in its place.

    ``file_text`` is the text of that file, None without one. Raises :class:`ModelError` for a file that cannot be
    read or is empty.
    """

    def __init__(self, tokenizer: Any, file: Path | None) -> None:
        self._tokenizer = tokenizer
        self._file = file
        self.file_text = None if file is None else _read(file)

    @property
    def text(self) -> str | None:
        """The Jinja text of the template; None where neither a file nor the tokenizer has one."""
        return self.file_text or self._tokenizer.chat_template or None

    def prompt(self, turns: Sequence[Turn], system_prompt: str | None) -> str:
        """Render a conversation up to where the assistant's next turn begins.

        ``system_prompt`` is the system turn of a conversation that has none; None leaves it to the template.
        Raises :class:`ModelError` for a template that cannot be rendered.
        """
        begins_with_system = bool(turns) and turns[0]["role"] == "system"
        if system_prompt is not None and not begins_with_system:
            turns = [{"role": "system", "content": system_prompt}, *turns]
        try:
            text: str = self._tokenizer.apply_chat_template(
                list(turns), chat_template=self.file_text, add_generation_prompt=True, tokenize=False
            )
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            name = "tokenizer's own" if self._file is None else str(self._file)
            raise ModelError(
                f"data.chat_template: {name} cannot be rendered: {error}; mend the template"
            ) from error
        return text


def prompt_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Encode what a model reads before it answers; the special tokens that a template writes are tokens."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _read(file: Path) -> str:
    try:
        template = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"data.chat_template_file {file}: cannot be read: {error}; name a Jinja file that this machine can "
            "read"
        ) from error
    if not template.strip():
        raise ModelError(
            f"data.chat_template_file {file}: is empty, so that no prompt would be read; write a template into "
            "it, or leave the field out"
        )
    return template
