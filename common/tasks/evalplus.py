"""HumanEval+ and MBPP+ rows: inputs, and a solution that gives the outputs.

Outputs are compared as EvalPlus does, with three differences: numbers inside nested containers are compared up to
the tolerance too, ``Mbpp/164`` is compared at all (EvalPlus takes every answer), and inputs whose call takes more
than :data:`common.tasks.literals.MAX_CALL_CHARS` are left out.
"""

from __future__ import annotations

import ast
import inspect
import json
from typing import Any

from common.records import Comparison, Task, TestCase
from common.tasks.literals import MAX_CALL_CHARS, source_of
from common.tasks.mbpp_plus_inputs import typed_arguments
from common.tasks.rows import ParsedRow, SkippedRowError, TaskRow
from common.tasks.source import NotPythonError, parse

_FLOAT_TOLERANCE = 1e-6
# MBPP+ problems whose order and repetitions are left open, and those where anything but None says yes.
_AS_SET = "similar_elements find_char_long common_in_nested_lists extract_singly larg_nnum intersection_array"
_AS_SETS = frozenset(f"{_AS_SET} find_dissimilar Diff".split())
_YES_OR_NO = frozenset({"check_str", "text_match_three", "text_starta_endb"})
_SAYS_YES = "(lambda answer: answer is not None and answer is not False)({call})"
# MBPP+ problems whose text can be read in two ways: the value that the other way gives.
_OTHER_READINGS = {
    "sum_div": "def other_reading(number):\n    return 0\n",
    "surface_Area": (
        "def other_reading(edge, height):\n"
        "    slant = ((edge / 2) ** 2 + height**2) ** 0.5\n"
        "    return round(edge**2 + 2 * edge * slant)\n"
    ),
    "digit_distance_nums": (
        "def other_reading(first, second):\n"
        "    digits = max(len(str(first)), len(str(second)))\n"
        "    pairs = zip(str(first).zfill(digits), str(second).zfill(digits))\n"
        "    return sum(abs(int(a) - int(b)) for a, b in pairs)\n"
    ),
}


def humaneval_plus_task(row: TaskRow, *, plus: bool = True) -> ParsedRow:
    """Make a prompt to continue. ``plus``: with the inputs that EvalPlus added."""
    prompt, entry_point = row.required_text("prompt"), row.required_text("entry_point")
    reference = row.required_text("canonical_solution")
    _check(row, prompt + reference)
    inputs, left_out = _inputs(row, _arguments(row, plus))
    tolerance = _tolerance(row)
    if entry_point == "find_zero":
        # Any zero will do; the prompt has the polynomial.
        scripts = [f"assert abs(poly({given}, {entry_point}({given}))) <= {tolerance}" for given in inputs]
        tests = [TestCase(kind="script", script=script) for script in scripts]
    else:
        tests = [_call(f"{entry_point}({given})", "close", tolerance) for given in inputs]
    task = Task(
        id=row.identifier(),
        family="humaneval+" if plus else "humaneval",
        prompt=prompt,
        prefix=prompt,
        completion="continuation",
        entry_point=entry_point,
        tests=tuple(tests),
        test_setup=prompt.rstrip() + "\n" if entry_point == "find_zero" else "",
        exports=(entry_point,),
        reference=reference,
    )
    return ParsedRow(task, left_out)


