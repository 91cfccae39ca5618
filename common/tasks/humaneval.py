"""HumanEval rows: a prompt to continue, and ``check(candidate)``."""

from __future__ import annotations

import ast

from common.records import Task, TestCase
from common.tasks.asserts import is_literal
from common.tasks.rows import ParsedRow, TaskRow
from common.tasks.source import NotPythonError, parse, read_source


def humaneval_task(row: TaskRow) -> ParsedRow:
    """Make a prompt to continue.

    The tests run after the prompt, whose helpers they may use, and ``test``; of the solution they get the entry
    point only.
    """
    prompt, entry_point = row.required_text("prompt"), row.required_text("entry_point")
    reference, test = row.required_text("canonical_solution"), row.required_text("test")
    stub = prompt.rstrip() + "\n"
    for field, text in (("prompt", stub), ("canonical_solution", prompt + reference), ("test", test)):
        try:
            parse(text)
        except NotPythonError as error:
            raise row.error(field, f"is {error}; mend it") from error
    task = Task(
        id=row.identifier(),
        family="humaneval",
        prompt=prompt,
        prefix=prompt,
        completion="continuation",
        entry_point=entry_point,
        tests=tests_of_check(row, test, entry_point),
        test_setup=f"{stub}\n{test.strip()}\n",
        exports=(entry_point,),
        reference=reference,
    )
    return ParsedRow(task)


def tests_of_check(row: TaskRow, test: str, entry_point: str) -> tuple[TestCase, ...]:
    """Make a test of each statement of ``check`` that asserts something, after those before it that do not.

    Where ``check`` is not such a list, all of it is one test.
    """
    checks = [node for node in parse(test).body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if not checks or len(checks[-1].args.args) != 1:
        raise row.error("test", "defines no check(candidate); define it")
    check = checks[-1]
    scripts = _split(check, entry_point) or [f"check({entry_point})"]
    return tuple(TestCase(kind="script", script=script) for script in scripts)


def _split(check: ast.FunctionDef, entry_point: str) -> list[str]:
    """Split a check into tests.

    There are none where a statement needs what one with asserts in it leaves behind, or the function around it.
    """
    given, scripts = [f"{check.args.args[0].arg} = {entry_point}"], []
    elsewhere = frozenset[str]()
    for statement in check.body:
        try:
            source = read_source(ast.unparse(statement))
        except NotPythonError:
            return []
        if source.free & elsewhere:
            return []
        if not any(isinstance(node, ast.Assert) for node in ast.walk(statement)):
            given.append(source.text)
        elif not (isinstance(statement, ast.Assert) and is_literal(statement.test)):
            scripts.append("\n".join([*given, source.text]))
            elsewhere |= source.bound
    return scripts
