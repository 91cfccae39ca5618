"""How a task is put to a model: what is to be continued becomes a question in a chat, and questions get words."""

from __future__ import annotations

from common.config import PromptSettings
from common.records import Task
from common.tasks.source import NotPythonError, parse

_PROMPT = "{prompt}"


def posed(task: Task, settings: PromptSettings) -> Task:
    """Return the task as the settings put it to the model, for training and evaluation alike.

    With a chat template a ``continuation`` becomes a ``fenced`` question, worded by ``complete_prompt``: what a
    chat model answers is a program, not the rest of its prompt. What the prefix defines stays in front of the
    answer, so that its imports and helpers are there; what the answer defines again replaces it, and an answer
    that is a body alone goes on with it. ``question_prompt`` words what is a question already.
    """
    if task.completion == "fenced":
        return task.model_copy(update={"prompt": settings.question_prompt.replace(_PROMPT, task.prompt)})
    if settings.chat_template and task.completion == "continuation":
        return _as_question(task, settings.complete_prompt)
    return task


def _as_question(task: Task, wording: str) -> Task:
    reference = None if task.reference is None else task.prefix + task.reference
    return task.model_copy(
        update={
            "prompt": wording.replace(_PROMPT, task.prompt.strip()),
            "prefix": _program(task.prefix),
            "completion": "fenced",
            "reference": reference,
        }
    )


def _program(prefix: str) -> str:
    """Return a prefix as a program, with an empty body where it ends without one; none where that is none."""
    stub = prefix.rstrip() + "\n"
    last = stub.rstrip("\n").rpartition("\n")[2]
    indent = " " * (len(last) - len(last.lstrip()) + 4)
    for program in (stub, f"{stub}{indent}pass\n"):
        try:
            parse(program)
        except NotPythonError:
            continue
        return program
    return ""
