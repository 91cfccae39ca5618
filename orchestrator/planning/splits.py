"""How many of a run's devices are best given to rollouts, and how many to the learner."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.planning.model import forecast
from orchestrator.planning.types import Forecast, Pipeline, Times

#: So many splits are modelled: those that promise most by the work of each role alone.
_MODELLED = 5


@dataclass(frozen=True)
class Split:
    """Rollout workers and learner ranks that share a number of devices, and what they come to."""

    rollout_workers: int
    learner_ranks: int
    forecast: Forecast


def with_split(pipeline: Pipeline, times: Times, workers: int, ranks: int) -> tuple[Pipeline, Times]:
    """Return pipeline and times for other numbers of workers and ranks; ranks share an update evenly."""
    update = times.update * pipeline.learner_ranks / ranks
    return replace(pipeline, rollout_workers=workers, learner_ranks=ranks), replace(times, update=update)


def in_turns(pipeline: Pipeline, times: Times, devices: float, each: float) -> Split:
    """Model a synchronous run in which all devices are those of both, in turns; a worker and a rank use ``each``.

    Ranks move as much in a switch as those of ``times`` do: no less, though more of them share it.
    """
    count = int(devices / each)
    pipeline, times = with_split(pipeline, times, count, count)
    pipeline = replace(pipeline, max_staleness=0, in_order=True, between_steps=False, takes_turns=True)
    return Split(count, count, forecast(pipeline, times))


def best_splits(
    pipeline: Pipeline, times: Times, devices: float, per_worker: float, per_rank: float
) -> list[Split]:
    """Model the splits of ``devices`` that promise most, the fastest first.

    A worker takes ``per_worker`` of them and a rank ``per_rank``. Whether a rank's share of the model fits into
    its memory is not looked at.
    """
    splits = [
        (int((devices - ranks * per_rank) / per_worker), ranks)
        for ranks in range(1, int((devices - per_worker) / per_rank) + 1)
    ]
    promising = sorted(splits, key=lambda split: -_promise(pipeline, times, *split))[:_MODELLED]
    found = [Split(*split, forecast(*with_split(pipeline, times, *split))) for split in promising]
    return sorted(found, key=lambda split: -split.forecast.samples_per_second)


def _promise(pipeline: Pipeline, times: Times, workers: int, ranks: int) -> float:
    """Return the groups per second that both roles could do: side by side, or in turns where nothing overlaps."""
    batch = times.rollout_fixed / pipeline.slots + times.rollout
    rollout = pipeline.groups_per_step * batch / workers
    learner = times.update * pipeline.learner_ranks / ranks + times.publish + times.overhead
    together = max(rollout, learner) if pipeline.max_staleness else rollout + learner
    return pipeline.groups_per_step / together
