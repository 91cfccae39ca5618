"""How soon the quick start has learned: what a run took until its held-out pass rate reached a target.

Seconds are those of learner steps, rollouts and weights included: neither start-up nor evaluations count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from common.config import load_config
from common.errors import UserError
from orchestrator.report.recorded_run import check_run_folder, read_run
from orchestrator.revision import code_revision

HEADER = "| date | commit | settings | machine | held-out before | reached | updates | samples | seconds |"
RULE = "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"


@dataclass(frozen=True)
class Reached:
    """The first evaluation of a run at or above the target, and what the run took up to it."""

    before: float
    pass_rate: float
    updates: int
    samples: int
    seconds: float

    def row(self, settings: str, machine: str) -> str:
        """Return the line of the leaderboard, under :data:`HEADER`."""
        cells = (
            date.today().isoformat(),
            code_revision(),
            settings or "defaults",
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
        raise UserError(f"{folder}: no evaluation reached {target:.0%}: {best}; train longer (run.steps)")
    step, rate = found
    seconds = dict(run.points("seconds/step"))
    paces = dict(run.points("perf/samples_per_second"))
    steps = [one for one in seconds if one <= step]
    return Reached(
        before=rounds[0][1],
        pass_rate=rate,
        updates=int(step) * config.learner.updates_per_step,
        samples=round(sum(seconds[one] * paces[one] for one in steps)),
        seconds=sum(seconds[one] for one in steps),
    )
