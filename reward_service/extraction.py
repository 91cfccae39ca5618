"""Extract the program from a completion's text, and grade how well-formed that text is.

Everything here reads model-written text on the host and only ever parses it.
"""

from __future__ import annotations

import ast
import re
import warnings

from common.records import Task

MAX_PROGRAM_CHARS = 100_000
_FENCED_BLOCK = re.compile(r"```(?:python|py)[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
# The rule of the released DiffuCoder reward: one fenced block, and nothing after its closing line. That line may
# lack its newline here: the released code reads on behind the token that ends the text, where the newline is.
_WELL_FORMED = re.compile(r"(?:(?!```).)*```python\n((?:(?!```).)*)```\n?", re.DOTALL)


def program_of(task: Task, text: str) -> str | None:
    """Return the Python source to test, or None when the text holds none or is too long.

    ``text`` ends where the model's text ends: a rollout's holds nothing from its end-of-text token on.
    """
    if task.completion == "fenced":
        block = _FENCED_BLOCK.search(text)
        if block is None:
            return None
        text = block.group(1)
    program = task.prefix + text
    return program if len(program) <= MAX_PROGRAM_CHARS else None


def reference_program(task: Task) -> str | None:
    """Return the task's own solution as a whole program, or None where it has none.

    The reference of a ``continuation`` task is a completion, as a model would write it; that of a ``fenced`` task
    is what would stand inside the fence. Either follows the prefix.
    """
    return None if task.reference is None else task.prefix + task.reference


def format_score(task: Task, text: str, program: str | None) -> float:
    """Grade the form of a completion, from 0 to 1; ``program`` is what :func:`program_of` finds in it.

    ``continuation``: 1 if the program parses. ``fenced``, as the released DiffuCoder code: 1 for exactly one block
    that opens with a line ```` ```python ````, parses once blanks around it are gone, and ends the text with its
    closing line; 0.5 if it does not parse, 0 for any other shape.
    """
    if task.completion == "continuation":
        return float(program is not None and parses(program))
    if len(text) > MAX_PROGRAM_CHARS:
        return 0.0
    match = _WELL_FORMED.fullmatch(text)
    if match is None:
        return 0.0
    return 1.0 if parses(match.group(1).strip()) else 0.5


def parses(source: str) -> bool:
    """Tell whether the text is Python syntax that the parser can handle."""
    if len(source) > MAX_PROGRAM_CHARS:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True
