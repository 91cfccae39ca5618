"""AceCode and MBPP rows: a question and a list of asserts.

They become ``fenced`` tasks whose prompt shows the first assert, as in the DiffuCoder recipe, unless the question
shows code in a fenced block already. Imports and set-up code go to ``prefix``, so that they run before the
solution; set-up code that uses names of the solution goes in front of every test instead.
"""

from __future__ import annotations

from common.records import Task
from common.tasks.asserts import AssertLine, UnusableTestError, read_assert
from common.tasks.conversations import asked
from common.tasks.exports import exports_of, needs_solution, test_imports
from common.tasks.rephrasing import is_rephrased, shows_code
from common.tasks.rows import ParsedRow, SkippedRowError, TaskRow
from common.tasks.source import NotPythonError, Source, read_source

_QUESTION_FIELDS = ("question", "text", "prompt")
_TEST_FIELDS = ("test_list", "test_cases")
_REFERENCE_FIELDS = ("reference", "code")


def assert_task(row: TaskRow) -> ParsedRow:
    """Make a chat question, which shows the first test that can be used or else a fenced block of its own.

    A question that was re-phrased (:mod:`common.tasks.rephrasing`) shares its row's id with the original one, so
    its task's id is told apart by its ending, ``/rephrased``.
    """
    question = asked(row, *_QUESTION_FIELDS)
    lines = row.strings(*_TEST_FIELDS)
    if not lines:
        name = row.name_of(*_TEST_FIELDS) or _TEST_FIELDS[0]
        raise row.error(name, f"is missing or empty; give one of {', '.join(_TEST_FIELDS)}, one assert at least")
    lines = [*lines, *row.strings("challenge_test_list")]
    prefix = "\n".join([*row.strings("test_imports"), row.text("test_setup_code") or ""]).strip()
    setup = _read(row, "test_setup_code", prefix)
    reference = row.text(*_REFERENCE_FIELDS)
    solution = None if reference is None else _read(row, row.name_of(*_REFERENCE_FIELDS) or "", reference)
    entry_point = row.text("entry_point") or None
    in_front = ""
    if needs_solution(setup):
        prefix, in_front, setup = "", f"{prefix}\n", read_source("")

    left_out: list[str] = []
    readable: list[tuple[int, AssertLine]] = []
    for number, line in enumerate(lines, start=1):
        try:
            readable.append((number, read_assert(line, in_front)))
        except UnusableTestError as error:
            left_out.append(f"test {number}: {error}")
    asserts = [test for _, test in readable]
    exports = exports_of(asserts, entry_point=entry_point, setup=setup, reference=solution)
    shown, scripts, tests = "", [], []
    for number, test in readable:
        try:
            tests.append(test.test_case(exports))
        except UnusableTestError as error:
            left_out.append(f"test {number}: {error}")
            continue
        shown = shown or lines[number - 1].strip()
        if tests[-1].kind == "script":
            scripts.append(test)
    if not tests:
        raise SkippedRowError(f"no test can be used; {left_out[0]}")
    imports = test_imports(scripts, exports, setup, solution) if scripts else ()
    with_test = not shows_code(question)
    task = Task(
        id=row.identifier() + ("/rephrased" if is_rephrased(question) else ""),
        family=row.text("source") or "",
        prompt=f"{question}\nTest cases: {shown}" if with_test else question,
        prefix=prefix + "\n" if prefix else "",
        completion="fenced",
        entry_point=entry_point,
        tests=tuple(tests),
        test_setup="".join(f"{line}\n" for line in imports),
        exports=exports,
        shown_tests=int(with_test),
        reference=reference,
    )
    return ParsedRow(task, tuple(left_out))


def _read(row: TaskRow, field: str, text: str) -> Source:
    try:
        return read_source(text)
    except NotPythonError as error:
        raise row.error(field, f"is {error}; mend it, or leave the field out") from error
