"""The loop of a run, measured: samples per second and staleness by ``admission.max_staleness``.

Every case is a run of its own, started as `couplet train` starts it: small steps of the quick start, whose
rollouts are made longer or shorter than its updates by the number of their denoising steps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.table import Table

from benchmarks.slow_reward import SLOW
from common.config import Config, load_config
from common.errors import RunFailedError
from orchestrator.chaos.run_process import RunProcess
from orchestrator.planning.measured import measured_times
from orchestrator.planning.model import forecast
from orchestrator.planning.pipeline import pipeline_of
from orchestrator.run_folder import read_records

#: Steps at the start that are left out: caches are cold, and the pipeline fills up.
_WARM_UP_STEPS = 4
_DEADLINE_SECONDS = 900.0
#: Denoising steps and inner iterations: rollouts take as long as updates on two cores, or a third or thrice of it.
_WORK = {"balanced": (22, 2), "learner-bound": (7, 2), "rollout-bound": (27, 1)}
#: A slow group takes so many times as long as a step does, and one in so many groups is slow.
_SLOW_FACTOR, _SLOW_EVERY = 10, 80
_SETTINGS = (
    "data.train_tasks=2000",
    "data.held_out_tasks=4",
    "model.threads=1",
    "rollout.group_size=8",
    "rollout.batch_tokens=1700",
    "learner.groups_per_step=8",
    "learner.checkpoint_steps=100",
    "admission.max_in_flight=64",
    "evaluation.every_steps=0",
    "ray.dashboard=false",
)


@dataclass(frozen=True)
class Case:
    """One run: ``workers`` rollout workers and learner ranks, each, and how their work is balanced.

    ``slow_seconds``: what scoring one group in 80 takes; 0 where none is slow.
    """

    balance: str
    processes: int
    staleness: int
    slow_seconds: float = 0.0

    @property
    def name(self) -> str:
        """The case in a few words."""
        slow = ", slow groups" if self.slow_seconds else ""
        return f"{self.processes}+{self.processes} {self.balance}{slow}, K={self.staleness}"

    def settings(self, steps: int, folder: Path) -> list[str]:
        """Return the overrides of the quick start for a run of ``steps`` steps in ``folder``."""
        denoising_steps, iterations = _WORK[self.balance]
        slow = '[{path: "benchmarks.slow_reward:slow", weight: 0.0, scope: group, timeout_seconds: 600}]'
        return [
            *_SETTINGS,
            f"run.folder={json.dumps(str(folder))}",
            f"run.steps={steps + _WARM_UP_STEPS}",
            f"rollout.workers={self.processes}",
            f"learner.ranks={self.processes}",
            f"learner.zero_stage={0 if self.processes == 1 else 2}",
            f"rollout.denoising_steps={denoising_steps}",
            f"learner.inner_iterations={iterations}",
            f"admission.max_staleness={self.staleness}",
            *([f"reward.functions={slow}", "reward.workers=3"] if self.slow_seconds else []),
        ]


@dataclass(frozen=True)
class Measured:
    """What a case came to over its steps after the first ones.

    ``staleness``: mean versions. ``wait``: share of the time that the learner waited for groups.
    ``weights_delay``: mean seconds from new weights to the first denoising step under them; None where no worker
    worked meanwhile.
    ``planned``: samples per second by the model of `couplet plan`, from the times of the synchronous run.
    """

    case: Case
    samples_per_second: float
    step_seconds: float
    staleness: float
    wait: float
    weights_delay: float | None
    planned: float | None


def cases(balances: Sequence[str], processes: Sequence[int], bounds: Sequence[int]) -> Iterator[Case]:
    """Yield the cases without slow groups; those that are compared come one after the other."""
    for count in processes:
        for balance in balances:
            for bound in bounds:
                yield Case(balance, count, bound)


def run(
    wanted: Sequence[Case],
    steps: int,
    recipe: Path,
    folder: Path,
    starting: Callable[[Case], None],
    done: Callable[[Measured], None],
) -> list[Measured]:
    """Make the runs in ``folder``, and one more with slow groups of the last balanced case of one process each.

    ``starting`` and ``done`` are told of each. Raises RunFailedError where a run fails.
    """
    found: list[Measured] = []
    synchronous: dict[tuple[str, int], Path] = {}
    for case in wanted:
        starting(case)
        key = (case.balance, case.processes)
        place = _make(case, steps, recipe, folder)
        if case.staleness == 0:
            synchronous[key] = place
        found.append(_measure(case, place, synchronous.get(key)))
        done(found[-1])
    fast = [
        one for one in found if one.case.processes == 1 and one.case.staleness and one.case.balance == "balanced"
    ]
    if fast:
        last = fast[-1]
        slow = Case("balanced", 1, last.case.staleness, slow_seconds=_SLOW_FACTOR * last.step_seconds)
        starting(slow)
        found.append(_measure(slow, _make(slow, steps, recipe, folder), None))
        done(found[-1])
    return found


def _make(case: Case, steps: int, recipe: Path, folder: Path) -> Path:
    name = f"{case.balance}-{case.processes}-K{case.staleness}{'-slow' if case.slow_seconds else ''}"
    place = folder / name
    os.environ[SLOW] = f"{case.slow_seconds},{_SLOW_EVERY}"
    process = RunProcess([str(recipe), *case.settings(steps, place)], place, folder / f"{name}.log")
    try:
        code = process.wait(_DEADLINE_SECONDS)
    finally:
        process.kill()
    if code != 0:
        raise RunFailedError(f"the run of {name} ended with {code}; see {process.log}")
    return place


def _measure(case: Case, folder: Path, synchronous: Path | None) -> Measured:
    lines = read_records(folder, "metrics")[_WARM_UP_STEPS:]
    seconds = sum(line["seconds/step"] for line in lines)
    delays = [line["seconds/weights_delay"] for line in lines if "seconds/weights_delay" in line]
    config = load_config(folder / "config.yaml")
    samples = len(lines) * config.learner.groups_per_step * config.rollout.group_size
    return Measured(
        case=case,
        samples_per_second=samples / seconds,
        step_seconds=seconds / len(lines),
        staleness=fmean(line["staleness/mean"] for line in lines),
        wait=sum(line["seconds/wait"] for line in lines) / seconds,
        weights_delay=fmean(delays) if delays else None,
        planned=None if synchronous is None else _planned(config, synchronous),
    )


def _planned(config: Config, synchronous: Path) -> float:
    cores = float(len(os.sched_getaffinity(0)))
    times = measured_times(synchronous, load_config(synchronous / "config.yaml"), cores)
    return forecast(pipeline_of(config, cores), times).samples_per_second


def view(found: Sequence[Measured]) -> Table:
    """Show all cases, the speed-ups beside the synchronous run of the same processes and balance."""
    table = Table(
        caption="x K=0: beside the synchronous run of the same processes. planned: samples/s by the model of "
        "`couplet plan`, from the times of that run"
    )
    for name in (
        "processes",
        "balance",
        "K",
        "samples/s",
        "x K=0",
        "staleness",
        "waiting",
        "weights s",
        "planned",
    ):
        table.add_column(name, justify="left" if name in ("processes", "balance") else "right")
    synchronous = {
        (one.case.balance, one.case.processes): one.samples_per_second for one in found if not one.case.staleness
    }
    for one in found:
        case, base = one.case, synchronous.get((one.case.balance, one.case.processes))
        planned = (
            "" if one.planned is None else f"{one.planned:.1f} ({one.planned / one.samples_per_second - 1:+.0%})"
        )
        table.add_row(
            f"{case.processes}+{case.processes}",
            f"{case.balance}{', slow groups' if case.slow_seconds else ''}",
            str(case.staleness),
            f"{one.samples_per_second:.1f}",
            "" if base is None else f"{one.samples_per_second / base:.2f}",
            f"{one.staleness:.2f}",
            f"{one.wait:.0%}",
            "" if one.weights_delay is None else f"{one.weights_delay:.3f}",
            planned,
        )
    return table


def as_json(found: Sequence[Measured]) -> dict[str, Any]:
    """Return all cases for a file."""
    return {"cases": [asdict(one) for one in found]}
