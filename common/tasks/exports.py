"""Which names of a test list are the solution's, and where the tests get the others from.

Whatever a test takes from the solution, the solution can forge: one that redefines ``abs`` or ``np`` passes any
test that takes these from it. So the tests get nothing from it but what they test.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.tasks.asserts import AssertLine
from common.tasks.importable import BUILTINS, import_of
from common.tasks.source import Source


def exports_of(
    tests: Sequence[AssertLine], *, entry_point: str | None, setup: Source, reference: Source | None
) -> tuple[str, ...]:
    """Find the names that the tests take from the solution, the entry point first.

    These are, of the names that the tests read: what the set-up code defines, which runs with the solution, and
    what the reference defines. Without an entry point and a definition in the reference it is guessed from the
    tests: what they compare to a literal right away or call in every line, and, if there is no reference, names
    that are neither builtins nor known to come from an import.
    """
    read = frozenset[str]().union(*(test.source.free for test in tests))
    called = frozenset[str]().union(*(test.source.called for test in tests))
    always = tests[0].source.called.intersection(*(test.source.called for test in tests)) if tests else frozenset()
    imported = frozenset(setup.imports)
    found = {entry_point} if entry_point else set()
    if reference is not None:
        found |= (reference.bound & read) - (BUILTINS - always)
        imported |= frozenset(reference.imports)
    unknown = _unknown(read - imported, called)
    if not found:
        found = _under_test(tests, always, unknown)
    if reference is None:
        found |= unknown
    found |= setup.bound & read
    return tuple(sorted(found, key=lambda name: (name != entry_point, name)))


def needs_solution(setup: Source) -> bool:
    """Tell whether set-up code uses names that neither it nor an import can have bound."""
    return bool(_unknown(setup.free, setup.called))


def test_imports(
    tests: Sequence[AssertLine], exports: Sequence[str], setup: Source, reference: Source | None
) -> tuple[str, ...]:
    """Find the import statements that give the tests the names that are not the solution's."""
    lines = dict.fromkeys(setup.import_lines)
    called = frozenset[str]().union(*(test.source.called for test in tests))
    read = frozenset[str]().union(*(test.source.free for test in tests))
    for name in sorted(read - BUILTINS - frozenset(exports) - frozenset(setup.imports)):
        theirs = None if reference is None else reference.imports.get(name)
        statement = theirs or import_of(name, name in called)
        if statement is not None:
            lines[statement] = None
    return tuple(lines)


def _under_test(tests: Sequence[AssertLine], always: frozenset[str], unknown: set[str]) -> set[str]:
    heads = {test.literal_call.name for test in tests if test.literal_call is not None} - BUILTINS
    if heads or always & unknown:
        return heads
    return set(always - BUILTINS or always)


def _unknown(names: frozenset[str], called: frozenset[str]) -> set[str]:
    return {
        name
        for name in names - BUILTINS
        if not (name.startswith("__") and name.endswith("__")) and import_of(name, name in called) is None
    }
