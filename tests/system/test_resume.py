"""SIGKILL at random moments, then on from the last checkpoint: bitwise what an undisturbed run makes."""

from __future__ import annotations

import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.timeout(900)  # whole runs, one after the other; a busy machine is slow to start them

STEPS, GROUPS = 6, 4  # with a checkpoint every 2 steps
ONE_RANK = ("learner.ranks=1", "learner.zero_stage=0")
TWO_RANKS = ("learner.ranks=2", "learner.zero_stage=2")
#: What measures time, and what counts restarts or the groups that an earlier life of the run had admitted.
OF_ONE_LIFE = r"time|restarts|ledger/(admitted|in_flight)|(seconds|perf)/.*"
DEADLINE = 300.0

Run = Any  # of conftest.py
StartRun = Callable[..., Run]
Moment = Callable[[Run, int, random.Random], None]


def start(start_run: StartRun, ranks: tuple[str, ...], *arguments: str) -> Run:
    return start_run(f"run.steps={STEPS}", "model.threads=1", *ranks, *arguments)


def undisturbed(start_run: StartRun, ranks: tuple[str, ...]) -> Path:
    """The folder of a run that nothing happened to."""
    run = start(start_run, ranks)
    run.finish(DEADLINE)
    return run.folder.rename(run.folder.with_name("undisturbed"))


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def assert_same(run: Run, expected: Path) -> None:
    """Weights, metrics, samples and evaluations are those of the run in ``expected``, bit for bit."""
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (run.folder, expected))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []

    lines = records(run.folder, "metrics")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line, other in zip(lines, records(expected, "metrics"), strict=True):
        assert timeless(line) == timeless(other)
        outcomes = (line[f"ledger/{name}"] for name in ("trained", "filtered", "dropped", "in_flight"))
        assert line["ledger/admitted"] == sum(outcomes)
    assert (lines[-1]["ledger/trained"], lines[-1]["ledger/in_flight"]) == (STEPS * GROUPS, 0)

    samples = records(run.folder, "samples")
    assert samples == records(expected, "samples")
    assert Counter(sample["step"] for sample in samples) == dict.fromkeys(range(1, STEPS + 1), GROUPS)
    assert max(Counter(sample["task_id"] for sample in samples).values()) == 1, "a group was trained twice"
    assert records(run.folder, "evaluations") == records(expected, "evaluations")


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if not re.fullmatch(OF_ONE_LIFE, name)}


def learner_ranks(run: Run, count: int) -> list[psutil.Process]:
    """The processes of the learner, rank 0 first: it alone is connected to Redis."""
    port = int((run.folder / "redis-url").read_text().strip().rsplit(":", 1)[1].split("/")[0])
    end = time.monotonic() + DEADLINE
    while True:
        found = run.actors("LearnerRank")
        leads = [any(c.raddr and c.raddr.port == port for c in p.net_connections("tcp")) for p in found]
        if len(found) == count and any(leads):
            return [found[i] for i in sorted(range(count), key=lambda i: not leads[i])]
        assert time.monotonic() < end, run.output[-4000:]
        time.sleep(0.05)


def wait_for(run: Run, condition: Callable[[], bool], what: str) -> None:
    """As ``Run.wait_for``, but within a millisecond."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert run.process.poll() is None, f"the run ended before {what}:\n{run.output[-4000:]}"
        assert time.monotonic() < end, f"no {what} within {DEADLINE:.0f} s:\n{run.output[-4000:]}"
        time.sleep(0.001)


def between_steps(run: Run, step: int, draw: random.Random) -> None:
    """When ``step`` has just been recorded."""
    file = run.folder / "metrics.jsonl"
    wait_for(run, lambda: file.exists() and file.read_bytes().count(b"\n") >= step, f"step {step}")


def in_step(run: Run, step: int, draw: random.Random) -> None:
    """At any moment of the step after ``step``."""
    between_steps(run, step, draw)
    time.sleep(draw.uniform(0.0, run.metrics()[-1]["seconds/step"]))


def in_checkpoint(run: Run, step: int, draw: random.Random) -> None:
    """While the checkpoint of ``step`` is being written, or just published."""
    folder = run.folder / "checkpoints"
    wait_for(run, (folder / f".step-{step:06d}.tmp").exists, f"checkpoint {step}")
    time.sleep(draw.uniform(0.0, 0.03))


def kill_rank(run: Run, moment: Moment, step: int, draw: random.Random, rank: int = 0, count: int = 1) -> None:
    """SIGKILL one rank at that moment, and wait until the learner is back."""
    victim = learner_ranks(run, count)[rank]
    restarts = run.output.count("learner died")
    moment(run, step, draw)
    victim.send_signal(signal.SIGKILL)
    wait_for(run, lambda: run.output.count("learner died") > restarts, "restart of the learner")


def test_one_rank_killed_at_three_moments_and_then_the_whole_run(start_run: StartRun) -> None:
    expected = undisturbed(start_run, ONE_RANK)
    draw = random.Random(1)
    run = start(start_run, ONE_RANK)
    wait_for(run, lambda: "training" in run.output, "training")
    for moment, step in ((in_step, 1), (in_checkpoint, 2), (between_steps, 3)):
        kill_rank(run, moment, step, draw)
    in_step(run, 4, draw)
    run.process.send_signal(signal.SIGKILL)
    run.process.wait(10)
    run.assert_nothing_left()

    resumed = start(start_run, ONE_RANK, "--resume", "auto")
    resumed.finish(DEADLINE)
    assert_same(resumed, expected)
    resumed.assert_nothing_left()


def test_two_ranks_killed_in_turn(start_run: StartRun) -> None:
    expected = undisturbed(start_run, TWO_RANKS)
    draw = random.Random(2)
    run = start(start_run, TWO_RANKS)
    wait_for(run, lambda: "training" in run.output, "training")
    for moment, step, rank in ((in_step, 2, 1), (in_checkpoint, 4, 0)):
        kill_rank(run, moment, step, draw, rank, count=2)
    run.finish(DEADLINE)
    assert_same(run, expected)
    run.assert_nothing_left()
