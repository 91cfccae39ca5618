"""Redis is away for 20 seconds under a submitted job on two Ray nodes: is the model the same as without that?

A trial by hand of two to three minutes: ``python -m tests.system.redis_outage``. Two jobs of one recipe, without
staleness, the second of which has its Redis killed. It prints what happened when; docs/reliability.md has the
output.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common.config import load_config
from orchestrator.chaos.audit import audit
from orchestrator.chaos.comparison import differing_weights
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from orchestrator.run_folder import read_records
from tests.ray_cluster import RayCluster

_AWAY_SECONDS = 20.0
_DEADLINE = 300.0
_TOKEN = "5f" * 32
_ROOT = Path(__file__).parents[2]
_RECIPE = _ROOT / "recipes/quickstart.yaml"
_SETTINGS = (
    "run.steps=16",
    "data.train_tasks=200",
    "data.held_out_tasks=4",
    "rollout.workers=2",
    "rollout.ray_resource=rollout",
    "rollout.group_size=4",
    "rollout.denoising_steps=7",
    "learner.ranks=1",
    "learner.ray_resource=learner",
    "reward.ray_resource=reward",
    "learner.groups_per_step=4",
    "admission.max_staleness=0",
    "ray.address=auto",
    "streams.url=env:COUPLET_TRIAL_REDIS",
)


class Trial:
    """The two jobs on one cluster; says what it sees, with the seconds since its start."""

    def __init__(self, cluster: RayCluster, redis: EmbeddedRedis, folder: Path) -> None:
        self._cluster = cluster
        self._redis = redis
        self._folder = folder
        self._began = time.monotonic()

    def say(self, what: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self._began:6.1f} s] {what}\n")
        sys.stdout.flush()

    def job(self, name: str, outage: bool) -> Path:
        """Submit a job, have Redis away in its middle if asked to, and await its end; return the run's folder."""
        run = self._folder / name
        settings = [*_SETTINGS, f"run.folder={run}", f"run.id={name}"]
        config = load_config(_RECIPE, [word for word in settings if not word.startswith("streams.url")])
        log = self._folder / f"{name}.log"
        with log.open("wb") as output:
            command = ["couplet", "train", str(_RECIPE), *settings, "--resume", "auto", "--plain"]
            job = subprocess.Popen(
                [str(Path(sys.executable).with_name("ray")), "job", "submit", "--", *command],
                cwd=_ROOT,
                env={**os.environ, **self._cluster.access, "RAY_ADDRESS": self._cluster.dashboard},
                stdout=output,
                stderr=output,
            )
        if outage:
            self._take_redis_away(run, job)
        code = job.wait(_DEADLINE)
        for line in log.read_text().splitlines():
            if "note:" in line and "Redis" in line:
                self.say(line.strip())
        wrong = "; ".join(audit(run, config)) or "nothing wrong"
        self.say(f"job {name}: exit code {code}, {_steps(run)} steps, audit: {wrong}")
        return run

    def _take_redis_away(self, run: Path, job: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _DEADLINE
        while _steps(run) < 4:
            if job.poll() is not None or time.monotonic() > end:
                raise TimeoutError(f"no step 4; see {self._folder}")
            time.sleep(0.05)
        os.kill(self._redis.pid, 9)
        self.say(f"Redis killed, at step {_steps(run)}")
        time.sleep(_AWAY_SECONDS)
        self.say(f"Redis starts again, at step {_steps(run)}")
        while self._redis.keep_running() is None:
            time.sleep(0.1)


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="couplet-outage-"))
    with EmbeddedRedis(folder / "redis") as redis:
        environment = {"COUPLET_TRIAL_REDIS": redis.url}
        with RayCluster(_TOKEN, environment) as cluster:
            cluster.add_node({"rollout": 1, "learner": 1, "reward": 1})
            cluster.add_node({"rollout": 1})
            trial = Trial(cluster, redis, folder)
            undisturbed, struck = trial.job("undisturbed", outage=False), trial.job("struck", outage=True)
    different = differing_weights(undisturbed, struck)
    trial.say(f"exported weights: {', '.join(different) or 'the same, bit for bit'}")
    shutil.rmtree(folder)


def _steps(run: Path) -> int:
    return len(read_records(run, "metrics")) if (run / "metrics.jsonl").exists() else 0


if __name__ == "__main__":
    main()
