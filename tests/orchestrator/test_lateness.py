"""Who is late, on a clock of the tests'."""

from __future__ import annotations

import math

import pytest

from common.heartbeat import Beat
from orchestrator.fleet.lateness import Lateness


def beat(what: str = "denoising", seconds: float = 0.0, waits: bool = False) -> Beat:
    return Beat(1, "", what, seconds, limit=math.inf if waits else 100.0, waits=waits)


class Watched:
    """An actor that is asked once a second and answers, or does not."""

    def __init__(self, silence: float = 10.0) -> None:
        self.now = 0.0
        self.lateness = Lateness(silence, lambda: self.now)

    def answer(self, answer: Beat) -> str | None:
        self.lateness.asked()
        self.now += 1.0
        self.lateness.answered(answer)
        return self.lateness.reason()

    def wait(self, seconds: float, tick: float = 0.5) -> str | None:
        """Look for an answer every ``tick`` seconds, in vain."""
        end = self.now + seconds
        while self.now < end:
            self.now += tick
            self.lateness.unanswered()
        return self.lateness.reason()


def test_who_does_not_answer_is_late_after_the_deadline_and_says_what_it_did_last() -> None:
    watched = Watched()
    watched.answer(beat("training step 7"))
    watched.lateness.asked()
    assert watched.wait(10.0) is None
    reason = watched.wait(0.5)
    assert reason is not None
    assert reason.startswith("no answer for 10 s")
    assert "last while training step 7" in reason
    assert watched.answer(beat()) is None


def test_who_makes_no_progress_is_late_only_if_it_does_not_wait() -> None:
    watched = Watched()
    assert watched.answer(beat(seconds=99.0)) is None
    assert watched.answer(beat(seconds=1e6, waits=True)) is None
    assert watched.answer(beat("scoring group 3", seconds=101.0)) == (
        "no progress for 101 s while scoring group 3, which may take 100 s"
    )
    assert watched.answer(beat()) is None


@pytest.mark.parametrize("seconds", [60.0, 3600.0])
def test_a_driver_that_did_not_look_blames_nobody(seconds: float) -> None:
    watched = Watched()
    watched.answer(beat())
    watched.lateness.asked()
    watched.now += seconds  # the driver was stopped, or busy
    watched.lateness.unanswered()
    assert watched.lateness.reason() is None
    assert watched.wait(9.0) is not None, "but it does once it looks again, for long enough"


def test_who_has_not_answered_yet_is_starting_and_has_a_deadline_of_its_own() -> None:
    watched = Watched()
    watched.lateness.asked()
    assert watched.wait(1000.0) is None
    assert watched.lateness.last is None