def mbpp_plus_task(row: TaskRow, *, plus: bool = True) -> ParsedRow:
    """Make a chat question: the text of the prompt's docstring, whose example becomes the first test."""
    prompt, entry_point = _docstring(row.required_text("prompt")), row.required_text("entry_point")
    reference = row.required_text("canonical_solution")
    _check(row, reference)
    arguments = _arguments(row, plus)
    shown = _shown(prompt, entry_point, arguments)
    if shown is not None:
        arguments.insert(0, arguments.pop(shown))
    try:
        typed = [typed_arguments(row.identifier(), given) for given in arguments]
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise row.error("base_input", f"is not what MBPP+ has for this task ({error}); restore it") from error
    inputs, left_out = _inputs(row, typed)
    tolerance = _tolerance(row)
    setup = ""
    if entry_point in _OTHER_READINGS:
        setup = f"{reference}\nreference = {entry_point}\n\n{_OTHER_READINGS[entry_point]}"
        check = f"assert {entry_point}({{0}}) in (reference({{0}}), other_reading({{0}}))"
        tests = [TestCase(kind="script", script=check.format(given)) for given in inputs]
    elif entry_point in _AS_SETS:
        tests = [_call(f"{entry_point}({given})", "as_set", 0.0) for given in inputs]
    elif entry_point in _YES_OR_NO:
        calls = [_SAYS_YES.format(call=f"{entry_point}({given})") for given in inputs]
        tests = [_call(call, "equal", 0.0) for call in calls]
    else:
        tests = [_call(f"{entry_point}({given})", "close", tolerance) for given in inputs]
    task = Task(
        id=row.identifier(),
        family="mbpp+" if plus else "mbpp",
        prompt=prompt,
        completion="fenced",
        entry_point=entry_point,
        tests=tuple(tests),
        test_setup=setup,
        exports=(entry_point,),
        shown_tests=int(shown is not None),
        reference=reference,
    )
    return ParsedRow(task, left_out)


def _call(call: str, comparison: Comparison, tolerance: float) -> TestCase:
    return TestCase(call=call, comparison=comparison, tolerance=tolerance)


def _check(row: TaskRow, program: str) -> None:
    try:
        parse(program)
    except NotPythonError as error:
        raise row.error("canonical_solution", f"is, after the prompt, {error}; mend it") from error


def _tolerance(row: TaskRow) -> float:
    value = row.fields.get("atol", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise row.error("atol", "is not a number from 0 up; make it one")
    return float(value) or _FLOAT_TOLERANCE


def _arguments(row: TaskRow, plus: bool) -> list[list[Any]]:
    found = []
    for name in ("base_input", "plus_input")[: 1 + plus]:
        value = row.fields.get(name)
        if isinstance(value, str):  # columns of a Parquet file cannot hold lists of anything
            try:
                value = json.loads(value)
            except ValueError as error:
                raise row.error(name, f"is not JSON ({error}); write a list of argument lists") from error
        if value is None or value == {}:  # what the release has for no inputs
            value = []
        if not isinstance(value, list) or not all(isinstance(given, list) for given in value):
            raise row.error(name, "is not a list of argument lists; make it one")
        found += value
    if not found:
        raise row.error("base_input", "is missing or empty; give one list of arguments at least")
    return found


def _inputs(row: TaskRow, arguments: list[list[Any]]) -> tuple[list[str], tuple[str, ...]]:
    """Write arguments as the source between the parentheses of a call; return also what was left out."""
    kept, left_out = [], []
    for number, given in enumerate(arguments, start=1):
        source = ", ".join(map(source_of, given))
        if len(source) > MAX_CALL_CHARS:
            left_out.append(f"test {number}: its call takes {len(source):,} characters, over {MAX_CALL_CHARS:,}")
        else:
            kept.append(source)
    if not kept:
        raise SkippedRowError(f"no test can be used; {left_out[0]}")
    return kept, tuple(left_out)


def _docstring(prompt: str) -> str:
    try:
        body = parse(prompt.strip()).body
    except NotPythonError:
        return prompt
    docstring = ast.get_docstring(ast.Module(body, []), clean=False)
    return prompt if docstring is None else inspect.cleandoc(docstring)


def _shown(prompt: str, entry_point: str, arguments: list[list[Any]]) -> int | None:
    """Return which of the inputs the prompt's assert has, if any."""
    lines = [line for line in prompt.splitlines() if line.startswith("assert ")]
    try:
        nodes = list(ast.walk(parse("\n".join(lines))))
        calls = [node for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == entry_point]
        shown = [_json_like([ast.literal_eval(argument) for argument in call.args]) for call in calls]
    except (NotPythonError, ValueError, TypeError):
        return None
    return next((arguments.index(given) for given in shown if given in arguments), None)


def _json_like(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_json_like(item) for item in value]
    if isinstance(value, dict):
        return {key: _json_like(item) for key, item in value.items()}
    return value
