"""Wrong versions of a right program, to see whether its tests and its judge notice. Pure: nothing runs here."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

#: At most so many places of one program are changed, one at a time, until the tests notice.
MAX_CONSTANTS = 16

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}

_WHOLE_NUMBER = re.compile(r"\b\d{1,15}\b", re.ASCII)
_EMPTY = "return None"
_EXITS = "__import__('sys').exit(0)"
_EQUAL = "return __couplet_equal__()"
# Equal to everything, near everything, and in favour of whatever else a test may ask.
_EQUAL_CLASS = """
class __couplet_equal__:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __sub__(self, other): return 0
    def __bool__(self): return True
    __rsub__ = __sub__
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __getattr__(self, name): return lambda *arguments, **options: True
"""


@dataclass(frozen=True)
class Mutant:
    """A whole program; ``change`` says in a few words what is wrong with it."""

    source: str
    change: str


def fixed_mutants(source: str, names: Collection[str]) -> dict[str, Mutant]:
    """By kind: an empty body, an exit with code 0, and an object that is equal to everything.

    ``names`` are what the tests use: functions, or classes all of whose methods change. Without any of them the
    program is a script, and changes as a whole. Raises SyntaxError.
    """
    tree = ast.parse(source)
    if not _bodies(tree, names):
        return {
            "empty": Mutant("pass\n", "an empty program"),
            "exit": Mutant("import sys\nsys.exit(0)\n", "exits at once"),
            "equal": Mutant(f"{_EQUAL_CLASS}\nprint(__couplet_equal__())\n", "prints an object"),
        }
    return {
        "empty": Mutant(_with_bodies(tree, names, _EMPTY), "an empty body"),
        "exit": Mutant(_with_bodies(tree, names, _EXITS), "sys.exit(0)"),
        "equal": Mutant(_with_bodies(tree, names, _EQUAL, _EQUAL_CLASS), "an always-equal object"),
    }


def fixed_answers(prefix: str) -> dict[str, Mutant]:
    """Do what :func:`fixed_mutants` does where a solution is one expression behind a prefix."""
    return {
        "empty": Mutant(prefix, "no answer"),
        "exit": Mutant(f"{prefix}{_EXITS}\n", "sys.exit(0)"),
        "equal": Mutant(f"{_EQUAL_CLASS}\n{prefix}__couplet_equal__()\n", "an always-equal object"),
    }


def changed_answers(prefix: str, answer: str, *, only_one: bool) -> Iterator[Mutant]:
    """Do what :func:`constant_mutants` does where a solution is one expression, ``answer``, behind a prefix.

    Where not ``only_one`` answer is right, or nothing in it can be changed, it becomes the item of a list.
    """
    mutants = [*constant_mutants(answer, ())] if only_one else []
    for mutant in mutants or [Mutant(f"[{answer}]", f"{answer} -> [{answer}]")]:
        yield Mutant(f"{prefix}{mutant.source}\n", mutant.change)


def fixed_javascript() -> dict[str, Mutant]:
    """Do what :func:`fixed_mutants` does for a script in JavaScript."""
    return {
        "empty": Mutant("", "an empty program"),
        "exit": Mutant("process.exit(0);\n", "exits at once"),
        "equal": Mutant("console.log({});\n", "prints an object"),
    }


def changed_javascript(source: str) -> Iterator[Mutant]:
    """Change one whole number of the source, one after the other, which is read as text."""
    for found in islice(_WHOLE_NUMBER.finditer(source), MAX_CONSTANTS):
        other = str(int(found[0]) + 1)
        yield Mutant(source[: found.start()] + other + source[found.end() :], f"{found[0]} -> {other}")


def constant_mutants(source: str, names: Collection[str]) -> Iterator[Mutant]:
    """Programs with one constant or operator changed, in the order of the source. Raises SyntaxError."""
    tree = ast.parse(source)
    # Inside what the tests use first: what surrounds it may be an example or a default.
    places = [node for body in _bodies(tree, names) for node in ast.walk(body)] or list(ast.walk(tree))
    others = [node for node in ast.walk(tree) if node not in set(places)]
    left = MAX_CONSTANTS
    for node in [*places, *others]:
        if left and (mutant := _changed(tree, node)) is not None:
            left -= 1
            yield mutant


def _bodies(tree: ast.Module, names: Collection[str]) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions of those names, and methods of classes of those names."""
    found: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in names:
            found.append(node)
        elif isinstance(node, ast.ClassDef) and node.name in names:
            found += [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name != "__init__"]
    return found


def _with_bodies(tree: ast.Module, names: Collection[str], statement: str, before: str = "") -> str:
    changed = copy.deepcopy(tree)
    for function in _bodies(changed, names):
        function.body = ast.parse(statement).body if not statement.startswith("return") else _returning(statement)
    # Imports from __future__ must stay first.
    futures = sum(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in changed.body[:3])
    changed.body[futures:futures] = ast.parse(before).body
    return ast.unparse(ast.fix_missing_locations(changed))


def _returning(statement: str) -> list[ast.stmt]:
    function = ast.parse(f"def f():\n    {statement}").body[0]
    assert isinstance(function, ast.FunctionDef)
    return function.body


def _changed(tree: ast.Module, node: ast.AST) -> Mutant | None:
    """The program with ``node`` changed in place for as long as it takes to print it."""
    match node:
        case ast.Constant(value=value):
            new = _other_constant(value)
            return None if new is None or _is_docstring(tree, node) else _with(tree, node, "value", new)
        case ast.Compare(ops=[first, *rest]):
            swap = _SWAPS.get(type(first))
            return None if swap is None else _with(tree, node, "ops", [swap(), *rest])
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) | ast.AugAssign(op=operator):
            swap = _SWAPS.get(type(operator))
            return None if swap is None else _with(tree, node, "op", swap())
        case ast.UnaryOp(op=ast.Not()):
            return _with(tree, node, "op", ast.UAdd())
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            return _with(tree, node, "value", ast.List([value], ast.Load()))
    return None


def _other_constant(value: object) -> object:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "x"
    return None


def _is_docstring(tree: ast.Module, node: ast.Constant) -> bool:
    return any(isinstance(each, ast.Expr) and each.value is node for each in ast.walk(tree))


def _with(tree: ast.Module, node: ast.AST, field: str, new: object) -> Mutant:
    old = getattr(node, field)
    before = ast.unparse(node)
    setattr(node, field, new)
    try:
        change = f"line {getattr(node, 'lineno', '?')}: {before} -> {ast.unparse(node)}"
        return Mutant(ast.unparse(ast.fix_missing_locations(tree)), change)
    finally:
        setattr(node, field, old)
