from __future__ import annotations

import pytest

from learner.arrivals import Arrivals
from learner.collector import Discarded
from learner.progress import Outcome


def arrived(kept: int, filtered: int, stale: int, reasons: list[str]) -> Arrivals:
    arrivals = Arrivals()
    gone = [Discarded(i, "t", Outcome.FILTERED) for i in range(filtered)]
    gone += [Discarded(i, "t", Outcome.DROPPED) for i in range(stale)]
    gone += [Discarded(i, "t", Outcome.DROPPED, reason) for i, reason in enumerate(reasons)]
    for _ in range(kept + len(gone)):
        arrivals.keep()
    arrivals.discard(gone)
    return arrivals


@pytest.mark.parametrize(
    ("arrivals", "text"),
    [
        (arrived(0, 0, 0, []), "none came"),
        (arrived(3, 0, 0, []), "3 came"),
        (arrived(0, 40, 0, ["no rollout"] * 21), "61 came: 40 filtered, 21 lost: no rollout (21 times)"),
        (arrived(1, 0, 2, ["b", "a", "a"]), "6 came: 2 too old, 3 lost: a (2 times); b"),
        (
            arrived(0, 0, 0, ["task 'x' took 3 s", "task 'y' took 10.5 s", "b", "c", "d"]),
            "5 came: 5 lost: task 'x' took 3 s (2 times); b; c; and 1 other reasons",
        ),
    ],
)
def test_what_came_is_told_in_one_line(arrivals: Arrivals, text: str) -> None:
    assert arrivals.describe() == text


def test_one_kind_of_reason_is_the_only_one_whatever_task_it_names() -> None:
    assert arrived(0, 0, 0, ["task 'a' is 9 long", "task 'b' is 12 long"]).only_reason() == "task 'a' is 9 long"
    assert arrived(0, 0, 0, ["task 'a' is 9 long", "worker died"]).only_reason() is None
    assert arrived(1, 0, 0, ["gone"]).only_reason() is None
    assert arrived(0, 1, 0, ["gone"]).only_reason() is None
    assert arrived(0, 0, 0, []).only_reason() is None
