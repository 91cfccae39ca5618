"""Admission's lead in a simulated pipeline: workers take groups in order, the learner what has come."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import pytest

from learner.collector import Collector
from learner.progress import Progress
from orchestrator.admission import Ledger, capacity
from orchestrator.pacer import Pacer
from tests.learner.learner_tools import make_group

GROUPS_PER_STEP = 8


@dataclass(frozen=True)
class Result:
    """``busy``: share of the time that the learner trained; ``staleness``: mean of a trained group."""

    busy: float
    staleness: float
    dropped: int


class Pipeline:
    """Events in time: ``seconds`` of a group by its index, on each of ``workers``; a step takes ``update``."""

    def __init__(
        self, workers: int, seconds: Callable[[int], float], update: float, max_staleness: int, pacer: Pacer | None
    ) -> None:
        self.now = 0.0
        self.free = workers
        self.seconds = seconds
        self.update = update
        self.max_staleness = max_staleness
        self.pacer = pacer
        self.progress = Progress()
        self.collector = Collector(GROUPS_PER_STEP, max_staleness, "drop", "skip", self.progress)
        self.admitted = 0
        self.prompts: deque[int] = deque()
        self.made: list[tuple[float, int, int]] = []  # end, index, version

    def run(self, steps: int, warm_up: int) -> Result:
        staleness: list[float] = []
        for step in range(steps):
            if step == warm_up:
                began, staleness, dropped = self.now, [], self.progress.dropped
            waiting_since = self.now
            while (batch := self.collector.take()) is None:
                self._admit()
                self._advance(self.made[0][0])
            waited = self.now - waiting_since
            spare = self.collector.waiting
            staleness += [self.progress.version - group.rollouts.version for group in batch if group.rollouts]
            self._admit()
            self._advance(self.now + self.update)
            self.progress.version += 1
            if self.pacer is not None:
                self.pacer.step_ended(waited / (waited + self.update), spare)
        busy = (steps - warm_up) * self.update / (self.now - began)
        return Result(busy, fmean(staleness), self.progress.dropped - dropped)

    def _admit(self) -> None:
        progress = self.progress
        count = capacity(
            Ledger(
                self.admitted, progress.trained, progress.filtered, progress.dropped, late=self.collector.late()
            ),
            version=progress.version,
            steps=10_000,
            groups_per_step=GROUPS_PER_STEP,
            max_staleness=self.max_staleness,
            max_in_flight=1000,
            lead=self.pacer.lead if self.pacer else None,
        )
        self.prompts += range(self.admitted, self.admitted + count)
        self.admitted += count
        self._serve()

    def _serve(self) -> None:
        while self.free and self.prompts:
            index = self.prompts.popleft()
            self.free -= 1
            heapq.heappush(self.made, (self.now + self.seconds(index), index, self.progress.version))

    def _advance(self, to: float) -> None:
        while self.made and self.made[0][0] <= to:
            self.now, index, version = heapq.heappop(self.made)
            self.collector.offer(make_group(index, version=version))
            self.free += 1
            self._serve()
        self.now = to


def simulate(
    workers: int, seconds: Callable[[int], float], max_staleness: int, paced: bool = True, steps: int = 60
) -> Result:
    """A pipeline whose learner takes 8 s for a step of 8 groups."""
    pacer = Pacer(GROUPS_PER_STEP, max_staleness) if paced else None
    return Pipeline(workers, seconds, 8.0, max_staleness, pacer).run(steps, warm_up=20)


def varied(mean: float, spread: float, seed: int = 0) -> Callable[[int], float]:
    draw = random.Random(seed)
    times = [mean * draw.uniform(1 - spread, 1 + spread) for _ in range(4000)]
    return times.__getitem__


@pytest.mark.parametrize("max_staleness", [2, 4])
def test_a_learner_that_is_the_bottleneck_trains_fresh_groups_and_never_waits(max_staleness: int) -> None:
    seconds = varied(2.0, 0.5)  # 4 workers make a step's groups in half its time
    eager = simulate(4, seconds, max_staleness, paced=False)
    paced = simulate(4, seconds, max_staleness)
    assert eager.staleness > max_staleness - 0.3
    assert paced.staleness < 1.3
    assert paced.busy > 0.97 * eager.busy > 0.9
    assert paced.dropped == 0


def test_groups_that_take_longer_than_a_step_are_admitted_as_much_earlier() -> None:
    seconds = varied(20.0, 0.2)  # 40 workers are enough, if they may begin two steps and a half before
    paced = simulate(40, seconds, 6, steps=100)
    assert paced.busy > 0.95
    assert 2.0 < paced.staleness < 4.5


def test_where_rollouts_are_the_bottleneck_all_the_lead_is_used() -> None:
    for max_staleness in (1, 3):
        seconds = varied(3.0, 0.3)
        paced, eager = (simulate(2, seconds, max_staleness, paced=paced) for paced in (True, False))
        assert paced.busy == pytest.approx(eager.busy, rel=0.03)
        assert paced.busy == pytest.approx(8.0 / 12.0, rel=0.05), "two workers make 8 groups in 12 s"
        assert paced.dropped + eager.dropped <= 40 * GROUPS_PER_STEP * 0.02


def test_one_slow_group_of_many_costs_little() -> None:
    usual = varied(2.5, 0.2)

    def slow(index: int) -> float:
        return usual(index) * (10 if index % 40 == 20 else 1)

    undisturbed, disturbed = simulate(4, usual, 1), simulate(4, slow, 1)
    assert undisturbed.busy > 0.95
    assert disturbed.busy > 0.85 * undisturbed.busy
    assert disturbed.dropped <= 40 * GROUPS_PER_STEP / 40, "no more than the slow ones"


def test_the_lead_stays_within_what_staleness_allows() -> None:
    pacer = Pacer(8, 0)
    for waited, left_over in ((0.9, 0), (0.0, 50), (0.0, 50), (0.0, 50), (0.0, 50)):
        pacer.step_ended(waited, left_over)
        assert pacer.lead == 8
    pacer = Pacer(8, 3)
    assert pacer.lead == 16
    for _ in range(10):
        pacer.step_ended(0.5, 0)
    assert pacer.lead == 32
    for _ in range(40):
        pacer.step_ended(0.0, 3)
    assert pacer.lead == 16
