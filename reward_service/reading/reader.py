"""The process that parses what models wrote: ``python -P -m reward_service.reading.reader SOCKET``.

The parser has no bounds of its own: 98 kB of ``import a.a.a...`` take it seconds and gigabytes, while it holds the
lock that all threads of a process wait for. Here each text has a budget; what exceeds it ends this process alone.
"""

from __future__ import annotations

import ast
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

from common.tasks.checks import UnusableTaskError, check_tests
from common.tasks.source import NotPythonError
from reward_service.assertions import asserted_part
from reward_service.reading.program_names import names_of
from reward_service.reading.serving import cpu_bounded, serve

#: CPU seconds for one text; the longest programs that are read take a tenth of that.
CPU_SECONDS = 2.0
#: For all tests of a task.
_TASK_CPU_SECONDS = 10.0
#: What the parser, and those who walk its trees, raise of text that they cannot handle.
_CANNOT = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


def parses(source: str) -> bool:
    """Tell whether the text is Python syntax. Raises what the parser does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ast.parse(source)
    return True


def program_names(source: str) -> dict[str, Any] | None:
    """Return the fields of :class:`ProgramNames`; None for what is not Python."""
    try:
        return asdict(names_of(source))
    except NotPythonError:
        return None


def task_problem(task: dict[str, Any]) -> str:
    """Say why the tests of a task cannot be run; empty where they can."""
    tests = [SimpleNamespace(**test) for test in task["tests"]]
    try:
        check_tests(SimpleNamespace(**task | {"tests": tests}))
    except UnusableTaskError as error:
        return str(error)
    return ""


#: By the name under which they are asked, with their CPU seconds. None answers a text that cannot be read.
QUESTIONS: dict[str, tuple[Callable[..., Any], float]] = {
    "parses": (parses, CPU_SECONDS),
    "asserted_part": (asserted_part, CPU_SECONDS),
    "program_names": (program_names, CPU_SECONDS),
    "task_problem": (task_problem, _TASK_CPU_SECONDS),
}


def answer(asked: bytes) -> Iterator[bytes]:
    """Answer one question, JSON in and out."""
    question, arguments = json.loads(asked)
    answered, seconds = QUESTIONS[question]
    try:
        with cpu_bounded(seconds):
            found = answered(*arguments)
    except _CANNOT:
        found = None
    yield json.dumps(found).encode("ascii")


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])), answer)
