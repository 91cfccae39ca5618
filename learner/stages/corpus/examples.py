"""Examples of supervised fine-tuning: rows of a prompt and its answer, or of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.config import CorpusSource
from common.models.chat import ChatTemplate, Turn
from common.models.families import ModelError
from common.tasks.rows import TaskRow
from learner.stages.corpus.documents import Document, digest_of, place_of, read_rows, text_of
from learner.stages.corpus.errors import CorpusError

_ROLES = ("system", "user", "assistant")


def read_examples(
    source: CorpusSource, files: Sequence[Path], template: ChatTemplate, system_prompt: str | None
) -> Iterator[Document]:
    """Read the examples in the files of a source, their prompts rendered as reinforcement learning shows them.

    Without a template the prompt is taken as it is. Raises :class:`CorpusError`.
    """
    for path in files:
        for row in read_rows(path):
            if row.name_of(source.messages) is not None:
                turns = _conversation(row, source.messages, template)
            else:
                turns = _question(row, source)
            yield _example(row, turns, template, system_prompt)


def _example(row: TaskRow, turns: list[Turn], template: ChatTemplate, system_prompt: str | None) -> Document:
    place = place_of(row)
    *before, answer = turns
    digest = digest_of(place, *(part for turn in turns for part in (turn["role"], turn["content"])))
    if template.text is None:
        return Document(place, answer["content"], digest, before[-1]["content"])
    try:
        prompt = template.prompt(before, system_prompt)
    except ModelError as error:
        raise CorpusError(f"{place}: {error}") from error
    return Document(place, answer["content"], digest, prompt)


def _question(row: TaskRow, source: CorpusSource) -> list[Turn]:
    texts = [text_of(row, source.prompt, "prompt"), text_of(row, source.answer, "answer")]
    for column, text in zip((source.prompt, source.answer), texts, strict=True):
        if not text:
            raise CorpusError(f"{place_of(row)}, field {column}: is empty; give it a text, or leave the row out")
    return [{"role": "user", "content": texts[0]}, {"role": "assistant", "content": texts[1]}]


def _conversation(row: TaskRow, column: str, template: ChatTemplate) -> list[Turn]:
    def fault(problem: str) -> CorpusError:
        return CorpusError(f"{place_of(row)}, field {column}: {problem}")

    if template.text is None:
        raise fault("a conversation needs a chat template and the tokenizer has none; set data.chat_template_file")
    value = row.fields[column]
    if not isinstance(value, list):
        raise fault(f"is {type(value).__name__}; make it a list of turns, each with role and content")
    turns = []
    for number, turn in enumerate(value, start=1):
        problem = _problem(turn, number)
        if problem is not None:
            raise fault(f"turn {number} {problem}")
        turns.append({"role": turn["role"], "content": turn["content"]})
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise fault("must be at least two turns, the last of them the assistant's, which is the answer")
    return turns


def _problem(turn: Any, number: int) -> str | None:
    """Say what is wrong with a turn, if anything is."""
    if not isinstance(turn, dict) or not isinstance(turn.get("content"), str) or not turn["content"]:
        return "has no content; give it role and content, both texts"
    if turn.get("role") not in _ROLES:
        return f"has the role {turn.get('role')!r}; give it one of {', '.join(_ROLES)}"
    if turn["role"] == "system" and number > 1:
        return "is the system's; only the first may be"
    return None
