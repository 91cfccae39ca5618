"""Extract the program from a completion's text, and grade how well-formed that text is.

Model-written text is only ever parsed, and that in a process with bounds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from common.language import Language
from common.records import Task
from reward_service.reading import readers

MAX_PROGRAM_CHARS = 100_000
# What a fence may say, by language; the first is what a well-formed one says.
_FENCES: Mapping[Language, tuple[str, str]] = {"python": ("python", "py"), "javascript": ("javascript", "js")}
_FENCED_BLOCK = {
    language: re.compile(rf"```(?:{'|'.join(names)})[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
    for language, names in _FENCES.items()
}
# The rule of the released DiffuCoder reward: one fenced block, and nothing after its closing line. That line may
# lack its newline here: the released code reads on behind the token that ends the text, where the newline is.
_WELL_FORMED = {
    language: re.compile(rf"(?:(?!```).)*```{names[0]}\n((?:(?!```).)*)```\n?", re.DOTALL)
    for language, names in _FENCES.items()
}
_FUTURE_IMPORT = re.compile(r"^from __future__ import [^\n(]+\n", re.MULTILINE)


def program_of(task: Task, text: str) -> str | None:
    """Return the source to test, or None when the text holds none or is too long.

    ``text`` ends where the model's text ends: a rollout's holds nothing from its end-of-text token on.
    """
    written: str | None = text
    if task.completion == "fenced":
        block = _FENCED_BLOCK[task.language].search(text)
        written = None if block is None else block.group(1)
    elif task.completion != "continuation":
        written = _asserted_part(text, task)
    return None if written is None else whole_program(task, written)


def _asserted_part(text: str, task: Task) -> str | None:
    if len(text) > MAX_PROGRAM_CHARS:
        return None
    part: str | None = readers.ask("asserted_part", text, task.completion, task.entry_point)
    return part


def whole_program(task: Task, written: str) -> str | None:
    """Return what a model wrote between the prefix and the suffix of its task, or None when that is too long.

    The ``__future__`` imports of a ``fenced`` program go in front of the prefix: Python takes them nowhere else.
    """
    program = _in_place(task, written)
    return program if len(program) <= MAX_PROGRAM_CHARS else None


def _in_place(task: Task, written: str) -> str:
    first = ""
    if task.completion == "fenced" and task.prefix and "__future__" in written:
        first, written = "".join(_FUTURE_IMPORT.findall(written)), _FUTURE_IMPORT.sub("", written)
    return first + task.prefix + written + task.suffix


def reference_program(task: Task) -> str | None:
    """Return the task's own solution as a whole program, or None where it has none.

    The reference of a ``continuation`` task is a completion, as a model would write it; that of a ``fenced`` task
    is what would stand inside the fence, and that of an assertion one of its sides. All stand between the prefix
    and the suffix.
    """
    return None if task.reference is None else _in_place(task, task.reference)


def format_score(task: Task, text: str, program: str | None) -> float:
    """Grade the form of a completion, from 0 to 1; ``program`` is what :func:`program_of` finds in it.

    ``fenced``, as the released DiffuCoder code: 1 for exactly one block that opens with a line
    ```` ```python ````, parses once blanks around it are gone, and ends the text with its closing line; 0.5 if it
    does not parse, 0 for any other shape. Of any other completion: 1 if the program parses. What has a suffix
    behind it parses as a whole program. JavaScript is not parsed here: its shape alone counts.
    """
    if task.completion != "fenced":
        return float(program is not None and (task.language != "python" or parses(program)))
    if len(text) > MAX_PROGRAM_CHARS:
        return 0.0
    match = _WELL_FORMED[task.language].fullmatch(text)
    if match is None:
        return 0.0
    if task.language != "python":
        return 1.0
    return 1.0 if parses(program if program and task.suffix else match.group(1).strip()) else 0.5


def parses(source: str) -> bool:
    """Tell whether the text is Python syntax that the parser can handle."""
    return len(source) <= MAX_PROGRAM_CHARS and readers.ask("parses", source) is True
