"""`ray job submit` to a cluster of several nodes that asks for a token: what is sent, stop, resume, lost nodes.

The run is of another algorithm and sampler than the quick start's.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.job_submission import JobStatus

from tests.ray_cluster import RayCluster

pytestmark = pytest.mark.timeout(600)  # three jobs; a busy machine is slow to start them

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("common", "learner", "orchestrator", "reward_service", "rollout_workers", "sandbox", "evaluation")
PACKAGES += ("benchmarks", "recipes")
DEADLINE = 180.0
#: Each look is a request that Ray's dashboard answers, which takes it a core's time.
_POLL_SECONDS = 0.4
TOKEN = "5f" * 32
TINY = (
    "model.threads=1",
    "data.train_tasks=60",
    "data.held_out_tasks=4",
    "rollout.group_size=4",
    "rollout.batch_tokens=850",
    "learner.ranks=1",
    "learner.groups_per_step=4",
    "admission.max_in_flight=8",
)
#: Adapters, which are published whole to a decoder of blocks, with an approximate cache that the metrics admit to;
#: they learn by a preset from stale rollouts and recorded steps.
OTHER = (
    "admission.max_staleness=1",
    "rollout.update_between=steps",
    "rollout.decoder=low_confidence",
    "rollout.block_length=14",
    "rollout.denoising_steps=14",
    "rollout.approximate_cache=dual",
    "learner.preset=tracerl",
    "learner.estimator.merged_steps=2",
    "learner.off_policy_cap=2.0",
    "learner.lora={rank: 4}",
    "learner.gradient_checkpointing=true",
    "learner.optimizer.learning_rate=0.003",
)
#: Whether the code of the working directory scores, and not the package that is installed where the nodes run. It
#: takes its time: a run that goes on until it is stopped is not to keep both cores from everything else.
REWARD = """
import time

import common

def submitted(task, completion):
    time.sleep(0.25)
    return float("working_dir_files" in common.__file__)
"""
#: Waits for places that the first job holds; and asks for what no node of a Ray of its own will bring.
HELD = """
from pathlib import Path

import ray

from common.config import load_config
from orchestrator.fleet.cluster import ClusterError
from orchestrator.fleet.free_resources import await_resources

ray.init(address="auto")
for settings, need in (
    (["ray.address=auto", "deadlines.start_seconds=4"], {"learner": 1.0, "reward": 1.0}),
    (["ray.address=local"], {"GPU": 2.0}),
):
    try:
        await_resources(load_config(Path("recipes/quickstart.yaml"), settings), need, print, lambda: None)
    except ClusterError as error:
        print(error)
