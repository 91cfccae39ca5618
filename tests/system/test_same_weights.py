"""What a run ends with does not depend on kills, on interruptions, on the way that weights take, or on being
distributed at all.

One file, because its tests compare with the same undisturbed runs: one of two ranks, and one in a single process.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import redis
import torch
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM

from common.config import load_config
from common.models.loading import load_model
from examples.one_file import train
from orchestrator.chaos.comparison import differing_weights
from orchestrator.commands.main import main
from tests.needs_vllm import need_vllm
from tests.system import faults
from tests.system.conftest import REPOSITORY, SMALL, Run
from tests.system.in_process import make_run

pytestmark = pytest.mark.timeout(900)  # whole runs, one after the other; a busy machine is slow to start them

STEPS, GROUPS = 6, 2  # with a checkpoint every 2 steps
PACE = (f"run.steps={STEPS}", "model.threads=1")
ONE_RANK = (*PACE, "learner.ranks=1", "learner.zero_stage=0", "learner.weights_transport=object_store")
TWO_RANKS = (*PACE, "learner.ranks=2", "learner.zero_stage=2")
#: The undisturbed run of two ranks broadcasts its weights, and what is compared with it reads them from memory.
TWO_BROADCAST = (*TWO_RANKS, "rollout.workers=2", "learner.weights_transport=collective")
#: What measures time, and what counts restarts or the groups that an earlier attempt at the run had admitted.
OF_ONE_ATTEMPT = r"time|restarts|ledger/(admitted|in_flight)|(seconds|perf)/.*"
DEADLINE = 300.0

StartRun = Callable[..., Run]


def records(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def assert_same(run: Run, expected: Path) -> None:
    """Weights, evaluations, and all that ``expected`` knows of steps are the same, bit for bit."""
    assert differing_weights(run.folder, expected) == []

    lines = records(run.folder, "metrics")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    for line, other in zip(lines, records(expected, "metrics"), strict=True):
        known = timeless(other)
        assert len(known) > 20
        assert {name: line[name] for name in known} == known
        outcomes = (line[f"ledger/{name}"] for name in ("trained", "filtered", "dropped", "in_flight"))
        assert line["ledger/admitted"] == sum(outcomes)
    assert (lines[-1]["ledger/trained"], lines[-1]["ledger/in_flight"]) == (STEPS * GROUPS, 0)

    samples = records(run.folder, "samples")
    known_samples = records(expected, "samples")
    assert [{name: sample[name] for name in known_samples[0]} for sample in samples] == known_samples
    assert Counter(sample["step"] for sample in samples) == dict.fromkeys(range(1, STEPS + 1), GROUPS)
    assert max(Counter(sample["task_id"] for sample in samples).values()) == 1, "a group was trained twice"
    assert records(run.folder, "evaluations") == records(expected, "evaluations")


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if not re.fullmatch(OF_ONE_ATTEMPT, name)}


def wait_for(run: Run, condition: Callable[[], bool], what: str) -> None:
    """As ``Run.wait_for``, but within a millisecond, which takes a core's time: for waits of seconds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert run.process.poll() is None, f"the run ended before {what}:\n{run.output[-4000:]}"
        assert time.monotonic() < end, f"no {what} within {DEADLINE:.0f} s:\n{run.output[-4000:]}"
        time.sleep(0.001)


def wait_for_training(run: Run) -> None:
    run.wait_for(lambda: "] training\n" in run.output, "training", DEADLINE)


@contextmanager
def stopped(run: Run) -> Iterator[None]:
    """Stop the main process, so that a run of a second does not end while its processes are looked at."""
    run.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        run.process.send_signal(signal.SIGCONT)


def in_step(run: Run, step: int, draw: random.Random) -> None:
    """At any moment of the step after ``step``."""
    file = run.folder / "metrics.jsonl"
    wait_for(run, lambda: file.exists() and file.read_bytes().count(b"\n") >= step, f"step {step}")
    time.sleep(draw.uniform(0.0, run.metrics()[-1]["seconds/step"]))


