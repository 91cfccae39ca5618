"""How a task is put to a model: what is to be continued becomes a question in a chat, and questions get words."""

from __future__ import annotations

from common.config import PromptSettings
from common.records import Task
from common.tasks.source import as_program

_PROMPT = "{prompt}"
_GAP = "<FILL_ME>"  # as Code Llama has it


def posed(task: Task, settings: PromptSettings) -> Task:
    """Return the task as the settings put it to the model, for training and evaluation alike.

    With a chat template a ``continuation`` becomes a ``fenced`` question, worded by ``complete_prompt``: what a
    chat model answers is a program, not the rest of its prompt. What the prefix defines stays in front of the
    answer, so that its imports and helpers are there; what the answer defines again replaces it, and an answer
    that is a body alone goes on with it. Where code is to be filled in, the question shows both sides of the gap,
    and the answer is the whole program. ``question_prompt`` words what is a question already.
    """
    if task.completion == "fenced":
        return task.model_copy(update={"prompt": settings.question_prompt.replace(_PROMPT, task.prompt)})
    if settings.chat_template and task.completion == "continuation":
        return _as_question(task, settings.complete_prompt)
    return task


def _as_question(task: Task, wording: str) -> Task:
    reference = None if task.reference is None else task.prefix + task.reference + task.suffix
    shown = f"{task.prefix}{_GAP}{task.suffix}" if task.suffix else task.prompt
    return task.model_copy(
        update={
            "prompt": wording.replace(_PROMPT, shown.strip()),
            "prefix": _longest_program(task.prefix) if task.suffix else as_program(task.prefix),
            "suffix": "",
            "completion": "fenced",
            "reference": reference,
        }
    )


def _longest_program(prefix: str) -> str:
    """Return the first lines of a prefix, as many as make a program as :func:`as_program` does."""
    lines = prefix.splitlines(keepends=True)
    programs = (as_program("".join(lines[:end])) for end in range(len(lines), 0, -1))
    return next(filter(None, programs), "")
