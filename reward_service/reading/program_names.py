"""What a program binds, reads and imports, found by reading it. Nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

from common.tasks.source import import_statements, read_untrusted

# Handlers after which a failed import is no error.
_CATCHES_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


@dataclass(frozen=True)
class ProgramNames:
    """The names of a program. ``empty``: it has no statement. ``defined``, ``free``: as those of ``Source``.

    ``needed``: its import statements, but for those whose failure is handled. ``stars``: those that bind ``*``.
    """

    empty: bool
    defined: list[str]
    free: list[str]
    needed: list[str]
    stars: list[str]


def names_of(text: str) -> ProgramNames:
    """Find the names of a program. Raises NotPythonError, RecursionError."""
    source = read_untrusted(text)
    needed = [statement for _, _, statement in import_statements(_needed_imports(source.tree))]
    stars = [statement for _, name, statement in import_statements(source.tree) if name == "*"]
    return ProgramNames(not source.tree.body, sorted(source.defined), sorted(source.free), needed, stars)


def _needed_imports(tree: ast.Module) -> ast.Module:
    """Return the import statements of a module, wherever they stand, but for those whose failure is handled."""
    return ast.Module([node for node in _unguarded(tree) if isinstance(node, ast.Import | ast.ImportFrom)], [])


def _unguarded(tree: ast.AST) -> Iterator[ast.AST]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        children = list(ast.iter_child_nodes(node))
        if _guards_imports(node):
            guarded = set(map(id, node.body))
            children = [child for child in children if id(child) not in guarded]
        waiting += children


def _guards_imports(node: ast.AST) -> TypeGuard[ast.Try | ast.TryStar | ast.If]:
    """Tell whether imports of the body need not resolve: their failure is handled, or type checkers read them."""
    if isinstance(node, ast.If):
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else None
        return name == "TYPE_CHECKING"
    return isinstance(node, ast.Try | ast.TryStar) and any(map(_handles_import_errors, node.handlers))


def _handles_import_errors(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in _CATCHES_IMPORT_ERRORS for kind in kinds)
