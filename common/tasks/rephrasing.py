"""Questions put a second way: as a function to complete, as the released DiffuCoder preparation does."""

from __future__ import annotations

from typing import Any

from common.tasks.difficulty import inferences_of, pass_rate_of
from common.tasks.rows import TaskRow

_OPENING = "Please complete the following problem:\n```\ndef "
#: The end of a fenced block in a question, which tells the released code that it shows a signature already.
_CLOSED_FENCE = "\n```\n"


def with_rephrased(row: TaskRow) -> list[dict[str, Any]]:
    """Return the row's fields and, where its question can be put that way, a copy of them with the new question.

    The signature is that of the answer with the highest pass rate among all models' (the first of several), if it
    begins with a function. A question that says "you" in any spelling stays as it is: it speaks to the reader.
    The copy has the id of the original, as in the released file. Raises
    :class:`common.tasks.rows.TaskFileError` for a row without a question or answers.
    """
    question = row.required_text("question")
    if "you" in question.lower():
        return [row.fields]
    answers = inferences_of(row)
    best = answers[max(range(len(answers)), key=lambda number: pass_rate_of(row, number))]
    answer = best.get("completion")
    if not isinstance(answer, str):
        raise row.error("inferences", "has an answer without completion; give what the model wrote")
    signature = answer.split(":\n")[0].strip()
    if not signature.startswith("def "):
        return [row.fields]
    rephrased = f'{_OPENING}{signature.removeprefix("def ")}:\n    """\n    {question}\n    """\n```\n'
    return [row.fields, {**row.fields, "question": rephrased}]


def is_rephrased(question: str) -> bool:
    """Tell whether a question was put that way."""
    return question.startswith(_OPENING)


def shows_code(question: str) -> bool:
    """Tell whether a question holds a fenced block, beside which the released code shows no test."""
    return _CLOSED_FENCE in question
