"""A run without Ray and Redis, in a process of its own, as it joins a process group and does not leave it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from common.config import load_config
from common.records import TrajectoryGroup
from orchestrator.reproduction.in_process import in_process_run
from tests.forkserver import forkserver

_SECONDS = 300.0


def make_run(recipe: Path, overrides: Sequence[str], output: Path) -> None:
    """Take all steps of a run, and leave its model, metrics, evaluations and samples in ``output``, as runs do.

    A sample is the first of a group that was trained on.
    """
    process = forkserver().Process(target=_make, args=(recipe, overrides, output))
    process.start()
    process.join(_SECONDS)
    assert process.exitcode == 0


def _make(recipe: Path, overrides: Sequence[str], output: Path) -> None:
    config = load_config(recipe, overrides)
    with in_process_run(config) as run:
        evaluations = [run.evaluate()]
        reports = [run.step() for _ in range(config.run.total_steps)]
        evaluations.append(run.evaluate())
        run.export(output / "model")
    for name, lines in (
        ("metrics", [report.metrics for report in reports]),
        ("evaluations", [one.as_record() for one in evaluations]),
        ("samples", [_sample(report.version, group) for report in reports for group in report.groups]),
    ):
        (output / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _sample(step: int, group: TrajectoryGroup) -> dict[str, object]:
    assert group.rollouts is not None
    completion, reward = group.rollouts.rollouts[0].text, group.scores[0].reward
    return {"step": step, "task_id": group.prompt.task.id, "completion": completion, "reward": reward}
