"""What a program binds, reads and imports, found by reading it. Nothing is executed."""

from __future__ import annotations

from dataclasses import dataclass

from common.tasks.source import import_statements, needed_imports, read_untrusted


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
    needed = [statement for _, _, statement in import_statements(needed_imports(source.tree))]
    stars = [statement for _, name, statement in import_statements(source.tree) if name == "*"]
    return ProgramNames(not source.tree.body, sorted(source.defined), sorted(source.free), needed, stars)
