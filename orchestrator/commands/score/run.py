"""Scoring the completions of a file in one sandbox, for `couplet score`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed

from common.config import RewardConfig
from orchestrator.commands.score.completions import Sample, by_task
from orchestrator.commands.score.view import Result
from reward_service.completions import Completions
from reward_service.results import Scored
from reward_service.scorable import why_unscorable
from reward_service.scoring_pool import ScoringPool


def score_samples(
    config: RewardConfig, samples: Sequence[Sample], advance: Callable[[int], None]
) -> tuple[list[Result], int]:
    """Results in the order of ``samples``, and how many programs ran; ``advance`` is told of completions done.

    Raises SandboxUnavailable.
    """
    results: dict[int, Result] = {}
    with ScoringPool(config) as pool:
        groups: dict[Future[list[Scored]], list[int]] = {}
        for places in by_task(samples):
            task = samples[places[0]].task
            if reason := why_unscorable(task, config):
                results |= {place: Result(samples[place], None, f"task {task.id!r}: {reason}") for place in places}
                advance(len(places))
            else:
                groups[pool.submit(Completions(task, [samples[place].text for place in places]))] = places
        for future in as_completed(groups):
            results |= _results(future, samples, groups[future])
            advance(len(groups[future]))
        executions = pool.executions
    return [results[place] for place in range(len(samples))], executions


def _results(future: Future[list[Scored]], samples: Sequence[Sample], places: Sequence[int]) -> dict[int, Result]:
    """Results by index of completions of one task."""
    try:
        scored = future.result()
    except ValueError as error:  # the task is malformed; the others can be scored all the same
        return {place: Result(samples[place], None, str(error)) for place in places}
    return {place: Result(samples[place], one) for place, one in zip(places, scored, strict=True)}
