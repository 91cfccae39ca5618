"""Split an ``assert`` line into a call and the literal it must equal, which then can stay on the host."""

from __future__ import annotations

import ast

from common.records import TestCase


class SplitError(ValueError):
    """The line cannot be split into a call and a literal; the message says why."""


def split_assert(line: str) -> TestCase:
    """The test case of one ``assert`` statement; its message, if any, is dropped.

    ``EXPR == LITERAL`` (in either order) and ``EXPR is LITERAL`` for None, True and False become the call
    EXPR, expecting LITERAL; that identity becomes equality is the one loss. Any other condition becomes the
    call ``bool(CONDITION)``, expecting True, unless it is an equality of two computed sides: the expected one
    would have to be computed where the program runs.
    Raises :class:`SplitError`.
    """
    try:
        statements = ast.parse(line.strip()).body
    except (SyntaxError, ValueError) as error:
        raise SplitError(f"not Python: {error}") from error
    if len(statements) != 1 or not isinstance(statements[0], ast.Assert):
        raise SplitError("not a single assert statement")
    condition = statements[0].test
    if isinstance(condition, ast.Compare) and len(condition.ops) == 1:
        left, right = condition.left, condition.comparators[0]
        if isinstance(condition.ops[0], ast.Eq):
            return _equality(left, right)
        if isinstance(condition.ops[0], ast.Is) and isinstance(right, ast.Constant) and not _is_literal(left):
            return TestCase(call=ast.unparse(left), expected=ast.unparse(right))
    if _is_literal(condition):
        raise SplitError("the condition is a literal, so it tests nothing")
    return TestCase(call=f"bool({ast.unparse(condition)})", expected="True")


def is_literal_source(text: str) -> bool:
    """Whether ``text`` is one Python literal, as an expected value must be."""
    try:
        ast.literal_eval(text)
    except (SyntaxError, TypeError, ValueError):
        return False
    return True


def _equality(left: ast.expr, right: ast.expr) -> TestCase:
    if _is_literal(left) and _is_literal(right):
        raise SplitError("both sides are literals, so it tests nothing")
    if _is_literal(right):
        return TestCase(call=ast.unparse(left), expected=ast.unparse(right))
    if _is_literal(left):
        return TestCase(call=ast.unparse(right), expected=ast.unparse(left))
    raise SplitError("neither side of == is a literal")


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError):
        return False
    return True