@pytest.fixture(scope="module")
def in_one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `couplet reproduce` trains: the run of one rank that nothing disturbs, without Ray and Redis."""
    output = tmp_path_factory.mktemp("in-one-process")
    make_run(REPOSITORY / "recipes/quickstart.yaml", (*SMALL, *ONE_RANK), output)
    return output


def test_rollouts_of_vllm_train_the_same_weights(start_run: StartRun, in_one_process: Path) -> None:
    """A process of vLLM's is the member of the broadcast; what it writes is what torch would have written."""
    need_vllm()
    before = {folder: set(os.listdir(folder)) for folder in ("/dev/shm", tempfile.gettempdir())}
    vllm = ("rollout.backend=vllm", "rollout.verify_weights=true")
    run = start_run(*ONE_RANK, *vllm, "learner.weights_transport=collective")
    wait_for_training(run)
    with stopped(run):
        (worker,) = run.actors("RolloutWorker")
        processes = [child for child in worker.children(recursive=True) if "VLLM" in " ".join(child.cmdline())]
    assert len(processes) == 1
    run.finish(DEADLINE)
    assert not [process for process in processes if process.is_running()]

    assert differing_weights(run.folder, in_one_process) == []
    assert records(run.folder, "evaluations") == records(in_one_process, "evaluations")
    last = records(run.folder, "metrics")[-1]
    assert (last["ledger/trained"], last["ledger/in_flight"]) == (STEPS * GROUPS, 0)
    run.assert_nothing_left()
    left = [name for folder, names in before.items() for name in set(os.listdir(folder)) - names]
    assert [name for name in left if name.startswith(("psm_", "vllm", "couplet-vllm"))] == []


def test_chaos_over_two_ranks_that_take_turns_with_rollout_workers(finished_run: StartRun, tmp_path: Path) -> None:
    """The command strikes each role once at a random moment, and its audit finds nothing.

    On devices that they share, learner and rollout workers are never at work together, and the weights are those
    of a run whose roles have devices of their own.
    """
    output, two = tmp_path / "chaos", (*TWO_RANKS, "rollout.workers=2")
    words = ("chaos", "quickstart", "--kills", "3", "--faults", "kill", "--output", str(output), "--json")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "orchestrator.commands.main",
            *words,
            *SMALL,
            *two,
            "rollout.placement=shared",
            "rollout.verify_weights=true",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["wrong"] == []
    assert {struck["victim"] for struck in result["struck"]} == {"rollout", "reward", "learner"}
    assert all(struck["seconds"] > 0 for struck in result["struck"])
    assert differing_weights(output / "run", finished_run(*TWO_BROADCAST).folder) == []
    first, *later = (one["workers"] for one in records(output / "run", "verifications"))
    assert first == ["rollout-0", "rollout-1"]
    # The one in the place of another compares each version that it loads before its first work.
    assert len({tuple(workers) for workers in later}) == 1 == len(later[0])
    assert_turns_apart(output / "run")


def assert_turns_apart(folder: Path) -> None:
    """No turn of a learner rank overlaps with one of a rollout worker, by their clocks; both had every step."""
    learner, rollout = (
        [(turn["began"], turn["ended"]) for turn in records(folder, "turns") if turn["actor"].startswith(role)]
        for role in ("learner", "rollout")
    )
    assert min(len(learner), len(rollout)) >= STEPS
    assert all(0 < began < ended for began, ended in (*learner, *rollout))
    for began, ended in learner:
        assert all(end <= began or ended <= begin for begin, end in rollout)
    assert all(line["seconds/switch"] > 0 for line in records(folder, "metrics"))


def test_two_rollout_workers_and_two_zero2_ranks_make_a_run(finished_run: StartRun) -> None:
    run = finished_run(*TWO_BROADCAST)
    assert "broadcast failed" not in run.output
    folder = run.folder
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["updates"] == STEPS
    assert summary["samples"] == STEPS * GROUPS * 4
    assert (folder / "report.html").stat().st_size > 10_000
    assert AutoModelForCausalLM.from_pretrained(folder / "model").config.model_type == "qwen2"


@dataclass
class Interruption:
    """A run, stopped by Ctrl-C in a step, refused, and resumed after each of its ends.

    Its learner died at its first start. It had two rollout workers and went on with one, lost its Redis and was
    ``killed``, and found a ``damaged`` file in every checkpoint but its first. What hung and failed after that is
    in :func:`strike`. An ``early`` start of it was stopped before it had any. One in test_stages.py loses its Ray.
    """

    early: Run
    early_exit_code: int
    run: Run
    pages: list[str]
    groups: dict[str, str]
    listing: str
    exit_code: int
    summary: dict[str, object]
    refused: Result
    killed: Run
    damaged: list[Path]
    resumed: Run


