"""Places: where an object of the solution came from, as text that is the same for every right solution.

``Circle()#1.area()#2`` is what the second call of the method ``area`` answered with, of the result of the first
call of ``Circle``. What a test asks of an object has a place too: ``Circle()#1.area()#2 subtract``. An object may
lie about everything that it is asked. So a solution's objects may be asked at each place what the reference's
were, and nothing else: where the reference answers with plain data, nothing that a test does is asked of an
object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: Functions that change an argument in place return None, by convention: what is expected without a reference.
IN_PLACE = " in place"
#: What is free without a reference: a test may want an exception, and what an exported constant is, nobody knows.
RAISES = " raises"
IS = " is "
EMPTY = " empty"
UNKNOWN = frozenset({RAISES, IS, EMPTY})
# What loops and long chains lead to is not told apart for ever: a claim about it must end.
_MAX_COUNTED = 100
_MAX_CHARS = 160


def asked(place: str, operation: str, name: str) -> str:
    """Return the place of an operation on the object at ``place``; ``name``: the attribute, where it is of one."""
    match operation:
        case "call":
            return _cut(f"{place}()")
        case "get":
            return _cut(f"{place}.{name}")
        case "set" | "delete":
            return _cut(f"{place}.{name} {operation}")
    return _cut(f"{place} {operation}")


def changed(place: str, argument: int | str, *, in_place: bool) -> str:
    """Return the place of a change of an argument; ``in_place``: by a call whose answer is None."""
    return f"{place} changes {argument}{IN_PLACE if in_place else ''}"


def unexpected(changes: Iterable[str], expected: frozenset[str]) -> frozenset[str]:
    """Return the changes that are not expected. ``IN_PLACE`` expects all of calls whose answers are None."""
    known = {change.removesuffix(IN_PLACE) for change in expected}
    return frozenset(
        change
        for change in changes
        if change.removesuffix(IN_PLACE) not in known and not (IN_PLACE in expected and change.endswith(IN_PLACE))
    )


def raising(answer: str, *, ends_loops: bool) -> str:
    """Return the place of an exception in place of an answer; ``ends_loops``: any loop of the language."""
    return f"{answer} stops" if ends_loops else f"{answer}{RAISES}"


def empty(answer: str) -> str:
    """Return the place of an answer, or of a changed argument, that has nothing in it."""
    return f"{answer}{EMPTY}"


def constant(name: str, content: str) -> str:
    """Return the place of plain data that the solution exports, with what it is."""
    return f"{name}{IS}{content}"


def beyond(uses: Iterable[str], expected: frozenset[str]) -> frozenset[str]:
    """Return the uses that are not expected. ``UNKNOWN`` expects all of its kinds."""
    free = expected >= UNKNOWN
    return frozenset(use for use in uses if use not in expected and not (free and _is_unknown(use)))


def is_export(place: str) -> bool:
    """Tell whether the place is that of a name which the solution exports."""
    return place.isidentifier()


def inside(place: str) -> Iterator[str]:
    """Yield the places of the objects of one answer, in order."""
    yield place
    for number in range(1, _MAX_COUNTED):
        yield _cut(f"{place}:{number}")
    while True:
        yield _cut(f"{place}:{_MAX_COUNTED}")


class Answers:
    """Numbers the answers at each place."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def next(self, place: str) -> str:
        """Return the place of the next answer to what was asked at ``place``."""
        count = self._counts[place] = self._counts.get(place, 0) + 1
        return _cut(f"{place}#{min(count, _MAX_COUNTED)}")


def _is_unknown(use: str) -> bool:
    return use.endswith((RAISES, EMPTY)) or is_export(use.partition(IS)[0])


def _cut(place: str) -> str:
    return place if len(place) <= _MAX_CHARS else f"…{place[-_MAX_CHARS // 2 :]}"
