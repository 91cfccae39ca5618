"""HumanEval-Infilling rows: a program with a gap, and ``check(candidate)`` (arXiv 2207.14255)."""

from __future__ import annotations

import textwrap

from common.records import Task
from common.tasks.humaneval import tests_of_check
from common.tasks.rows import ParsedRow, TaskRow
from common.tasks.source import NotPythonError, parse, without_function

_SHOWN_FIRST = "# The program ends like this:\n{}#\n# And it begins like this:\n"


def humaneval_infilling_task(row: TaskRow) -> ParsedRow:
    """Make a gap to fill in: ``prompt`` and ``suffix`` stand around the completion.

    A model that only continues gets to see the suffix as well, as a comment in front: the paper's order of
    suffix, prefix, middle, without its special tokens. The tests run after all that the program defines but the
    entry point.
    """
    prefix, suffix = row.required_text("prompt"), row.text("suffix") or ""
    entry_point, test = row.required_text("entry_point"), row.required_text("test")
    middle = row.text("canonical_solution") or ""  # a random span may be empty
    try:
        helpers = without_function(entry_point, prefix + middle + suffix)
    except NotPythonError as error:
        raise row.error("canonical_solution", f"is {error}, between prompt and suffix; mend it") from error
    try:
        parse(test)
    except NotPythonError as error:
        raise row.error("test", f"is {error}; mend it") from error
    ending = textwrap.indent(suffix.strip("\n") + "\n", "# ", lambda _: True) if suffix.strip() else ""
    task = Task(
        id=row.identifier(),
        family="humaneval-infilling",
        prompt=(_SHOWN_FIRST.format(ending) if ending else "") + prefix,
        prefix=prefix,
        suffix=suffix,
        completion="continuation",
        entry_point=entry_point,
        tests=tests_of_check(row, test, entry_point),
        test_setup=f"{helpers}\n{test.strip()}\n",
        exports=(entry_point,),
        reference=middle,
    )
    return ParsedRow(task)
