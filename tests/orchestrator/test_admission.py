"""Admission: the formula, and a simulated run in which groups come back late, in any order, or not at all."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Literal

import pytest

from common.config import Config
from common.records import PromptGroup, RolloutGroup, Sampler, Score, Task, TestCase, TrajectoryGroup, Verdict
from common.streams import PROMPTS, Streams, connect
from learner.collector import Collector
from learner.progress import Progress
from orchestrator.admission import Admission, Ledger, capacity
from orchestrator.curriculum import Curriculum

SAMPLER = Sampler(temperature=1.0, top_p=1.0, denoising_steps=1, completion_length=1)
TASK = Task(id="t", prompt="p", tests=(TestCase(call="f()", expected="1"),))


# admitted, trained, filtered, dropped; version, steps, groups per step, max staleness, max in flight -> capacity
TABLE = [
    ((0, 0, 0, 0), (0, 10, 8, 0, 64), 8),  # synchronous: one step's groups
    ((8, 0, 0, 0), (0, 10, 8, 0, 64), 0),
    ((8, 8, 0, 0), (1, 10, 8, 0, 64), 8),
    ((0, 0, 0, 0), (0, 10, 8, 2, 64), 24),  # two versions ahead
    ((24, 8, 0, 0), (1, 10, 8, 2, 64), 8),
    ((0, 0, 0, 0), (0, 10, 8, 2, 10), 10),  # bound by what may be in flight
    ((14, 4, 0, 0), (0, 10, 8, 2, 10), 0),
    ((8, 5, 3, 0), (0, 10, 8, 0, 64), 3),  # filtered and dropped groups are replaced
    ((8, 5, 0, 3), (0, 10, 8, 0, 64), 3),
    ((80, 72, 0, 0), (9, 10, 8, 5, 64), 0),  # the last step's groups are under way
    ((76, 72, 0, 0), (9, 10, 8, 5, 64), 4),
    ((80, 80, 0, 0), (10, 10, 8, 0, 64), 0),  # the run is over
    ((30, 8, 0, 0), (1, 10, 8, 0, 64), 0),  # a learner that fell back leaves more in flight than there is room for
]


@pytest.mark.parametrize(("counts", "settings", "expected"), TABLE)
def test_capacity(counts: tuple[int, ...], settings: tuple[int, ...], expected: int) -> None:
    version, steps, groups_per_step, max_staleness, max_in_flight = settings
    found = capacity(
        Ledger(*counts),
        version=version,
        steps=steps,
        groups_per_step=groups_per_step,
        max_staleness=max_staleness,
        max_in_flight=max_in_flight,
    )
    assert found == expected


def test_what_paces_admission_and_what_makes_it_generous() -> None:
    def room(
        ledger: Ledger, *, version: int = 0, steps: int = 10, lead: int | None = None, oversample: float = 1.0
    ) -> int:
        return capacity(
            ledger,
            version=version,
            steps=steps,
            groups_per_step=8,
            max_staleness=2,
            max_in_flight=64,
            lead=lead,
            oversample=oversample,
        )

    assert room(Ledger()) == room(Ledger(), lead=100) == 24, "never more than staleness allows"
    assert room(Ledger(), lead=18) == 18
    assert room(Ledger(24, 16, 0, 0), version=1, lead=18) == 2
    assert room(Ledger(24, 16, 0, 0, late=3), version=1, lead=18) == 5, "those that overtake the late ones"
    assert room(Ledger(24, 16, 0, 0, late=3), version=1, steps=3) == 0, "but none beyond the end"
    assert room(Ledger(), oversample=1.5) == 36
    assert room(Ledger(36, 8, 8, 0), version=1, oversample=1.5) == 16


def test_in_flight_is_what_has_no_other_fate() -> None:
    assert Ledger(admitted=20, trained=8, filtered=3, dropped=2).in_flight == 7


def trajectory(index: int, version: int, rewards: tuple[float, float]) -> TrajectoryGroup:
    prompt = PromptGroup(
        run_id="r", index=index, seed=0, task=TASK, group_size=2, min_version=version, sampler=SAMPLER
    )
    rolled = RolloutGroup(
        prompt=prompt, prompt_ids=(1,), tokenizer_hash="h", version=version, worker="w", seconds=0.0, rollouts=()
    )
    scores = tuple(Score(reward=r, components={}, verdicts=(Verdict.PASSED,)) for r in rewards)
    return TrajectoryGroup(prompt=prompt, rollouts=rolled, scores=scores, worker="w", seconds=0.0)


def lost(index: int) -> TrajectoryGroup:
    prompt = PromptGroup(run_id="r", index=index, seed=0, task=TASK, group_size=2, min_version=0, sampler=SAMPLER)
    return TrajectoryGroup.from_lost(prompt, "w", "gone")


@pytest.mark.parametrize("max_staleness", [0, 1, 3])
@pytest.mark.parametrize("zero_variance", ["skip", "replace"])
@pytest.mark.parametrize("seed", range(5))
def test_the_ledger_is_whole_and_no_group_is_too_stale(
    max_staleness: int, zero_variance: Literal["skip", "replace"], seed: int
) -> None:
    chance = random.Random(seed)
    steps, groups_per_step, max_in_flight = 12, chance.randint(1, 5), chance.randint(5, 20)
    progress = Progress()
    collector = Collector(groups_per_step, max_staleness, "drop", zero_variance, progress)
    admitted, in_flight, trained_staleness, stale_drops = 0, {}, [], 0
    for _ in range(100_000):
        if progress.version == steps:
            break
        ledger = Ledger(admitted, progress.trained, progress.filtered, progress.dropped)
        count = capacity(
            ledger,
            version=progress.version,
            steps=steps,
            groups_per_step=groups_per_step,
            max_staleness=max_staleness,
            max_in_flight=max_in_flight,
        )
        for index in range(admitted, admitted + chance.randint(0, count)):
            in_flight[index] = progress.version
            admitted = index + 1
        ledger = Ledger(admitted, progress.trained, progress.filtered, progress.dropped)
        assert ledger.in_flight == admitted - progress.consumed
        assert ledger.in_flight <= max_in_flight
        assert progress.trained + ledger.in_flight <= steps * groups_per_step
        for index in chance.sample(sorted(in_flight), min(len(in_flight), chance.randint(0, 3))):
            # A worker may sample with newer weights than those at admission, never with older ones.
            version = chance.randint(in_flight.pop(index), progress.version)
            fate = chance.random()
            rewards = (1.0, 1.0) if fate < 0.2 else (0.0, 1.0)
            collector.offer(lost(index) if fate > 0.9 else trajectory(index, version, rewards))
            if fate <= 0.9:
                stale_drops += progress.version - version > max_staleness
        batch = collector.take()
        if batch is not None:
            trained_staleness += [progress.version - g.rollouts.version for g in batch if g.rollouts is not None]
            progress.version += 1
    assert progress.version == steps
    assert progress.trained == steps * groups_per_step
    assert len(trained_staleness) == steps * groups_per_step
    assert max(trained_staleness) <= max_staleness
    if max_staleness == 0:
        assert stale_drops == 0, "in order, admission alone keeps the bound"


def test_without_staleness_neither_timing_nor_discarded_groups_move_a_batch() -> None:
    """Groups are discarded as they come, and admission goes by that; what is trained, by what, stays the same."""

    def play(chance: random.Random) -> list[list[tuple[int, int]]]:
        progress = Progress()
        collector = Collector(3, 0, "drop", "replace", progress)
        admitted, in_flight, batches = 0, dict[int, int](), []
        while len(batches) < 12:
            ledger = Ledger(admitted, progress.trained, progress.filtered, progress.dropped, late=collector.late())
            count = capacity(
                ledger,
                version=progress.version,
                steps=12,
                groups_per_step=3,
                max_staleness=0,
                max_in_flight=64,
            )
            in_flight |= dict.fromkeys(range(admitted, admitted + count), progress.version)
            admitted += count
            for index in chance.sample(sorted(in_flight), min(len(in_flight), chance.randint(0, 2))):
                version, fate = in_flight.pop(index), index % 5
                rewards = (1.0, 1.0) if fate in (1, 2) else (0.0, 1.0)
                collector.offer(lost(index) if fate == 3 else trajectory(index, version, rewards))
            batch = collector.take()
            if batch is not None:
                batches.append([(g.prompt.index, g.rollouts.version) for g in batch if g.rollouts is not None])
                progress.version += 1
        return batches

    expected = play(random.Random(0))
    assert [version for batch in expected for _, version in batch] == [
        step for step in range(12) for _ in range(3)
    ]
    assert all(play(random.Random(seed)) == expected for seed in range(1, 20))


def test_a_learner_that_falls_back_to_its_checkpoint_ends_at_the_same_counts() -> None:
    def play(crash_at: Callable[[int], bool]) -> tuple[Progress, int]:
        progress, saved = Progress(), Progress()
        admitted, delivered = 0, []
        collector = Collector(2, 1, "drop", "skip", progress)
        while progress.version < 8:
            ledger = Ledger(admitted, progress.trained, progress.filtered, progress.dropped)
            count = capacity(
                ledger,
                version=progress.version,
                steps=8,
                groups_per_step=2,
                max_staleness=1,
                max_in_flight=64,
            )
            for index in range(admitted, admitted + count):
                delivered.append(trajectory(index, progress.version, (0.0, 1.0)))
            admitted += count
            for group in delivered:
                collector.offer(group)
            if collector.take() is not None:
                progress.version += 1
                if progress.version % 3 == 0:
                    saved = Progress(**vars(progress))
            if crash_at(progress.version):
                progress = Progress(**vars(saved))
                collector = Collector(2, 1, "drop", "skip", progress)
        return progress, admitted

    crashes = {2, 5, 7}
    undisturbed = play(lambda version: False)
    disturbed = play(lambda version: version in crashes and not crashes.remove(version))  # type: ignore[func-returns-value]
    assert disturbed == undisturbed
    assert undisturbed == (Progress(version=8, next_index=16, trained=16), 16)


def test_groups_are_admitted_in_order_and_again_where_redis_has_lost_them(redis_url: str, run_id: str) -> None:
    config = Config.model_validate(
        {
            "run": {"steps": 100},
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic"},
            "learner": {"groups_per_step": 4},
            "admission": {"max_staleness": 1},
        }
    )
    streams = Streams(connect(redis_url), run_id, config.streams)
    streams.create()
    admission = Admission(config, run_id, streams, Curriculum([TASK], 0))
    admission.admit(version=0)
    admission.admit(version=0)
    prompts = [PromptGroup.decode(data) for data in streams.messages(PROMPTS)]
    assert [prompt.index for prompt in prompts] == list(range(8)), "no more than this step and the next need"
    assert {prompt.min_version for prompt in prompts} == {0}

    streams.set_counters({"trained": 4})
    admission = Admission(config, run_id, streams, Curriculum([TASK], 0))
    assert (admission.ledger().admitted, admission.ledger().in_flight) == (8, 4), "they are still on their way"

    streams.empty()
    streams.create()
    admission = Admission(config, run_id, streams, Curriculum([TASK], 0))
    admission.begin_at(Progress(next_index=3, trained=4, ahead=(4,)))
    admission.admit_again([3])
    streams.set_counters({"trained": 4})
    admission.admit(version=1)
    assert [PromptGroup.decode(data).index for data in streams.messages(PROMPTS)] == [3, *range(5, 12)]
    assert admission.ledger().in_flight == 8


def test_a_lost_group_of_a_later_step_waits_for_its_turn(redis_url: str, run_id: str) -> None:
    """Else it would be sampled with older weights than before, and too old for its step without staleness."""
    config = Config.model_validate(
        {
            "run": {"steps": 100},
            "model": {"path": "builtin:quickstart"},
            "data": {"source": "synthetic"},
            "learner": {"groups_per_step": 4},
        }
    )
    streams = Streams(connect(redis_url), run_id, config.streams)
    streams.create()
    admission = Admission(config, run_id, streams, Curriculum([TASK], 0))
    admission.begin_at(Progress(next_index=12))
    collector = Collector(4, 0, "drop", "replace", Progress())
    again = [index for index in range(12) if index not in (1, 7, 8)]
    for index in (1, 7, 8):  # as the decisions say, which were not lost
        collector.offer(trajectory(index, 0, (1.0, 1.0)))
    admission.admit_again(again)
    sampled: dict[int, int] = {}
    while collector.progress.version < 2:
        progress = collector.progress
        streams.set_counters(
            {
                "trained": progress.trained,
                "filtered": progress.filtered,
                "discarded_before": collector.discarded_before_missing(),
            }
        )
        admission.admit(progress.version)
        for data in streams.messages(PROMPTS):
            prompt = PromptGroup.decode(data)
            if sampled.setdefault(prompt.index, prompt.min_version) == prompt.min_version:
                collector.offer(trajectory(prompt.index, prompt.min_version, (0.0, 1.0)))
        if collector.take() is not None:
            progress.version += 1
    assert [sampled[index] for index in again if index in sampled] == [0, 0, 0, 0, 1, 1, 1, 1]
