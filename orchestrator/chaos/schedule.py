"""When a chaos run strikes, and with what: spread over the steps of the run, drawn from a seed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from common import rng

#: The roles of the actors of a run.
ROLES = ("rollout", "reward", "learner")


@dataclass(frozen=True)
class Strike:
    """One fault at one moment: after ``step`` steps, when ``share`` of the next one's time has passed.

    ``role`` is that of the actor that it strikes, where it strikes one.
    """

    number: int
    step: int
    share: float
    fault: str
    role: str


def schedule(strikes: int, steps: int, faults: Sequence[str], seed: int) -> list[Strike]:
    """Draw the moments of ``strikes`` faults, one in each equal stretch of a run of ``steps`` steps, in order.

    The first step and the last are left alone, so that the run is under way, and has a step left to recover in.
    Moments are counted in steps, not in seconds: a learner that falls back to its checkpoint after a strike comes
    to the next moment only when it has done more than before, so a run gets on however often it is struck.
    Every fault comes equally often, up to one, and strikes every role equally often. Raises ValueError for a run
    of less than three steps.
    """
    if steps < 3:
        raise ValueError(f"{steps} steps leave none between the first and the last to strike in")
    draw = rng.stream(seed, "chaos")
    moments = 1.0 + (draw.random(strikes) + range(strikes)) * (steps - 2) / strikes
    names = islice(_in_turn(faults, draw), strikes)
    roles = {fault: _in_turn(ROLES, draw) for fault in faults}
    return [
        Strike(number, step=int(moment), share=moment % 1.0, fault=name, role=next(roles[name]))
        for number, (moment, name) in enumerate(zip(moments.tolist(), names, strict=True), start=1)
    ]


def _in_turn(names: Sequence[str], draw: np.random.Generator) -> Iterator[str]:
    """Yield all names in a random order, then all of them in another one, for ever."""
    while True:
        yield from (names[i] for i in draw.permutation(len(names)))
