"""Rules by which a statement counts as reproduced. Each claim names its rule before any result is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from evaluation.reproduction.statistics import mean_interval, sign_flip_p

ALPHA = 0.05
#: Fewer paired seeds cannot reach :data:`ALPHA`, whatever they show: four have at least 1/16.
LEAST_SEEDS = 5


class Verdict(StrEnum):
    """What became of a statement."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    UNDECIDED = "not done yet"


@dataclass(frozen=True)
class Decision:
    """A verdict and its reason, a sentence with the numbers that decided it."""

    verdict: Verdict
    reason: str


class Rule(Protocol):
    """Decides by paired differences, one a seed."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def sentence(self) -> str:
        """What has to hold."""

    def decide(self, differences: Sequence[float]) -> Decision:
        """Apply the rule to the differences of the seeds that are done."""


@dataclass(frozen=True)
class Higher:
    """The first of two quantities is the larger one."""

    name: str = "higher"

    @property
    def sentence(self) -> str:
        return (
            f"the mean paired difference is above 0, with p <= {ALPHA:g} in an exact one-sided sign-flip test over"
            " the seeds"
        )

    def decide(self, differences: Sequence[float]) -> Decision:
        if (missing := _too_few(differences)) is not None:
            return missing
        p, opposite = sign_flip_p(differences), sign_flip_p([-one for one in differences])
        if p <= ALPHA:
            return Decision(Verdict.REPRODUCED, f"p = {p:.3f}")
        if opposite <= ALPHA:
            return Decision(Verdict.NOT_REPRODUCED, f"the opposite holds: p = {opposite:.3f} for it")
        return Decision(Verdict.NOT_REPRODUCED, f"no difference in this direction was shown: p = {p:.3f}")


@dataclass(frozen=True)
class Alike:
    """Two quantities differ by less than ``margin``."""

    margin: float
    name: str = "alike"

    @property
    def sentence(self) -> str:
        return f"the 95 % interval of the mean paired difference lies within -{self.margin:g} and {self.margin:g}"

    def decide(self, differences: Sequence[float]) -> Decision:
        if (missing := _too_few(differences)) is not None:
            return missing
        found = mean_interval(differences)
        reason = f"95 % interval {found.low:+.3f} to {found.high:+.3f}"
        inside = -self.margin <= found.low and found.high <= self.margin
        return Decision(Verdict.REPRODUCED if inside else Verdict.NOT_REPRODUCED, reason)


HIGHER = Higher()


def _too_few(differences: Sequence[float]) -> Decision | None:
    if len(differences) >= LEAST_SEEDS:
        return None
    return Decision(
        Verdict.UNDECIDED, f"a verdict takes at least {LEAST_SEEDS} seeds, and there are {len(differences)}"
    )
