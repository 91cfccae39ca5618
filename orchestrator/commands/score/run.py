"""Scoring the completions of a file in one sandbox, for `couplet score`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from common.config import RewardConfig
from orchestrator.commands.score.completions import Sample, by_task
from orchestrator.commands.score.view import Result
from reward_service.reward_actor import make_sandbox, make_scorer
from reward_service.scoring import Scorer
from sandbox.types import Sandbox


def score_samples(
    config: RewardConfig, samples: Sequence[Sample], advance: Callable[[int], None]
) -> tuple[list[Result], int]:
    """Results in the order of ``samples``, and how many programs ran; ``advance`` is told of completions done.

    Raises SandboxUnavailable.
    """
    sandbox = make_sandbox(config)
    try:
        scorer = make_scorer(config, sandbox)
        try:
            results = _score_all(scorer, sandbox, samples, advance)
        finally:
            scorer.close()
        return results, int(scorer.metrics.collect()["scoring/executions"])
    finally:
        sandbox.close()


def _score_all(
    scorer: Scorer, sandbox: Sandbox, samples: Sequence[Sample], advance: Callable[[int], None]
) -> list[Result]:
    results: dict[int, Result] = {}
    # One task more than there are slots: a slot that falls idle finds the next program waiting.
    pool = ThreadPoolExecutor(sandbox.slots + 1, thread_name_prefix="score")
    try:
        futures = [pool.submit(_score_task, scorer, samples, places) for places in by_task(samples)]
        for future in as_completed(futures):
            found = future.result()
            results |= found
            advance(len(found))
    except BaseException:  # Ctrl-C above all: what is under way then ends at once, as infra
        sandbox.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [results[place] for place in range(len(samples))]


def _score_task(scorer: Scorer, samples: Sequence[Sample], places: Sequence[int]) -> dict[int, Result]:
    """Results by index of completions of one task."""
    chosen = [samples[place] for place in places]
    try:
        scored = scorer.examine(chosen[0].task, [sample.text for sample in chosen])
    except ValueError as error:  # the task is malformed; the others can be scored all the same
        return {place: Result(samples[place], None, str(error)) for place in places}
    return {place: Result(samples[place], one) for place, one in zip(places, scored, strict=True)}
