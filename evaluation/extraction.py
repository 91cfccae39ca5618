"""How an evaluation finds the program in an answer; stated in its settings, since scores depend on it.

Everything here reads model-written text on the host and only ever parses it.
"""

from __future__ import annotations

import ast
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from common.config import Section
from common.records import Task
from reward_service.extraction import MAX_PROGRAM_CHARS, parses, program_of, whole_program

# Possessive throughout: to backtrack in a long line takes quadratic time.
_OPENING = re.compile(
    r"""
    (?:
        ^(?P<indent>[ \t]*+)  # a fence has a line of its own,
        | (?<=[ \t:>])(?=```[ \t]*+\r?$)  # or ends a line of prose,
        | (?<=[^\n`])(?=```[ \t]*+[A-Za-z][\w+-]*+[ \t]*+\r?$)  # behind whatever if it names a language
    )
    (?P<marks>`{3,}+|~{3,}+)[ \t]*+(?P<language>[^\s`]*+)[^\n`]*+$
    """,
    re.MULTILINE | re.VERBOSE,
)
# Bounds of what is tried on an answer, which may be hostile.
_MAX_CLOSINGS, _MAX_LINES, _MAX_PARSES = 20, 1000, 1000
_MAX_GAP_PARSES = 100


class Extraction(Section):
    """The rule by which the program to test is taken out of an answer."""

    rule: Literal["lenient", "reward"] = "lenient"
    """``reward``: as the reward of training, which reads a block only if its fence says Python. ``lenient``: a
    block of any fence, those that say Python before others, or without a fence the lines that make a program; of
    other languages than Python, the same as ``reward``."""
    block: Literal["first", "last"] = "first"
    """Which of several blocks the lenient rule takes."""
    trimmed: bool = False
    """Cut what a model continues behind the last line up to which it is a program."""

    def program(self, task: Task, text: str) -> str | None:
        """Return the Python source to test, or None when the answer holds none or is too long."""
        if len(text) > MAX_PROGRAM_CHARS:
            return None
        if task.language != "python":  # lenience is to look for what parses
            return program_of(task, text)
        if task.completion == "fenced" and self.rule == "lenient":
            written = self._answered(task, text)
        elif task.completion == "continuation" and self.trimmed:
            written = _continued(task, text)
        else:
            return program_of(task, text)
        return None if written is None else whole_program(task, written)

    def _answered(self, task: Task, text: str) -> str | None:
        blocks = blocks_of(text)
        if not blocks or _holds_code(task, text):  # in a program, fences are a part of its strings
            return lines_of_program(task, text)
        filled = [block for block in blocks if block.source.strip()]
        python = [block for block in filled if block.language.startswith("py")]
        code = [block for block in filled if _holds_code(task, block.source)]
        beside = None if python or code else lines_of_program(task, text)  # as before a fence that only closes
        found = python or code or filled
        if beside is not None or not found:
            return beside
        chosen = found[0 if self.block == "first" else -1]
        return chosen.source if chosen.closed else _trimmed(task, chosen.source) or chosen.source


@dataclass(frozen=True)
class Block:
    """A fenced block of a text. ``language``: the word behind its opening fence, in lower case.

    ``closed``: a fence ends it, not the end of the text.
    """

    language: str
    source: str
    closed: bool


def blocks_of(text: str) -> list[Block]:
    """List the fenced blocks of a text, in their order.

    A block ends at the first closing fence with which it is a program, since a docstring may show fences, or else
    at the first of all. A closing fence may end a line of code. A fence that is indented, as in a list, indents
    its block.
    """
    found, place = [], 0
    while (opening := _OPENING.search(text, place)) is not None:
        begin = min(opening.end() + 1, len(text))
        closings = islice(re.finditer(re.escape(opening["marks"]), text[begin:]), _MAX_CLOSINGS)
        ends = [begin + closing.start() for closing in closings] or [len(text)]
        sources = [_outdented(text[begin:end], opening["indent"] or "") for end in ends]
        number = next((number for number, source in enumerate(sources) if parses(source)), 0)
        found.append(Block(opening["language"].lower(), sources[number], closed=ends[number] < len(text)))
        place = ends[number] + len(opening["marks"])
    return found


def _outdented(source: str, indent: str) -> str:
    return "".join(line.removeprefix(indent) for line in _lines(source)) if indent else source


def lines_of_program(task: Task, text: str) -> str | None:
    """Return the lines of a text without fences that make a program, None where none do.

    Of several places, one that defines the entry point goes before others, and then the longest.
    """
    found = [source for source in _programs(task.prefix, text) if _holds_code(task, source)]
    name = re.escape(str(task.entry_point))
    entry_point = re.compile(rf"^(?:async[ \t]+)?(?:def|class)[ \t]+{name}\b", re.MULTILINE)
    return max(found, key=lambda source: (bool(entry_point.search(source)), len(source)), default=None)


def _continued(task: Task, text: str) -> str:
    if _OPENING.match(text.lstrip()):
        text = blocks_of(text)[0].source
    return _trimmed(task, text)


def _trimmed(task: Task, text: str) -> str:
    lines = _lines(text)
    if task.suffix:  # a mistake shows behind the gap, so there is no line to go back to
        ends = range(len(lines), max(0, len(lines) - _MAX_GAP_PARSES), -1)
        fitting = (end for end in ends if parses(task.prefix + "".join(lines[:end]) + task.suffix))
        return "".join(lines[: next(fitting, 0)])
    return "".join(lines[: _end_of_program(task.prefix, lines, range(_MAX_PARSES))])


def _programs(prefix: str, text: str) -> Iterator[str]:
    """Yield the places of a text that are programs behind the prefix, each as long as can be."""
    lines = _lines(text)[:_MAX_LINES]
    parses_left = iter(range(_MAX_PARSES))
    start = 0
    while start < len(lines):
        end = _end_of_program(prefix, lines[start:], parses_left) if lines[start].strip() else 0
        if end:
            yield "".join(lines[start : start + end])
        start += max(end, 1)


def _lines(text: str) -> list[str]:
    """Split into the lines that the parser counts; ``str.splitlines`` ends them at form feeds and others too."""
    return list(io.StringIO(text, newline=""))


def _end_of_program(prefix: str, lines: Sequence[str], parses_left: Iterable[int]) -> int:
    """Count the lines, from the first, that are a program behind the prefix; 0 where no parse is left."""
    end, before = len(lines), prefix.count("\n")
    for _ in parses_left:
        wrong = _wrong_line(prefix + "".join(lines[:end]))
        if wrong is None or end == 0:
            return end
        end = max(0, min(end - 1, wrong - 1 - before))
    return 0


def _wrong_line(source: str) -> int | None:
    """Return the line, from 1, at which the parser gives up; None for a program."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return 1
    return None


def _holds_code(task: Task, source: str) -> bool:
    """Tell whether a source has a statement that is more than what prose passes for: a word, ``Note: this``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return bool(task.prefix) and parses(task.prefix + source)
    return any(_does_something(statement) for statement in body)


def _does_something(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=value):
            return isinstance(value, ast.Call | ast.Await)
        case ast.AnnAssign(value=value):
            return value is not None
        case _:
            return True
