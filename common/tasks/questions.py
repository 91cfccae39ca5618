"""Tasks to continue, put as questions: what a chat model answers is a program, not the rest of its prompt."""

from __future__ import annotations

from common.records import Task
from common.tasks.source import NotPythonError, parse

#: How ml-diffucoder's models were asked to complete code (DiffuCoder, appendix).
_QUESTION = "Please complete the following problem:\n```\n{prompt}\n```\n"


def as_question(task: Task) -> Task:
    """Return a ``continuation`` task as a ``fenced`` one, which asks for the program; another as it is.

    Where the prefix is a program by itself (signature and docstring make one), it stays in front of the answer:
    imports and helpers that it gives are there, what the answer defines again replaces it, and an answer that is
    a body alone goes on with it. Any other prefix is left to the answer.
    """
    if task.completion == "fenced":
        return task
    reference = None if task.reference is None else task.prefix + task.reference
    return task.model_copy(
        update={
            "prompt": _QUESTION.format(prompt=task.prompt.strip()),
            "prefix": _program(task.prefix),
            "completion": "fenced",
            "reference": reference,
        }
    )


def _program(prefix: str) -> str:
    stub = prefix.rstrip() + "\n"
    try:
        parse(stub)
    except NotPythonError:
        return ""
    return stub
