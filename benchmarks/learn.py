"""How soon the quick start has learned: what a run took until its held-out pass rate reached a target.

Seconds are those of learner steps, rollouts and weights included. Start-up does not count, and an evaluation only
as far as a step waits for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.config import Config, load_config
from common.errors import UserError
from orchestrator.commands.recipes import shipped_recipe
from orchestrator.report.recorded_run import check_run_folder, read_run

HEADER = "| date | commit | settings | machine | held-out before | reached | updates | samples | seconds |"
RULE = "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"


#: What no learning depends on.
_FREE = ("run.name", "run.folder", "run.about", "evaluation.every_steps")


@dataclass(frozen=True)
class Reached:
    """The first evaluation of a run at or above the target, and what the run took up to it.

    ``date`` is the day on which the run began; ``settings`` are those in which it differs from the recipe.
    """

    date: str
    settings: tuple[str, ...]
    before: float
    pass_rate: float
    updates: int
    samples: int
    seconds: float

    def row(self, commit: str, machine: str) -> str:
        """Return the line of the leaderboard, under :data:`HEADER`."""
        cells = (
            self.date,
            commit,
            " ".join(self.settings) or "defaults",
            machine,
            f"{self.before:.1%}",
            f"{self.pass_rate:.1%}",
            str(self.updates),
            f"{self.samples:,}",
            f"{self.seconds:.0f}",
        )
        return f"| {' | '.join(cells)} |"


def reached(folder: Path, target: float) -> Reached:
    """Read from a run's folder what it took to reach ``target``.

    Raises ConfigError for a folder that is no run's, and UserError where no evaluation reached the target.
    """
    check_run_folder(folder)
    run, config = read_run(folder), load_config(folder / "config.yaml")
    rounds = run.evaluated("pass_rate")
    found = next(((step, rate) for step, rate in rounds if rate >= target), None)
    if found is None:
        best = f"the best is {max(rate for _, rate in rounds):.1%}" if rounds else "there is none"
        raise UserError(
            f"{folder}: no evaluation reached {target:.0%}: {best}; train longer (run.steps), or give a lower "
            "--target"
        )
    step, rate = found
    seconds = dict(run.points("seconds/step"))
    paces = dict(run.points("perf/samples_per_second"))
    steps = [one for one in seconds if one <= step]
    return Reached(
        date=str(run.run.get("started", "–"))[:10],
        settings=_changes(config),
        before=rounds[0][1],
        pass_rate=rate,
        updates=int(step) * config.learner.updates_per_step,
        samples=round(sum(seconds[one] * paces[one] for one in steps)),
        seconds=sum(seconds[one] for one in steps),
    )


def _changes(config: Config) -> tuple[str, ...]:
    """Return the settings in which a configuration differs from the quick start's."""
    ours = dict(_flat(load_config(shipped_recipe("quickstart")).model_dump(mode="json")))
    theirs = dict(_flat(config.model_dump(mode="json")))
    return tuple(f"{key}={value}" for key, value in theirs.items() if key not in _FREE and ours.get(key) != value)


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
