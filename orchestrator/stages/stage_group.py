"""The ranks of a stage, started and stopped together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.config import StageConfig
from learner.stages.segments import StageReport
from learner.stages.stage_rank import StageRank
from orchestrator.fleet.cluster import actor_resources
from orchestrator.fleet.rank_group import LearnerDiedError, RankGroup, start_ranks
from orchestrator.fleet.ray_processes import checking_ray
from orchestrator.fleet.spawning import spawner


class StageGroup(RankGroup[StageReport]):
    """Drive all ranks of a stage."""

    def step(self, checkpoint: bool, watch: Callable[[], None]) -> StageReport:
        """Take a step, with ``checkpoint`` after a checkpoint of the steps before it; call ``watch`` meanwhile.

        Raises LearnerDiedError.
        """
        self.begin_step(checkpoint)
        report = self._end_step(self._deadlines.step_seconds, watch)
        if report is None:
            raise LearnerDiedError(f"{self.name}: no report of a step")
        return report

    def evaluate(self, watch: Callable[[], None]) -> dict[str, float]:
        """Return the held-out losses of the current weights; call ``watch`` meanwhile. Raises LearnerDiedError."""
        found = self._together("evaluate", deadline=self._deadlines.step_seconds, watch=watch)
        losses: dict[str, float] = found[0]
        return losses


@contextmanager
def running_ranks(
    config: StageConfig,
    run_id: str,
    model: str,
    data: Path,
    checkpoint: Path | None,
    check_stop: Callable[[], None],
    note: Callable[[str], None],
) -> Iterator[StageGroup]:
    """Start the ranks on a starting model and a prepared corpus, from ``checkpoint`` if there is one.

    ``check_stop`` is called while waiting and may raise; ``note`` is told of ranks that fail at their start.
    Raises TooManyRestartsError, CheckpointError, or RayLostError where a process of a local Ray dies.
    """
    takes = actor_resources(config.learner.gpus_per_rank, config.learner.ray_resource)
    spawn = spawner(StageRank, run_id, (config, run_id, model, data), takes)
    check = checking_ray(config, check_stop)
    group = StageGroup(config, spawn, check)
    start_ranks(group, checkpoint, check, note)
    yield group
