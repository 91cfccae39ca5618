"""CRUXEval rows: a function, an input and its output, of which a model is to give one."""

from __future__ import annotations

import ast
from typing import Literal

from common.records import Task, TestCase
from common.tasks.rows import ParsedRow, TaskRow
from common.tasks.source import NotPythonError, check_expression, is_literal_source, parse

_FUNCTION = "f"
_EXAMPLES = (
    ("def f(a, b):\n    return a * b", "'ab', 2", "'abab'"),
    ("def f(numbers):\n    return numbers[::-1]", "[4, 1]", "[1, 4]"),
)
_WORDING = {
    "output": (
        "Below is a Python function and an assertion that calls it. Work out what the call returns, whether or "
        "not the function does what it seems meant for, and give the whole assertion with this value, a literal, "
        "in place of ??. Put it between [ANSWER] and [/ANSWER], and write nothing else."
    ),
    "input": (
        "Below is a Python function and an assertion about what it returns. Find arguments for which the "
        "assertion holds; any will do. Give the whole assertion with them in place of ??. Put it between [ANSWER] "
        "and [/ANSWER], and write nothing else."
    ),
}


def cruxeval_task(row: TaskRow, *, wanted: Literal["input", "output"]) -> ParsedRow:
    """Make a question whose answer is an assertion; what is tested is its value or, of a wanted input, its call.

    Two examples come before it. The function runs with the arguments that an answer gives. A value is computed
    without it, so that it cannot ask the function.
    """
    code = row.required_text("code").rstrip()
    given, output = row.text("input"), row.required_text("output")
    if given is None:
        raise row.error("input", "is missing; give the arguments of the call, as source")
    _check(row, "code", code)
    call = f"{_FUNCTION}({given})"
    for field, source in (("input", call), ("output", output)):
        try:
            check_expression(source)
        except NotPythonError as error:
            raise row.error(field, f"is {error}; write it as Python source") from error
    expected = output if is_literal_source(output) else None
    task = Task(
        id=row.identifier(),
        family=f"cruxeval-{wanted[0]}",
        prompt=_prompt(wanted, code, given, output),
        prefix="answer = " if wanted == "output" else f"{code}\n\nanswer = ",
        completion="asserted_value" if wanted == "output" else "asserted_call",
        entry_point=_FUNCTION,
        tests=(TestCase(call="answer", expected=expected),),
        exports=("answer",),
        reference=output if wanted == "output" else call,
    )
    return ParsedRow(task)


def _check(row: TaskRow, field: str, code: str) -> None:
    try:
        body = parse(code).body
    except NotPythonError as error:
        raise row.error(field, f"is {error}; mend it") from error
    if not any(isinstance(node, ast.FunctionDef) and node.name == _FUNCTION for node in body):
        raise row.error(field, f"defines no function {_FUNCTION}; define it")


def _prompt(wanted: str, code: str, given: str, output: str) -> str:
    examples = [
        f"{_asked(wanted, *example)}\nassert {_FUNCTION}({example[1]}) == {example[2]}\n[/ANSWER]"
        for example in _EXAMPLES
    ]
    return "\n\n".join([_WORDING[wanted], *examples, f"{_asked(wanted, code, given, output)}\n"])


def _asked(wanted: str, code: str, given: str, output: str) -> str:
    asked = f"{_FUNCTION}({given}) == ??" if wanted == "output" else f"{_FUNCTION}(??) == {output}"
    return f"[PYTHON]\n{code}\nassert {asked}\n[/PYTHON]\n[ANSWER]"
