"""How long the parts of a run take, from the folder of one that was made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean, median
from typing import Any

from common.config import Config
from common.errors import UserError
from orchestrator.planning.types import Times
from orchestrator.run_folder import read_records

#: The first steps find caches cold.
_WARM_UP_STEPS = 2
#: A step without a checkpoint takes less than this for it.
_NO_CHECKPOINT_SECONDS = 1e-3


def measured_times(folder: Path, config: Config, cores: float | None) -> Times:
    """Return the times of a run that lies in ``folder`` with its ``config``, of the steps after the first ones.

    Processes that shared ``cores`` were slower by their share of them, which is taken out: the roles of a
    synchronous run took turns, those of another worked side by side. Raises UserError where there are no steps to
    go by.
    """
    steps = read_records(folder, "metrics")[_WARM_UP_STEPS:]
    if not steps:
        raise UserError(
            f"--of {folder}: has no more than {_WARM_UP_STEPS} steps, which find caches cold; name the folder "
            "of a longer run"
        )
    groups = sum(step["groups/trained"] for step in steps)
    checkpoints = [step["seconds/checkpoint"] for step in steps]
    written = [seconds for seconds in checkpoints if seconds > _NO_CHECKPOINT_SECONDS]
    rollout, learner = config.rollout.workers, config.learner.ranks
    together = config.admission.max_staleness > 0
    return Times(
        rollout=sum(step["seconds/rollout"] for step in steps)
        / groups
        / _slowed(rollout + learner * together, config, cores),
        reward=sum(step["seconds/reward"] for step in steps) / groups,
        update=_mean(steps, "seconds/update") / _slowed(learner + rollout * together, config, cores),
        publish=median(step["seconds/weights"] for step in steps),
        checkpoint=fmean(written) if written else 0.0,
        switch=fmean(step.get("seconds/switch", 0.0) for step in steps) / 2,
        overhead=max(0.0, fmean(_rest(step) for step in steps)),
    )


def threads_of(config: Config, cores: float | None) -> int:
    """Return the cores that a process uses which runs the model."""
    return config.model.threads or int(cores or 1)


def _slowed(processes: int, config: Config, cores: float | None) -> float:
    """Return how many times slower processes are that run the model side by side on these cores."""
    return 1.0 if cores is None else max(1.0, processes * threads_of(config, cores) / cores)


def _mean(steps: Iterable[Mapping[str, Any]], name: str) -> float:
    return fmean(float(step[name]) for step in steps)


def _rest(step: Mapping[str, Any]) -> float:
    parts = ("seconds/wait", "seconds/update", "seconds/checkpoint", "seconds/weights")
    switches = float(step.get("seconds/switch", 0.0))
    return float(step["seconds/step"]) - switches - sum(float(step[name]) for name in parts)
