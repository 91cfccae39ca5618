"""A run of a stage that loses its rank and its Ray at random moments: it ends with the same weights."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.stage_runs import STEPS, exported, stage_config, train_alone, write_recipes
from tests.system import faults
from tests.system.conftest import Run

pytestmark = pytest.mark.timeout(900)  # whole runs, one after the other; a busy machine is slow to start them

#: A pace at which a signal at a random moment falls between the first step and the last.
SLOW = "learner.sequences_per_step=24"


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipes of the stages, and beside them a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("stages")
    write_recipes(folder)
    train_alone([stage_config(folder, "pretrain", folder / "whole", SLOW)])
    return folder


@pytest.fixture
def start(recipes: Path, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start_stage(*arguments: str) -> Run:
        recipe = recipes / "pretrain.yaml"
        runs.append(Run(tmp_path / "run", SLOW, *arguments, recipe=recipe, small=False, command="pretrain"))
        return runs[-1]

    yield start_stage
    for run in runs:
        run.kill()


def some_moment(run: Run, step: int, draw: random.Random) -> None:
    """At any moment of one of the next two steps after ``step``, checkpoints and evaluations included."""
    run.wait_for_step(step)
    time.sleep(draw.uniform(0.0, 2 * run.metrics()[-1]["seconds/step"]))


def assert_same(run: Run, whole: Path) -> None:
    ours, theirs = exported(run.folder), exported(whole)
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
    assert [line["step"] for line in run.metrics()] == list(range(1, STEPS + 1))
    evaluations = [json.loads(line) for line in (run.folder / "evaluations.jsonl").read_text().splitlines()]
    assert [line["step"] for line in evaluations] == [0, 4, STEPS]


def test_weights_do_not_depend_on_what_was_killed(recipes: Path, start: Callable[..., Run]) -> None:
    """The other stages run by the same code; tests/learner/stages/test_stage_rank.py resumes all three."""
    draw = random.Random(0)
    run = start()
    some_moment(run, 1, draw)
    (rank,) = run.actors("StageRank")
    rank.send_signal(signal.SIGKILL)
    run.wait_for(lambda: "learner died" in run.output, "restart of the rank")
    time.sleep(draw.uniform(0.0, 2 * run.metrics()[-1]["seconds/step"]))
    faults.kill_ray(run, "raylet")
    assert "--resume auto" in run.output

    resumed = start("--resume", "auto")
    summary = resumed.finish()
    resumed.assert_nothing_left()
    assert summary["updates"] == STEPS
    assert not (resumed.folder / "redis").exists()
    assert_same(resumed, recipes / "whole")
