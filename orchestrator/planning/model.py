"""A discrete-event model of a run: groups on their way through rollout workers, reward workers and the learner.

It admits by the rules of the run itself (:mod:`orchestrator.admission`, :mod:`orchestrator.pacer`). What a run
computes does not matter here, only how long its parts take. Pure: the clock is the model's own.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from statistics import fmean

from common import rng
from orchestrator.admission import Ledger, capacity
from orchestrator.pacer import Pacer
from orchestrator.planning.late_groups import LateGroups
from orchestrator.planning.machine import Machine
from orchestrator.planning.station import Station
from orchestrator.planning.types import Forecast, Pipeline, Times

#: Steps at the start, in which the pipeline fills up, that are left out.
_SETTLING_STEPS = 3


def forecast(pipeline: Pipeline, times: Times, steps: int = 40, seed: int = 0) -> Forecast:
    """Let the model of a run go for ``steps`` steps of the learner, after a few in which it fills up."""
    return _Model(pipeline, times, seed).run(steps)


class _Stage(Enum):
    """What the learner does."""

    WAIT = auto()
    UPDATE = auto()
    PUBLISH = auto()
    CHECKPOINT = auto()


@dataclass
class _Tally:
    """What is added up once the pipeline is full."""

    began: float = 0.0
    busy: tuple[float, ...] = (0.0, 0.0, 0.0)
    staleness: list[int] = field(default_factory=list)
    dropped: int = 0
    first_work: list[float] = field(default_factory=list)


class _Model:
    def __init__(self, pipeline: Pipeline, times: Times, seed: int) -> None:
        self._pipeline, self._times, self._seed = pipeline, times, seed
        rollout, reward = pipeline.rollout_workers, pipeline.reward_workers
        stations = [Station(pipeline.slots, times.rollout_fixed, times.rollout) for _ in range(rollout)]
        stations += [Station(1, times.reward, 0.0) for _ in range(reward)]
        stations += [Station(1, 1.0, 0.0)]
        threads = [pipeline.threads] * rollout + [1] * reward + [pipeline.threads * pipeline.learner_ranks]
        self._machine = Machine(stations, threads, pipeline.cores)
        self._roles = (range(rollout), range(rollout, rollout + reward), range(rollout + reward, len(stations)))
        self._learner = len(stations) - 1

        self._version = self._admitted = self._trained = self._dropped = 0
        self._updated_at = 0.0
        self._prompts: deque[int] = deque()
        self._unscored: deque[int] = deque()
        self._scored: list[int] = []  # a heap, as are all that have their turn in it
        self._in_line: list[int] = []
        self._next = 0
        self._versions: dict[int, int] = {}  # of the weights that a group was begun under

        self._jobs = [0] * rollout
        self._held = [0] * rollout  # the version that a rollout worker has
        self._unused = [False] * rollout  # its weights, so far
        self._open = [(0, worker) for worker in range(rollout)]
        self._free_reward = list(self._roles[1])
        self._stage = _Stage.WAIT
        self._waiting_since = 0.0
        self._step_began = 0.0
        self._pacer = Pacer(pipeline.groups_per_step, pipeline.max_staleness)
        self._late = LateGroups(pipeline.groups_per_step)
        self._tally = _Tally()

    def run(self, steps: int) -> Forecast:
        first = self._pipeline.max_staleness + _SETTLING_STEPS
        self._admit()
        while self._version < first + steps:
            self._feed()
            station, job = self._machine.next_end()
            if station in self._roles[0]:
                self._rollout_ended(station, job)
            elif station in self._roles[1]:
                self._free_reward.append(station)
                self._arrived(job)
            else:
                self._learner_ended()
                if self._version == first and self._stage is _Stage.PUBLISH:
                    self._tally = _Tally(self._machine.now, self._busy())
        return self._forecast(steps)

    def _forecast(self, steps: int) -> Forecast:
        tally, pipeline = self._tally, self._pipeline
        seconds, groups = self._machine.now - tally.began, steps * pipeline.groups_per_step
        rollout, reward, learner = (
            (now - before) / (seconds * max(1, len(role)))
            for now, before, role in zip(self._busy(), tally.busy, self._roles, strict=True)
        )
        return Forecast(
            samples_per_second=groups * pipeline.group_size / seconds,
            step_seconds=seconds / steps,
            rollout_busy=rollout,
            reward_busy=reward,
            learner_busy=learner,
            staleness=fmean(tally.staleness or [0]),
            dropped=tally.dropped / (groups + tally.dropped),
            weights_to_work=fmean(tally.first_work or [0.0]),
        )

    def _busy(self) -> tuple[float, ...]:
        return tuple(self._machine.busy_seconds(role) for role in self._roles)

    def _admit(self) -> None:
        pipeline = self._pipeline
        count = capacity(
            Ledger(
                self._admitted, self._trained, 0, self._dropped, late=0 if pipeline.in_order else self._late.count
            ),
            version=self._version,
            steps=1 << 40,
            groups_per_step=pipeline.groups_per_step,
            max_staleness=pipeline.max_staleness,
            max_in_flight=pipeline.max_in_flight,
            lead=self._pacer.lead,
        )
        self._prompts.extend(range(self._admitted, self._admitted + count))
        self._admitted += count

    def _feed(self) -> None:
        """Give everybody who is free what there is to do."""
        while self._prompts and self._open:
            jobs, worker = heapq.heappop(self._open)
            if jobs == self._jobs[worker] and self._may_begin(worker):
                self._begin_rollout(worker, self._prompts.popleft())
        while self._unscored and self._free_reward:
            self._machine.begin(self._free_reward.pop(), self._unscored.popleft(), 1.0)
        if self._stage is _Stage.WAIT and self._take_groups():
            now = self._machine.now
            waited = (now - self._waiting_since) / max(now - self._step_began + self._times.update, 1e-9)
            self._pacer.step_ended(waited, left_over=len(self._scored))
            self._step_began = now
            self._begin(_Stage.UPDATE, self._times.update)

    def _may_begin(self, worker: int) -> bool:
        """Tell whether a rollout worker has room; a batch that runs out for new weights takes no group."""
        current = self._pipeline.between_steps or self._held[worker] == self._published or not self._jobs[worker]
        return self._jobs[worker] < self._pipeline.slots and current

    @property
    def _published(self) -> int:
        """The newest version that workers can have."""
        return self._version - (self._stage is _Stage.PUBLISH)

    def _begin_rollout(self, worker: int, group: int) -> None:
        self._take_weights(worker)
        if self._unused[worker]:
            self._unused[worker] = False
            self._tally.first_work.append(self._machine.now + self._times.load - self._updated_at)
        self._versions[group] = self._held[worker]
        self._machine.begin(worker, group, self._work(group))
        self._jobs[worker] += 1
        self._offer(worker)

    def _take_weights(self, worker: int) -> None:
        if self._held[worker] != self._published:
            self._held[worker] = self._published
            self._unused[worker] = True
            self._machine.hold(worker, self._times.load)

    def _offer(self, worker: int) -> None:
        if self._jobs[worker] < self._pipeline.slots:
            heapq.heappush(self._open, (self._jobs[worker], worker))

    def _work(self, group: int) -> float:
        """Draw the work of a group, whose mean is 1 without slow ones."""
        pipeline = self._pipeline
        if not pipeline.spread and not pipeline.slow_share:
            return 1.0
        draw = rng.stream(self._seed, "planned-work", group)
        slow = pipeline.slow_factor if draw.random() < pipeline.slow_share else 1.0
        if not pipeline.spread:
            return slow
        shape = pipeline.spread**-2
        return slow * float(draw.gamma(shape)) / shape

    def _rollout_ended(self, worker: int, group: int) -> None:
        self._jobs[worker] -= 1
        self._offer(worker)
        if self._times.reward:
            self._unscored.append(group)
        else:
            self._arrived(group)

    def _arrived(self, group: int) -> None:
        """Put a scored group where the learner takes its groups from."""
        self._late.arrived(group)
        if not self._pipeline.in_order and self._too_old(group):
            self._count_dropped(1)
        else:
            heapq.heappush(self._scored, group)
        if not self._pipeline.in_order and self._stage is not _Stage.PUBLISH:  # when the run itself admits none
            self._admit()

    def _take_groups(self) -> bool:
        """Take the groups of a step, the oldest first, if there are enough."""
        pipeline, ready = self._pipeline, self._scored
        if pipeline.in_order:
            while self._scored and self._scored[0] == self._next:
                self._in_line.append(heapq.heappop(self._scored))
                self._next += 1
            ready = self._in_line
        if len(ready) < pipeline.groups_per_step:
            return False
        taken = [heapq.heappop(ready) for _ in range(pipeline.groups_per_step)]
        self._tally.staleness += [self._version - self._versions.pop(group) for group in taken]
        self._trained += len(taken)
        return True

    def _drop_old(self) -> None:
        """Drop the scored groups that have become too old."""
        kept = [group for group in self._scored if not self._too_old(group)]
        self._count_dropped(len(self._scored) - len(kept))
        self._scored[:] = sorted(kept)

    def _too_old(self, group: int) -> bool:
        return self._version - self._versions[group] > self._pipeline.max_staleness

    def _count_dropped(self, groups: int) -> None:
        self._dropped += groups
        self._tally.dropped += groups

    def _learner_ended(self) -> None:
        times, every = self._times, self._pipeline.checkpoint_steps
        if self._stage is _Stage.UPDATE:
            self._version += 1
            self._updated_at = self._machine.now
            seconds = times.publish + times.overhead
            if self._pipeline.takes_turns:
                seconds += 2 * times.switch + times.checkpoint * (self._version % every == 0)
            self._begin(_Stage.PUBLISH, seconds)
            return
        published, self._stage = self._stage is _Stage.PUBLISH, _Stage.WAIT
        self._waiting_since = self._machine.now
        if published:
            self._publish()
            if not self._pipeline.in_order:
                self._drop_old()
            self._admit()
            if times.checkpoint and self._version % every == 0 and not self._pipeline.takes_turns:
                self._begin(_Stage.CHECKPOINT, times.checkpoint)

    def _publish(self) -> None:
        """Have workers take the new weights: at once between two steps, or when their batch has ended."""
        for worker, jobs in enumerate(self._jobs):
            if jobs and self._pipeline.between_steps:
                self._take_weights(worker)
                self._unused[worker] = False
                self._tally.first_work.append(self._machine.now + self._times.load - self._updated_at)
            self._offer(worker)

    def _begin(self, stage: _Stage, seconds: float) -> None:
        self._stage = stage
        self._machine.begin(self._learner, 0, seconds)