"""


class Jobs:
    """The cluster as its user sees it: a working directory, and what is submitted from it."""

    def __init__(self, cluster: RayCluster, working_dir: Path) -> None:
        self.cluster = cluster
        self._working_dir = working_dir
        self.client = cluster.job_client()

    def submit(self, command: list[str]) -> str:
        """By the command that the documentation gives; the job's id."""
        ray = Path(sys.executable).with_name("ray")
        words = [str(ray), "job", "submit", "--no-wait", "--working-dir", ".", "--runtime-env"]
        done = subprocess.run(
            [*words, "deploy/ray/runtime-env.yaml", "--", *command],
            cwd=self._working_dir,
            env={**os.environ, **self.cluster.access, "RAY_ADDRESS": self.cluster.dashboard},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, done.stderr
        return next(word.strip("'") for word in done.stdout.split() if word.startswith("'raysubmit_"))

    def submit_again(self, command: list[str]) -> str:
        """By Ray's Python client, which is quicker."""
        return str(self.client.submit_job(entrypoint=shlex.join(command), runtime_env=self._runtime_env()))

    def submit_refused(self, folder: Path) -> str:
        """A job of two runs that cannot start, after a list of what reached the cluster and one without room."""
        settings = run(
            folder, "rollout.workers=3", "rollout.min_workers=3", "run.id=large", "deadlines.start_seconds=1"
        )
        lost = "couplet train recipes/quickstart.yaml ray.address=auto"
        job = self.client.submit_job(
            entrypoint=f"ls -A; python held.py; {lost}; echo ended with $?; {shlex.join(settings)}; code=$?; "
            "echo ended with $code; exit $code",
            runtime_env=self._runtime_env(),
        )
        return str(job)

    def _runtime_env(self) -> dict[str, Any]:
        file = self._working_dir / "deploy/ray/runtime-env.yaml"
        return {"working_dir": str(self._working_dir), **yaml.safe_load(file.read_text())}

    def actors(self) -> list[dict[str, Any]]:
        """Those that live, as Ray's dashboard lists them."""
        query = "detail=true&filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
        url = f"{self.cluster.dashboard}/api/v0/actors?{query}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(request, timeout=30.0) as response:
            answer = json.load(response)
        found: list[dict[str, Any]] = answer["data"]["result"]["result"]
        return [actor for actor in found if actor["class_name"] != "JobSupervisor"]

    def logs(self, job: str) -> str:
        return str(self.client.get_job_logs(job))

    def wait_for(self, job: str, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + DEADLINE
        while not condition():
            ended = self.client.get_job_status(job).is_terminal() and not condition()
            assert not ended, f"the job ended before {what}:\n{self.logs(job)[-4000:]}"
            nodes = "".join(f"{node.address}:\n{node.output[-1000:]}\n" for node in self.cluster.nodes)
            assert time.monotonic() < end, f"no {what}:\n{self.logs(job)[-8000:]}\n{nodes}"
            time.sleep(_POLL_SECONDS)

    def end(self, job: str) -> JobStatus:
        end = time.monotonic() + DEADLINE
        while not (status := self.client.get_job_status(job)).is_terminal():
            assert time.monotonic() < end, f"the job did not end:\n{self.logs(job)[-4000:]}"
            time.sleep(_POLL_SECONDS)
        return status


@pytest.fixture(scope="module")
def jobs(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    working_dir = tmp_path_factory.mktemp("job") / "couplet"
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / package, working_dir / package, ignore=ignored)
    shutil.copytree(REPOSITORY / "deploy/ray", working_dir / "deploy/ray")
    shutil.copy(REPOSITORY / ".gitignore", working_dir)
    (working_dir / "site_rewards.py").write_text(REWARD)
    (working_dir / "held.py").write_text(HELD)
    for left_behind in (".git", ".venv", "runs", "tests"):
        (working_dir / left_behind).mkdir()
        (working_dir / left_behind / "file").write_text("not to be sent")
    with RayCluster(TOKEN, {"COUPLET_TEST_REDIS": redis_url}) as cluster:
        cluster.add_node({"rollout": 1, "learner": 1, "reward": 1})
        yield Jobs(cluster, working_dir)


def run(folder: Path, *settings: str) -> list[str]:
    """A small elastic run whose pools are pinned, its Redis in the environment of the nodes."""
    pools = [f"{pool}.ray_resource={pool}" for pool in ("rollout", "reward", "learner")]
    overrides = [
        *TINY,
        *OTHER,
        *pools,
        f"run.folder={folder}",
        "run.id=elastic",
        "streams.url=env:COUPLET_TEST_REDIS",
    ]
    overrides += ["rollout.workers=2", "rollout.min_workers=1", "ray.address=auto"]
    overrides += ["reward.functions=[{path: 'site_rewards:submitted', weight: 0}]", *settings]
    return ["couplet", "train", "recipes/quickstart.yaml", *overrides, "--resume", "auto", "--plain"]


def targets(folder: Path) -> list[str]:
    """Metrics endpoints of the processes that live."""
    found: list[str] = json.loads((folder / "prometheus-targets.json").read_text())[0]["targets"]
    return found


def metrics(folder: Path) -> list[dict[str, Any]]:
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_jobs(jobs: Jobs, tmp_path: Path) -> None:
    """One test, because every part needs the cluster as the part before left it."""
    folder = tmp_path / "run"
    job = jobs.submit(run(folder, "run.steps=1000", "learner.checkpoint_steps=1000", "streams.capacity=8192"))
    jobs.wait_for(job, lambda: len(metrics(folder)) >= 1, "step 1")
    refused = jobs.submit_refused(folder.with_name("other"))
    assert len(targets(folder)) == 4, "the main process, the learner, a reward worker, one rollout worker of two"

    late = jobs.cluster.add_node({"rollout": 1})
    jobs.wait_for(job, lambda: len(targets(folder)) == 5, "second rollout worker")
    actors = jobs.actors()
    assert {(actor["class_name"], actor["name"]) for actor in actors if actor["ray_namespace"] == "elastic"} == {
        ("LearnerRank", "elastic/learner-0"),
        ("RewardWorker", "elastic/reward-0"),
        ("RolloutWorker", "elastic/rollout-0"),
        ("RolloutWorker", "elastic/rollout-1"),
    }
    assert all(actor["repr_name"] == actor["name"] for actor in actors)
    late.kill()
    jobs.wait_for(job, lambda: "rollout-1 was lost with its node" in jobs.logs(job), "notice of the lost node")

    assert jobs.end(refused) is JobStatus.FAILED
    logs = jobs.logs(refused)
    sent = set(logs.splitlines())
    assert {"common", "recipes", "site_rewards.py"} <= sent
    assert not {".git", ".venv", "runs", "tests"} & sent
    assert "lies in the job's copy of its working directory" in logs
    assert "run.folder=/shared/runs/quickstart" in logs
    assert "the run needs more than the cluster has: 3 rollout (it has " in logs
    assert logs.count("ended with 2") == 2
    held = "the run needs more than is free: 1 learner (0 of 1 free), 1 reward (0 of 1 free), held by "
    assert "the run needs more than the cluster has: 2 GPU (it has 0); add nodes, or ask for less" in logs
    assert f"{held}elastic/reward-0, elastic/learner-0; waiting up to 4 s for it" in logs
    assert f"{held}elastic/reward-0, elastic/learner-0 after 4 s (deadlines.start_seconds); stop what" in logs

    jobs.client.stop_job(job)
    assert jobs.end(job) is JobStatus.STOPPED
    done = len(metrics(folder))
    assert f"checkpoint of step {done}; go on with --resume auto" in jobs.logs(job)
    assert (folder / "checkpoints/latest").read_text() == f"step-{done:06d}"

    job = jobs.submit_again(run(folder, f"run.steps={done + 1}"))
    assert jobs.end(job) is JobStatus.SUCCEEDED, jobs.logs(job)[-4000:]
    lines = metrics(folder)
    assert [line["step"] for line in lines] == list(range(1, done + 2))
    assert {line["reward/submitted"] for line in lines} == {1.0}
    assert {line["restarts"] for line in lines} == {0.0}
    assert_learned_from_stale_rollouts(lines)
    assert TOKEN not in (folder / "config.yaml").read_text()
    assert not (folder / "redis-url").exists()


def assert_learned_from_stale_rollouts(lines: list[dict[str, Any]]) -> None:
    assert max(line["staleness/max"] for line in lines) == 1
    for line in lines:
        assert line["diffusion/approximate"] == 1
        assert 1 <= line["diffusion/steps"] <= 14
        assert line["diffusion/tokens_per_forward"] >= 1
        # Later minibatches of a step are compared with the weights at its start, which need no reference.
        assert line["policy/kl"] > 0
        assert 0.5 < line["policy/ratio_mean"] < 2.0
        assert line["optim/grad_norm"] > 0
        ended = line["ledger/trained"] + line["ledger/filtered"] + line["ledger/dropped"]
        assert line["ledger/admitted"] == ended + line["ledger/in_flight"]
        # Fresh rollouts weigh exactly what they are; stale ones differ a little, and less than the cap.
        if line["staleness/max"] == 0:
            assert line["policy/importance_mean"] == pytest.approx(1.0, abs=1e-4)
        assert 0.5 < line["policy/importance_mean"] < 2.0
    stale = [line["policy/importance_mean"] for line in lines if line["staleness/max"] > 0]
    assert any(abs(weight - 1.0) > 1e-6 for weight in stale)
