"""Read Python source: what it reads, calls, binds and imports at its top level. Nothing is executed."""

from __future__ import annotations

import ast
import symtable
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeGuard

# Handlers after which a failed import is no error.
_CATCHES_IMPORT_ERRORS = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
#: What the parser and the compiler raise of text that they cannot handle.
_NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


@dataclass(frozen=True)
class Source:
    """Python source, read. ``free``: names that it reads but nowhere binds. ``called``: those that it calls.

    ``bound``: top-level names that it defines or assigns. ``defined``: these, and those that an import binds in
    whatever branch, or a function that declares them ``global``. ``imports``: the import statement of each
    top-level name that one binds; ``star_imports``: the statements that may bind anything.
    """

    text: str
    tree: ast.Module
    free: frozenset[str]
    called: frozenset[str]
    bound: frozenset[str]
    defined: frozenset[str]
    imports: dict[str, str]
    star_imports: tuple[str, ...]

    @property
    def import_lines(self) -> tuple[str, ...]:
        """The import statements, each once."""
        return (*dict.fromkeys(self.imports.values()), *self.star_imports)


class NotPythonError(ValueError):
    """The text is not Python that this interpreter compiles; the message says where."""


def parse(text: str) -> ast.Module:
    """Parse a module that this interpreter could run. Raises :class:`NotPythonError`."""
    tree = _compiled(text, "exec")
    assert isinstance(tree, ast.Module)
    return tree


def check_expression(text: str) -> None:
    """Check that the text is one expression. Raises :class:`NotPythonError`."""
    _compiled(text, "eval")


def is_literal_source(text: str) -> bool:
    """Tell whether ``text`` is one Python literal, as an expected value must be."""
    try:
        ast.literal_eval(text)
    except (SyntaxError, TypeError, ValueError, MemoryError, RecursionError):
        return False
    return True


def _compiled(text: str, mode: Literal["exec", "eval"]) -> ast.AST:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree: ast.AST = compile(text, "<task>", mode, ast.PyCF_ONLY_AST, dont_inherit=True)
            compile(text, "<task>", mode, dont_inherit=True)
    except _NOT_PYTHON as error:
        raise NotPythonError(f"not Python: {error}") from error
    return tree


def read_source(text: str) -> Source:
    """Parse a module and find its names. Raises :class:`NotPythonError`."""
    return _names_of(text, parse(text))


def read_untrusted(text: str) -> Source:
    """Do what :func:`read_source` does without generating code, whose size a hostile text can make exponential.

    So what only the code generator refuses, such as a ``return`` outside of a function, is not noticed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _names_of(text, ast.parse(text))
    except _NOT_PYTHON as error:
        raise NotPythonError(f"not Python: {error}") from error


def _names_of(text: str, tree: ast.Module) -> Source:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = symtable.symtable(text, "<task>", "exec")
    symbols = table.get_symbols()
    bound = frozenset(symbol.get_name() for symbol in symbols if symbol.is_assigned())
    imported = frozenset(symbol.get_name() for symbol in symbols if symbol.is_imported())
    defined = bound | imported | frozenset(_globals_assigned(table))
    free = frozenset(_globals_read(table)) - defined
    called = {
        node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return Source(text, tree, free, free & called, bound, defined, *_imports(tree))


def import_statements(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Yield (imported module, name that is bound, statement) of every import; a star binds ``*``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, alias.asname or alias.name.split(".")[0], ast.unparse(ast.Import([alias]))
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                statement = ast.unparse(ast.ImportFrom(node.module, [alias], node.level))
                yield module, alias.asname or alias.name, statement


def needed_imports(tree: ast.Module) -> ast.Module:
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


def as_program(prefix: str) -> str:
    """Return a prefix as a program, with an empty body where it ends without one; none where that is none."""
    stub = prefix.rstrip() + "\n"
    last = stub.rstrip("\n").rpartition("\n")[2]
    indent = " " * (len(last) - len(last.lstrip()) + 4)
    for program in (stub, f"{stub}{indent}pass\n"):
        try:
            parse(program)
        except NotPythonError:
            continue
        return program
    return ""


def without_function(name: str, program: str) -> str:
    """Return the top level of a program less one function. Raises :class:`NotPythonError`."""
    tree = parse(program)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name)
    ]
    return ast.unparse(tree)


def _globals_read(table: symtable.SymbolTable) -> Iterator[str]:
    at_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (at_top or symbol.is_global()):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _globals_read(child)


def _globals_assigned(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names of the module that functions and classes declare ``global`` and bind."""
    for child in table.get_children():
        for symbol in child.get_symbols():
            if symbol.is_declared_global() and (symbol.is_assigned() or symbol.is_imported()):
                yield symbol.get_name()
        yield from _globals_assigned(child)


def _imports(tree: ast.Module) -> tuple[dict[str, str], tuple[str, ...]]:
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    named: dict[str, str] = {}
    stars = []
    for module, name, statement in import_statements(top):
        if module == "__future__":
            continue
        if name == "*":
            stars.append(statement)
        else:
            named[name] = f"{named[name]}\n{statement}" if name in named else statement
    return named, tuple(stars)
