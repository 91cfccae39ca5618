"""The reward ``static_check``: does a program parse, do its imports resolve, are its names bound?

Nothing of the program is executed or imported: it is read as data, whatever it says. In arXiv
2605.17174 a static check is the best of the rewards that need no execution.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, TypeGuard

from common.records import Task
from common.tasks.importable import BUILTINS
from common.tasks.source import NotPythonError, import_statements, read_untrusted
from reward_service.extraction import MAX_PROGRAM_CHARS
from reward_service.user_rewards import Completion

# What the interpreter's site module adds, which programs in the sandbox do without.
_SITE_ONLY = frozenset({"copyright", "credits", "license", "help"})
_ALWAYS_BOUND = (BUILTINS - _SITE_ONLY) | {"__builtins__"}
# Handlers after which a failed import is no error.
_CATCHES_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
# Each may be a case for the sandbox, and a text of some thousand is no program.
_MAX_IMPORTS = 64
# The interpreter imports each package on the way of a dotted name, and takes long for one of thousands.
_MAX_IMPORT_CHARS = 1000


class Imports(Protocol):
    """Says what import statements bind; None for one that fails."""

    def bound_by(self, statements: Iterable[str]) -> Mapping[str, frozenset[str] | None]: ...


@dataclass(frozen=True)
class StaticCheck:
    """A reward of a third for a program that parses, one for imports that resolve, one for names that are bound.

    Imports resolve if the sandbox offers them; those guarded by a handler or by ``TYPE_CHECKING`` need not. Names
    are bound if every name that is read is bound somewhere. A program that does not bind what the tests use of it
    gets nothing.
    """

    imports: Imports

    def __call__(self, task: Task, completion: Completion, /) -> float:
        if completion.program is None or len(completion.program) > MAX_PROGRAM_CHARS:
            return 0.0
        try:
            source = read_untrusted(completion.program)
            needed = [statement for _, _, statement in import_statements(_needed_imports(source.tree))]
            stars = [statement for _, name, statement in import_statements(source.tree) if name == "*"]
        except (NotPythonError, RecursionError):
            return 0.0
        statements = dict.fromkeys([*needed, *stars])
        if len(statements) > _MAX_IMPORTS or any(len(one) > _MAX_IMPORT_CHARS for one in statements):
            return 1 / 3
        bound = self.imports.bound_by(statements)
        given = _ALWAYS_BOUND.union(*(bound[star] or () for star in stars))
        if not source.tree.body or not _used_by(task) <= source.defined | given:
            return 0.0
        imports_resolve = all(bound[statement] is not None for statement in needed)
        return (1 + imports_resolve + (source.free <= given)) / 3


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


def _used_by(task: Task) -> frozenset[str]:
    """Return the names that the task's tests use of a solution."""
    return frozenset(task.exports).union(*(_read_by(test.call) for test in task.tests if test.kind == "call"))


@lru_cache(maxsize=4096)
def _read_by(call: str) -> frozenset[str]:
    try:
        return read_untrusted(call).free
    except NotPythonError:
        return frozenset()
