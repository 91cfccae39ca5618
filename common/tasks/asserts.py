"""Lines of asserts as test cases: judged by value where that is possible, run as a script where not."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass

from common.records import Comparison, TestCase
from common.tasks.source import NotPythonError, Source, read_source


class UnusableTestError(ValueError):
    """The line tests nothing or is not Python; the message says which and why."""


@dataclass(frozen=True)
class LiteralCall:
    """A call of one name with literal arguments, and the literal that it must equal, or be (``identical``)."""

    name: str
    call: str
    expected: str
    comparison: Comparison


@dataclass(frozen=True)
class AssertLine:
    """One test of a list, nearly always a single assert; ``literal_call`` is None unless it is judged by value."""

    source: Source
    literal_call: LiteralCall | None

    def test_case(self, exports: Collection[str]) -> TestCase:
        """Make a test of the line; ``exports`` are the names that are the solution's.

        An assert of the form ``name(literals) == literal`` (in either order; also ``is`` None, True or False)
        leaves its expected value on the host. Whatever else a line says is decided where the tests run, so that
        nothing of it is the solution's but the exports.
        Raises :class:`UnusableTestError` for a line without any of them.
        """
        if self.source.free.isdisjoint(exports):
            raise UnusableTestError("tests nothing: it uses no name of the solution")
        if self.literal_call is not None and self.literal_call.name in exports:
            of_call = self.literal_call
            return TestCase(call=of_call.call, expected=of_call.expected, comparison=of_call.comparison)
        return TestCase(kind="script", script=self.source.text)


def read_assert(line: str, in_front: str = "") -> AssertLine:
    """Read one test of a list; ``in_front`` is source that it is to run after.

    Raises :class:`UnusableTestError` for what is not Python or asserts nothing.
    """
    try:
        source = read_source(in_front + line.strip())
    except NotPythonError as error:
        raise UnusableTestError(str(error)) from error
    if not any(isinstance(node, ast.Assert) for node in ast.walk(source.tree)):
        raise UnusableTestError("tests nothing: it has no assert")
    if not source.free:
        raise UnusableTestError("tests nothing: it has only literals")
    statement = source.tree.body[0]
    alone = len(source.tree.body) == 1 and isinstance(statement, ast.Assert)
    return AssertLine(
        source, _literal_call(statement.test) if alone and isinstance(statement, ast.Assert) else None
    )


def is_literal(node: ast.expr) -> bool:
    """Tell whether the expression is a Python literal."""
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, MemoryError, RecursionError):
        return False
    return True


def _literal_call(condition: ast.expr) -> LiteralCall | None:
    if not isinstance(condition, ast.Compare) or len(condition.ops) != 1:
        return None
    sides = (condition.left, condition.comparators[0])
    for call, expected in (sides, sides[::-1]):
        comparison: Comparison = "equal" if isinstance(condition.ops[0], ast.Eq) else "identical"
        if comparison == "equal":
            comparable = is_literal(expected)
        else:
            singleton = isinstance(expected, ast.Constant) and expected.value in (None, True, False)
            comparable = isinstance(condition.ops[0], ast.Is) and singleton
        name = _plainly_called(call)
        if comparable and name is not None:
            return LiteralCall(name, ast.unparse(call), ast.unparse(expected), comparison)
    return None


def _plainly_called(node: ast.expr) -> str | None:
    """Return the name that is called with literals only, if this is such a call."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    keywords = all(keyword.arg is not None and is_literal(keyword.value) for keyword in node.keywords)
    return node.func.id if keywords and all(map(is_literal, node.args)) else None
