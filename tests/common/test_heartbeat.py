"""An actor's own word on its progress, and the notes that it leaves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import redis

from common.heartbeat import LEAVING, Heartbeat
from common.streams import actor_patience


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_activity_is_late_once_it_has_made_no_progress_for_longer_than_it_may_take() -> None:
    clock = Clock()
    heart = Heartbeat(limit=10.0, clock=clock)
    heart.doing("denoising group 3")
    clock.now = 9.0
    heart.progress()
    clock.now = 19.0
    beat = heart.beat()
    assert (beat.what, beat.seconds, beat.late) == ("denoising group 3", 10.0, False)
    clock.now = 19.5
    assert heart.beat().late
    heart.doing("writing a checkpoint", limit=100.0)
    clock.now = 119.0
    assert not heart.beat().late
    clock.now = 120.0
    assert heart.beat().late


def test_who_waits_for_others_is_never_late() -> None:
    clock = Clock()
    heart = Heartbeat(limit=1.0, clock=clock)
    heart.waiting("its groups")
    clock.now = 1e6
    beat = heart.beat()
    assert (beat.what, beat.waits, beat.late) == ("its groups", True, False)


def test_a_wait_that_has_a_deadline_of_its_own_hangs_beyond_it() -> None:
    clock = Clock()
    heart = Heartbeat(limit=1.0, clock=clock)
    heart.waiting("its groups", limit=900.0)
    clock.now = 899.0
    assert not heart.beat().late
    clock.now = 901.0
    assert heart.beat().late


def test_what_is_furthest_beyond_its_limit_is_told_whichever_thread_does_it() -> None:
    clock = Clock()
    heart = Heartbeat(limit=100.0, clock=clock)
    heart.waiting("prompts")
    with heart.during("loading weights 3", limit=10.0):
        clock.now = 11.0
        heart.waiting("prompts")
        assert (heart.beat().what, heart.beat().late) == ("loading weights 3", True)
    assert (heart.beat().what, heart.beat().late) == ("prompts", False)
    heart.doing("denoising")
    with heart.during("loading weights 4", limit=1000.0):
        clock.now = 500.0
        assert (heart.beat().what, heart.beat().late) == ("denoising", True)


def test_notes_are_told_once_and_repetitions_counted() -> None:
    heart = Heartbeat(limit=1.0)
    heart.note("a reward function failed")
    heart.note("a reward function failed")
    assert heart.beat().notes == ("a reward function failed",)
    for _ in range(98):
        heart.note("a reward function failed")
    assert heart.beat().notes == (
        "a reward function failed (10 times so far)",
        "a reward function failed (100 times so far)",
    )
    assert heart.beat().notes == ()


def test_notes_are_bounded_however_many_there_are() -> None:
    heart = Heartbeat(limit=1.0)
    for number in range(10_000):
        heart.note(f"line {number}")
    notes = heart.beat().notes
    assert len(notes) <= 60
    assert notes[0] == "line 0"
    assert "not shown" in notes[-1]
    heart.note("line 3")  # that it was left before is still known
    assert heart.beat().notes == ()


@pytest.mark.parametrize(("beside", "late"), [(False, False), (True, True)])
def test_a_wait_for_redis_hides_no_other_thread(beside: bool, late: bool) -> None:
    """The learner reads ahead while it trains: a training step that hangs meanwhile is late all the same."""
    clock = Clock()
    heart = Heartbeat(limit=10.0, clock=clock)
    replies = iter([redis.ConnectionError("away"), None])

    def operation() -> None:
        if (reply := next(replies)) is not None:
            raise reply

    heart.doing("training step 3")
    call = partial(actor_patience(60.0, heart).call, "XREADGROUP", operation)
    if beside:
        with ThreadPoolExecutor(1) as other:
            other.submit(call).result()
    else:
        call()
    clock.now = 11.0
    assert heart.beat().late == late


def test_a_beat_tells_that_the_pod_is_about_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heart = Heartbeat(limit=10.0)
    assert not heart.beat().leaving
    monkeypatch.setenv(LEAVING, str(tmp_path / "leaving"))
    assert not heart.beat().leaving
    (tmp_path / "leaving").touch()
    assert heart.beat().leaving
