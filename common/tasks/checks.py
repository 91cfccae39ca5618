"""Whether a task's tests are ones that can be run: the same check wherever a task comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from common.tasks.source import NotPythonError, check_expression, is_literal_source, parse

_PRINTED = ("equal", "close", "contest", "contest_item")
_WITH_TOLERANCE = ("close", "contest", "contest_item")
_UNITTEST_MAIN = re.compile(r"^[ \t]*unittest\.main\(", re.MULTILINE)


class _Test(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def call(self) -> str: ...
    @property
    def stdin(self) -> str: ...
    @property
    def script(self) -> str: ...
    @property
    def expected(self) -> str | None: ...
    @property
    def comparison(self) -> str: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def files(self) -> Mapping[str, str]: ...
    @property
    def expected_files(self) -> Mapping[str, str]: ...


class Tested(Protocol):
    """What of a :class:`common.records.Task` is checked."""

    @property
    def tests(self) -> Sequence[_Test]: ...
    @property
    def test_setup(self) -> str: ...
    @property
    def exports(self) -> Sequence[str]: ...
    @property
    def in_process(self) -> bool: ...
    @property
    def shown_tests(self) -> int: ...
    @property
    def reference(self) -> str | None: ...
    @property
    def completion(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    @property
    def language(self) -> str: ...


class UnusableTaskError(ValueError):
    """A task whose tests cannot be run; ``field`` names what is wrong, and ``problem`` says it with the remedy."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def check_tests(task: Tested) -> None:
    """Raise UnusableTaskError where the tests of a task cannot be run, whatever a model answers."""
    if not task.tests:
        raise UnusableTaskError("tests", "is empty; a task needs at least one test")
    if task.shown_tests > len(task.tests):
        raise UnusableTaskError(
            "shown_tests", f"is {task.shown_tests} of {len(task.tests)} tests; show no more than there are"
        )
    if task.suffix and task.completion.startswith("asserted"):
        raise UnusableTaskError("suffix", f"does not go with completion {task.completion}; leave it out")
    if task.language != "python":
        _check_other_language(task)
    for number, test in enumerate(task.tests):
        _check_test(f"tests.{number}", test, has_reference=task.reference is not None)
    if task.test_setup:
        _check_python("test_setup", task.test_setup, "leave it out")
    for name in task.exports:
        if not name.isidentifier():
            raise UnusableTaskError("exports", f"{name!r} is no name; list names that the solution defines")
    if any(test.kind == "script" for test in task.tests) and not task.exports and not task.in_process:
        raise UnusableTaskError("exports", "is empty; list the names of the solution that the scripts use")


def _check_other_language(task: Tested) -> None:
    """Only what a program prints is asked of those that are not in Python."""
    if task.completion.startswith("asserted"):
        raise UnusableTaskError("completion", f"{task.completion} is for Python; write fenced or continuation")
    for number, test in enumerate(task.tests):
        name = f"tests.{number}"
        if test.kind != "stdin":
            raise UnusableTaskError(
                f"{name}.kind", f"{test.kind} is for Python; {task.language} has stdin tests only"
            )


def _check_test(name: str, test: _Test, *, has_reference: bool) -> None:
    _check_unused(name, test)
    if test.kind == "script":
        _check_python(f"{name}.script", test.script, "give the test's source")
        if _UNITTEST_MAIN.search(test.script):
            raise UnusableTaskError(
                f"{name}.script",
                "calls unittest.main, which ends the process; "
                "write unittest.TestSuite([MyTest('test_it')]).debug()",
            )
        if test.files or test.expected_files:
            raise UnusableTaskError(
                f"{name}.files", "goes with call and stdin; let the script write what it needs"
            )
        return
    if test.kind == "call":
        _check_python(f"{name}.call", test.call, "give the expression to evaluate")
    if test.expected is None and not has_reference:
        raise UnusableTaskError(
            f"{name}.expected", "is missing; give it, or give the task a reference to take it from"
        )
    if test.kind == "call" and test.expected is not None and not is_literal_source(test.expected):
        raise UnusableTaskError(f"{name}.expected", "is not a Python literal; write the value out")


def _check_unused(name: str, test: _Test) -> None:
    """Refuse what a test of this kind would not look at: whoever wrote it believes that it is tested."""
    given = {
        "call": test.call,
        "stdin": test.stdin,
        "script": test.script,
        "expected": "" if test.expected is None else "given",
        "comparison": "" if test.comparison == "equal" else test.comparison,
        "tolerance": "given" if test.tolerance else "",
    }
    others = {"call", "stdin", "script"} - {test.kind}
    if test.kind == "script":
        others |= {"expected", "comparison", "tolerance"}
    for field in sorted(others):
        if given[field]:
            owner = field if field in ("call", "stdin", "script") else "call and stdin"
            raise UnusableTaskError(
                f"{name}.{field}", f"is of {owner} tests, and kind is {test.kind}; leave it out or change the kind"
            )
    if test.kind == "stdin" and test.comparison not in _PRINTED:
        raise UnusableTaskError(
            f"{name}.comparison", f"{test.comparison} is for call; stdin has {', '.join(_PRINTED)}"
        )
    if test.tolerance and test.comparison not in _WITH_TOLERANCE:
        raise UnusableTaskError(f"{name}.tolerance", "is for comparison close; write that too, or leave it out")


def _check_python(field: str, text: str, remedy: str) -> None:
    if not text.strip():
        raise UnusableTaskError(field, f"is empty; {remedy}")
    try:
        if field.endswith(".call"):
            check_expression(text)
        else:
            parse(text)
    except NotPythonError as error:
        raise UnusableTaskError(field, f"is {error}; mend it") from error
