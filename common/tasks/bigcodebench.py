"""BigCodeBench rows: a function that uses libraries, and unittest classes."""

from __future__ import annotations

import ast

from common.records import Task, TestCase
from common.tasks.rows import ParsedRow, SkippedRowError, TaskRow
from common.tasks.source import NotPythonError, import_statements, parse, without_function


def bigcodebench_task(row: TaskRow, *, instruct: bool = False) -> ParsedRow:
    """Make a task of the ``complete`` form, whose prompt is continued, or the ``instruct`` form, a chat question.

    Every test method is one script. Tests run after all of ``code_prompt`` but the function itself, so that they
    get nothing but this from the solution. Those that patch objects need the solution's very process.
    """
    entry_point, test = row.required_text("entry_point"), row.required_text("test")
    code, body = row.required_text("code_prompt"), row.required_text("canonical_solution")
    complete = row.required_text("complete_prompt")
    tree = _parse(row, "test", test)
    _parse(row, "canonical_solution", code + body)
    _parse(row, "complete_prompt", complete + body)
    methods = _test_methods(tree)
    if not methods:
        raise SkippedRowError("no test can be used; test has no class of unittest.TestCase with test methods")
    prompt = row.required_text("instruct_prompt") if instruct else complete
    task = Task(
        id=row.identifier(),
        family="bigcodebench",
        prompt=prompt,
        prefix="" if instruct else complete,
        completion="fenced" if instruct else "continuation",
        entry_point=entry_point,
        tests=tuple(
            TestCase(kind="script", script=f"unittest.TestSuite([{owner}({method!r})]).debug()")
            for owner, method in methods
        ),
        test_setup=f"{without_function(entry_point, code + body)}\nimport unittest\n\n{test.strip()}\n",
        exports=(entry_point,),
        in_process=any(
            module.startswith(("unittest.mock", "mock")) or name in ("mock", "patch")
            for module, name, _ in import_statements(tree)
        ),
        reference=code + body if instruct else body,
    )
    return ParsedRow(task)


def _parse(row: TaskRow, field: str, text: str) -> ast.Module:
    try:
        return parse(text)
    except NotPythonError as error:
        raise row.error(field, f"is {error}; mend it") from error


def _test_methods(tree: ast.Module) -> list[tuple[str, str]]:
    """List (class, method) in order; a class has the methods of its bases in the same file too."""
    found: dict[str, list[str]] = {}
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [ast.unparse(base) for base in node.bases]
        if not any(base in found or base.rpartition(".")[2] == "TestCase" for base in bases):
            continue
        inherited = [method for base in bases for method in found.get(base, [])]
        own = [
            item.name
            for item in node.body
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name.startswith("test")
        ]
        found[node.name] = list(dict.fromkeys([*inherited, *own]))
    return [(owner, method) for owner, methods in found.items() for method in methods]
