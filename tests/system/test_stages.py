"""Runs of the stages that are killed and stopped at random moments: they end with the same weights."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.stage_runs import STEPS, exported, stage_config, train_alone, write_recipes
from tests.system.conftest import Run

pytestmark = pytest.mark.timeout(900)  # whole runs, one after the other; a busy machine is slow to start them

#: What measures time, and what counts restarts.
OF_ONE_ATTEMPT = r"time|restarts|(seconds|perf)/.*"
#: A pace at which a signal at a random moment falls between the first step and the last. pretrain is left out: as
#: a run it is adapt without annealing, and tests/learner/stages/test_stage_rank.py resumes all three stages.
SLOW = {
    "adapt": ("learner.sequences_per_step=192",),
    "sft": ("learner.sequences_per_step=48",),
}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipes of the stages, and beside them a run of each that nothing disturbed."""
    folder = tmp_path_factory.mktemp("stages")
    write_recipes(folder)
    train_alone([stage_config(folder, stage, folder / f"{stage}-whole", *SLOW[stage]) for stage in SLOW])
    return folder


@pytest.fixture
def start_stage(recipes: Path, tmp_path: Path) -> Any:
    runs: list[Run] = []

    def start(stage: str, *arguments: str) -> Run:
        recipe = recipes / f"{stage}.yaml"
        runs.append(Run(tmp_path / "run", *SLOW[stage], *arguments, recipe=recipe, small=False, command=stage))
        return runs[-1]

    yield start
    for run in runs:
        run.kill()


StartStage = Callable[..., Run]


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


@pytest.mark.parametrize(("stage", "seed"), [(stage, seed) for seed, stage in enumerate(SLOW)])
def test_weights_do_not_depend_on_kills_and_stops(
    recipes: Path, start_stage: StartStage, stage: str, seed: int
) -> None:
    draw = random.Random(seed)
    run = start_stage(stage)
    if stage == "adapt":  # a rank dies, and the run is then asked to stop
        some_moment(run, 1, draw)
        (rank,) = run.actors("StageRank")
        rank.send_signal(signal.SIGKILL)
        run.wait_for(lambda: "learner died" in run.output, "restart of the rank")
        time.sleep(draw.uniform(0.0, 2 * run.metrics()[-1]["seconds/step"]))
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM, run.output[-4000:]
        assert re.search(r"checkpoint of step \d; go on with --resume auto", run.output)
    else:
        some_moment(run, draw.randint(1, STEPS // 2), draw)
        run.process.send_signal(signal.SIGKILL)
        run.wait()
    run.assert_nothing_left()
    resumed = start_stage(stage, "--resume", "auto")
    summary = resumed.finish()
    resumed.assert_nothing_left()
    assert summary["updates"] == STEPS
    assert not (resumed.folder / "redis").exists()
    assert_same(resumed, recipes / f"{stage}-whole")