@pytest.fixture(scope="module")
def interruption(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interruption]:
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    settings = (*PACE, "learner.ranks=1", "learner.zero_stage=0", "learner.keep_checkpoints=3")
    broadcast = ("learner.weights_transport=collective", "learner.bucket_mb=1")
    two = "rollout.workers=2"
    runs = [Run(folder, *settings, *broadcast, two)]
    try:
        early_exit_code = stop_at_its_start(runs[0])
        runs.append(Run(folder, *settings, *broadcast, two, "ray.dashboard=true"))  # which lists actors
        early, run = runs
        # Before there can be any: to look for processes takes a core's time.
        run.wait_for(lambda: "starting actors" in run.output, "the start of actors")
        run.wait_for(lambda: bool(run.actors("LearnerRank")), "the first start of the learner")
        run.actors("LearnerRank")[0].kill()
        run.wait_for_step(1)
        targets = json.loads((folder / "prometheus-targets.json").read_text())[0]["targets"]
        pages = [urllib.request.urlopen(f"http://{t}/metrics", timeout=10).read().decode() for t in targets]
        (rank,) = run.actors("LearnerRank")
        rank.suspend()  # so that the run is still in a step when it has been looked at
        groups, listing = stream_groups(folder), list_actors(run.output)
        run.process.send_signal(signal.SIGINT)
        rank.resume()
        exit_code = run.wait(DEADLINE)
        summary = json.loads((folder / "summary.json").read_text())
        assert (folder / "report.html").exists()
        run.assert_nothing_left()
        refused = CliRunner().invoke(main, ["train", "quickstart", f"run.folder={folder}", *SMALL, *settings])
        runs.append(Run(folder, *settings, *broadcast, "--resume", "auto"))
        lose_redis(runs[-1])
        kill_whole_run(runs[-1])
        draw = np.random.default_rng(4)
        damaged = [faults.damage_checkpoint(one, draw) for one in faults.checkpoints(runs[-1])[1:]]
        patient = ("learner.keep_checkpoints=3", "deadlines.heartbeat_seconds=5", "deadlines.restarts=9")
        runs.append(Run(folder, *ONE_RANK, *patient, "--resume", "auto"))
        strike(runs[-1])
        runs[-1].finish(DEADLINE)
        runs[-1].assert_nothing_left()
        killed, resumed = runs[2:]
        yield Interruption(
            early,
            early_exit_code,
            run,
            pages,
            groups,
            listing,
            exit_code,
            summary,
            refused,
            killed,
            damaged,
            resumed,
        )
    finally:
        for run in runs:
            run.kill()


def lose_redis(run: Run) -> None:
    """Kill the embedded Redis, and later let it hang and forget everything."""
    wait_for_training(run)
    faults.redis_server(run).kill()
    run.wait_for_step(3)
    faults.take_redis_away(run, seconds=5.0)
    with faults.redis_client(run) as client:
        client.flushall()


def kill_whole_run(run: Run) -> None:
    """SIGKILL the main process at any moment of a step; everything else, sandboxes included, ends with it."""
    in_step(run, 4, random.Random(1))
    wait_for(run, lambda: faults.newest_checkpoint(run).name >= "step-000004", "the second checkpoint")
    sandboxes = run.actors("RewardWorker")[0].children(recursive=True)
    assert sandboxes
    run.process.send_signal(signal.SIGKILL)
    run.process.wait(10)
    run.assert_nothing_left(agents=False)
    assert not psutil.wait_procs(sandboxes, timeout=30)[1]


def strike(run: Run) -> None:
    """Let an actor of each kind hang, slow one down, fill Redis up, and damage the checkpoint before a restart.

    The run goes on by itself; docs/reliability.md lists all that it survives.
    """
    wait_for_training(run)
    # Found at once, as a run of a few steps goes on while one looks.
    with stopped(run):
        victims = [run.actors(title)[0] for title in ("RewardWorker", "RolloutWorker", "LearnerRank")]
    for victim, name in zip(victims, ("reward-0", "rollout-0", "learner-0"), strict=True):
        faults.hang(run, victim, name)
    run.wait_for_step(3)
    faults.pause(run, "RolloutWorker", seconds=2.0)
    run.wait_for_step(4)
    faults.fill_redis(run, seconds=4.0)
    run.wait_for(lambda: faults.newest_checkpoint(run).name == "step-000004", "the second checkpoint")
    (rank,) = run.actors("LearnerRank")
    server = rank.parent()
    assert server is not None
    assert "forking/server.py" in " ".join(server.cmdline()), "it takes the place of another"
    newest, before = faults.newest_checkpoint(run), len(run.output)
    damaged = faults.damage_checkpoint(newest, np.random.default_rng(3))
    rank.kill()
    run.wait_for(lambda: damaged.name in run.output[before:], "a note that names the damaged file", faults.BOUND)
    # What actors answer, their errors included, is read without torch, and of Ray there is what the run uses.
    assert "libtorch" not in Path(f"/proc/{run.process.pid}/maps").read_text()
    started = " ".join(part for child in psutil.Process(run.process.pid).children() for part in child.cmdline())
    assert "raylet" in started
    assert not [name for name in ("monitor.py", "dashboard.py") if name in started]


