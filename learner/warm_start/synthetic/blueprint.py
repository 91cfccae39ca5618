"""The plan of one synthetic task: what is asked, the right expression, and its wrong relatives."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Arguments = tuple[object, ...]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Blueprint:
    """One possible task, before a phrasing and tests are chosen.

    ``phrasings``: two comment texts, without the leading ``#``, that ask for the same thing.
    ``wrong``: expressions a systematic misconception leads to; the last one has all of them at once.
    ``near``: further wrong expressions that the tests must reject, but which nobody writes systematically.
    ``inputs``: argument tuples for tests; the first :data:`ALWAYS_TESTED` of them are always used.
    ``probes``: argument tuples, the same for the whole pool, by whose outcomes behaviours are compared.
    ``weight``: relative chance to be drawn from its pool.
    """

    family: str
    parameters: str
    phrasings: tuple[str, str]
    expression: str
    wrong: tuple[str, ...]
    near: tuple[str, ...]
    inputs: Callable[[random.Random], list[Arguments]]
    probes: tuple[Arguments, ...]
    weight: float = 1.0


ALWAYS_TESTED = 4


def systematic(rivals: Sequence[tuple[str, bool]], joint: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Sort rival expressions into (wrong, near); several systematic ones are followed by their ``joint``."""
    wrong = [expression for expression, is_systematic in rivals if is_systematic]
    near = [expression for expression, is_systematic in rivals if not is_systematic]
    if len(wrong) > 1:
        wrong.append(joint)
    return tuple(wrong), tuple(near)


def weighted_order(items: Sequence[Item], weights: Sequence[float], rng: random.Random) -> list[Item]:
    """A random order in which each next item is drawn in proportion to its (positive) weight."""
    keys = [rng.random() ** (1.0 / weight) for weight in weights]
    order = sorted(range(len(items)), key=keys.__getitem__, reverse=True)
    return [items[i] for i in order]
