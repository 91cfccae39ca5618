"""A forgery: a wrong program, and the task whose tests it wants to pass."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace

from common.language import Language
from common.records import Task, TestCase, Verdict
from sandbox.types import Sandbox
from tests.sandbox.judged import criteria, verdicts


@dataclass(frozen=True)
class Forged:
    """A wrong program for a task whose reference is right. ``refused``: the reference may not pass either."""

    name: str
    task: Task
    wrong: str
    refused: bool = False


def scripted(
    name: str, exports: str, script: str, reference: str, wrong: str, *, refused: bool = False, setup: str = ""
) -> Forged:
    """Make a task of one script, or of two that use what the set-up leaves."""
    tests = (TestCase(kind="script", script=script.strip()),) * (2 if setup else 1)
    names = tuple(exports.split())
    task = Task(id=name, prompt=name, tests=tests, test_setup=setup, exports=names, reference=reference)
    return Forged(name, task, wrong, refused)


def called(name: str, expected: str, comparison: str, wrong: str, tolerance: float = 1e-6) -> Forged:
    test = TestCase(call="f()", expected=expected, comparison=comparison, tolerance=tolerance)
    task = Task(id=name, prompt=name, tests=(test,), reference=f"def f():\n    return {expected}\n")
    return Forged(name, task, f"def f():\n    return {wrong}\n")


def printed(name: str, expected: str, comparison: str, wrong: str) -> Forged:
    test = TestCase(kind="stdin", stdin="", expected=expected, comparison=comparison, tolerance=1e-6)
    task = Task(id=name, prompt=name, tests=(test,), reference=f"print({expected!r})\n")
    return Forged(name, task, f"print({wrong!r})\n")


def called_by(name: str, expected: str, comparison: str, program: str) -> Forged:
    """Make a task whose answer is ``f()`` of a whole program."""
    return replace(called(name, expected, comparison, "None"), wrong=program)


def filed(name: str, expected: str, comparison: str, wrong: str) -> Forged:
    """Make a task that asks for a file."""
    test = TestCase(
        kind="stdin", expected="", expected_files={"out.txt": expected}, comparison=comparison, tolerance=1e-6
    )
    program = "with open('out.txt', 'w') as file:\n    file.write({!r})\n"
    task = Task(id=name, prompt=name, tests=(test,), reference=program.format(expected))
    return Forged(name, task, program.format(wrong))


def printed_in(language: Language, name: str, expected: str, reference: str, wrong: str) -> Forged:
    """Make a task that asks for a line, in another language than Python."""
    test = TestCase(kind="stdin", expected=expected, comparison="close", tolerance=1e-6)
    task = Task(id=name, prompt=name, tests=(test,), reference=reference, language=language)
    return Forged(name, task, wrong)


#: How the asserts of a task may be put: one after the other, in a method of unittest's, in a function.
STYLES = {
    "asserts": "{script}",
    "unittest": (
        "import unittest\nclass Checks(unittest.TestCase):\n    def test(self):\n{indented}\n"
        "unittest.TestSuite([Checks('test')]).debug()"
    ),
    "function": "def check():\n{indented}\ncheck()",
}


def in_style(forged: Forged, style: str) -> Forged:
    """Put the scripts of a task in another style; other tests stay as they are."""
    if style == "asserts" or any(test.kind != "script" for test in forged.task.tests):
        return forged
    tests = tuple(
        test.model_copy(
            update={
                "script": STYLES[style].format(
                    indented=textwrap.indent(test.script, "        " if style == "unittest" else "    ")
                )
            }
        )
        for test in forged.task.tests
    )
    return replace(forged, name=f"{style}: {forged.name}", task=forged.task.model_copy(update={"tests": tests}))


def complaint(sandbox: Sandbox, forged: Forged) -> str:
    """Say what is wrong with how a forgery was judged; empty where it failed and its reference passed."""
    right = criteria(sandbox, forged.task)
    of_reference = verdicts(sandbox, forged.task.reference or "", forged.task, right)
    if (set(of_reference) == {Verdict.PASSED}) is forged.refused:
        return f"{forged.name}: the reference ends {of_reference}"
    found = verdicts(sandbox, forged.wrong, forged.task, right)
    return f"{forged.name}: {found}" if {Verdict.PASSED, Verdict.INFRA} & set(found) else ""