def stop_at_its_start(run: Run) -> int:
    """Send SIGTERM while Ray is starting, and return the exit code."""
    run.wait_for(lambda: "starting Redis and Ray" in run.output, "the start of Ray")
    time.sleep(1.0)
    run.process.send_signal(signal.SIGTERM)
    exit_code = run.wait(faults.BOUND)
    run.assert_nothing_left()
    return exit_code


def stream_groups(folder: Path) -> dict[str, str]:
    """Stream -> its consumer group, for every stream of a run."""
    client = redis.Redis.from_url((folder / "redis-url").read_text().strip())
    return {
        key.decode().rsplit(":", 1)[1]: client.xinfo_groups(key)[0]["name"].decode()
        for key in client.keys("couplet:*")
        if client.type(key) == b"stream"
    }


def list_actors(output: str) -> str:
    """Run the very command that the run printed."""
    words = next(line for line in output.splitlines() if "actors: " in line).split("actors: ")[1].split()
    environment = dict(word.split("=", 1) for word in words if "=" in word)
    command = [word for word in words if "=" not in word]
    ray = Path(sys.executable).with_name("ray")
    done = subprocess.run(
        [str(ray), *command[1:], "--limit", "100"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_run_shows_its_actors_streams_and_metrics(interruption: Interruption) -> None:
    for name in ("rollout-0", "rollout-1", "reward-0", "learner-0"):
        assert f"/{name}" in interruption.listing
    expected = {"prompts": "rollout-workers", "rollouts": "reward-workers", "trajectories": "learner"}
    assert interruption.groups.items() >= expected.items()
    assert any("couplet_reward_mean" in page for page in interruption.pages)
    assert any("couplet_worker_samples" in page for page in interruption.pages)


def test_ctrl_c_stops_a_run_which_only_goes_on_when_asked_to(interruption: Interruption) -> None:
    assert interruption.exit_code == 130
    assert interruption.summary["status"] == "interrupted"
    assert f"checkpoint of step {interruption.summary['updates']}" in interruption.run.output
    assert interruption.refused.exit_code == 2
    assert "--resume auto" in interruption.refused.output


def test_a_damaged_checkpoint_is_passed_over(interruption: Interruption) -> None:
    assert interruption.damaged
    for file in interruption.damaged:
        step = file.relative_to(interruption.resumed.folder / "checkpoints").parts[0]
        assert re.search(f"checkpoint {step} is damaged: .*{re.escape(file.name)}", interruption.resumed.output)


def test_a_run_that_is_stopped_at_its_start_is_started_by_the_same_command(interruption: Interruption) -> None:
    """Without --resume: it left nothing to resume from."""
    assert interruption.early_exit_code == 128 + signal.SIGTERM, interruption.early.output[-4000:]
    assert "stopped by SIGTERM" in interruption.early.output


def test_a_learner_that_dies_at_its_first_start_is_started_again(interruption: Interruption) -> None:
    assert "from version 0" in interruption.run.output


def test_actors_that_hang_leave_their_stacks(interruption: Interruption) -> None:
    assert len(list((interruption.resumed.folder / "stacks").iterdir())) >= 3


def test_weights_do_not_depend_on_interruptions_kills_hangs_and_outages(
    interruption: Interruption, in_one_process: Path
) -> None:
    """They do not depend on being distributed either: `couplet reproduce` trains what `couplet train` does."""
    for run in (interruption.run, interruption.killed):
        assert "broadcast failed" not in run.output
    assert_same(interruption.resumed, in_one_process)


def test_the_last_checkpoint_is_exported_as_the_model(interruption: Interruption, tmp_path: Path) -> None:
    folder = interruption.resumed.folder
    result = CliRunner().invoke(main, ["export", str(folder), str(tmp_path / "exported")])
    assert result.exit_code == 0, result.output
    for file in (folder / "model").iterdir():
        assert (tmp_path / "exported" / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_program_in_one_file(interruption: Interruption) -> None:
    """With max_staleness 0 the distributed run is the algorithm of examples/one_file.py, bit for bit."""
    folder = interruption.resumed.folder
    config = load_config(folder / "config.yaml")
    lines: list[str] = []
    expected = dict(train(config, lines.append).named_parameters())
    assert len(lines) == STEPS
    trained = dict(load_model(str(folder / "model")).named_parameters())
    start = dict(load_model(config.model.path).named_parameters())
    assert any(not torch.equal(start[name], expected[name]) for name in expected), "nothing was learned"
    assert [name for name in expected if not torch.equal(trained[name], expected[name])] == []
