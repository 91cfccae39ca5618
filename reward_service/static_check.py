"""The reward ``static_check``: does a program parse, do its imports resolve, are its names bound?

Nothing of the program is executed or imported: it is read as data, whatever it says. In arXiv
2605.17174 a static check is the best of the rewards that need no execution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from common.records import Task
from common.tasks.importable import BUILTINS
from common.tasks.source import NotPythonError, read_untrusted
from reward_service.extraction import MAX_PROGRAM_CHARS
from reward_service.reading import readers
from reward_service.reading.program_names import ProgramNames
from reward_service.user_rewards import Completion

# What the interpreter's site module adds, which programs in the sandbox do without.
_SITE_ONLY = frozenset({"copyright", "credits", "license", "help"})
_ALWAYS_BOUND = (BUILTINS - _SITE_ONLY) | {"__builtins__"}
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
        if task.language != "python":
            raise ValueError(f"task {task.id!r} is in {task.language}; static_check reads Python, leave it out")
        if completion.program is None or len(completion.program) > MAX_PROGRAM_CHARS:
            return 0.0
        found = readers.ask("program_names", completion.program)
        if found is None:
            return 0.0
        names = ProgramNames(**found)
        statements = dict.fromkeys([*names.needed, *names.stars])
        if len(statements) > _MAX_IMPORTS or any(len(one) > _MAX_IMPORT_CHARS for one in statements):
            return 1 / 3
        bound = self.imports.bound_by(statements)
        given = _ALWAYS_BOUND.union(*(bound[star] or () for star in names.stars))
        if names.empty or not _used_by(task) <= given.union(names.defined):
            return 0.0
        imports_resolve = all(bound[statement] is not None for statement in names.needed)
        return (1 + imports_resolve + given.issuperset(names.free)) / 3


def _used_by(task: Task) -> frozenset[str]:
    """Return the names that the task's tests use of a solution."""
    return frozenset(task.exports).union(*(_read_by(test.call) for test in task.tests if test.kind == "call"))


@lru_cache(maxsize=4096)
def _read_by(call: str) -> frozenset[str]:
    try:
        return read_untrusted(call).free
    except NotPythonError:
        return frozenset()
