"""A learner's pod is ended while it saves a checkpoint of 2 GB: is what is left whole, and does the run go on?

A trial by hand of some minutes, 5 GB of disk and 8 GB of memory: ``python -m tests.system.pod_taken_away``. Ray's
nodes stand for pods, and SIGTERM to `ray start`, their first process, for what Kubernetes does. First without the
chart's hook, then with it. It prints what happened when; docs/reliability.md has the output.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from common.heartbeat import LEAVING
from common.models.folder import model_folder
from learner.checkpoints import latest_checkpoint, newest_whole
from learner.disk import bytes_in
from orchestrator.fleet.embedded_redis import EmbeddedRedis
from tests.ray_cluster import RayCluster, RayNode

_DEADLINE = 900.0
_TOKEN = "5f" * 32
_ROOT = Path(__file__).parents[2]
_HOOK = _ROOT / "deploy/helm/couplet/files/wait_for_learner.py"
#: Of each layer's feed-forward block: with Adam's moments some 16 bytes for each of 123 million parameters.
_WIDTH = 80_000
_SETTINGS = (
    "data.train_tasks=200",
    "data.held_out_tasks=2",
    "rollout.workers=1",
    "rollout.ray_resource=rollout",
    "rollout.group_size=2",
    "rollout.denoising_steps=2",
    "learner.ranks=1",
    "learner.ray_resource=learner",
    "reward.ray_resource=reward",
    "learner.groups_per_step=2",
    "learner.checkpoint_steps=1",
    "ray.address=auto",
    "streams.url=env:COUPLET_TRIAL_REDIS",
    "run.id=taken",
)


def wide_model(folder: Path) -> Path:
    """Write the quick start's model with wider layers, zeros in what is added: it computes the same."""
    source = model_folder("builtin:quickstart")
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    more = _WIDTH - config["intermediate_size"]
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": _WIDTH}))
    weights = load_file(folder / "model.safetensors")
    for name, tensor in weights.items():
        if "mlp." in name:
            columns, rows = (more, 0) if "down_proj" in name else (0, more)
            weights[name] = torch.nn.functional.pad(tensor, (0, columns, 0, rows)).contiguous()
    save_file(weights, folder / "model.safetensors")
    return folder


class Trial:
    """The cluster, its one learner's node, and the run's folder; says what it sees, with the seconds so far."""

    def __init__(self, cluster: RayCluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._model = wide_model(folder / "model")
        self._began = time.monotonic()
        self.checkpoints = folder / "run/checkpoints"

    def say(self, what: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self._began:6.1f} s] {what}\n")
        sys.stdout.flush()

    def node(self) -> RayNode:
        return self._cluster.add_node({"rollout": 1, "learner": 1, "reward": 1})

    def submit(self, steps: int) -> subprocess.Popen[bytes]:
        settings = [*_SETTINGS, f"model.path={self._model}", f"run.folder={self._folder / 'run'}"]
        command = ["couplet", "train", str(_ROOT / "recipes/quickstart.yaml"), *settings, f"run.steps={steps}"]
        command += ["--resume", "auto", "--plain"]
        with (self._folder / "job.log").open("ab") as output:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("ray")), "job", "submit", "--", *command],
                cwd=_ROOT,
                env={**os.environ, **self._cluster.access, "RAY_ADDRESS": self._cluster.dashboard},
                stdout=output,
                stderr=output,
            )

    def wait(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + _DEADLINE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"no {what}; see {self._folder}")
            time.sleep(0.01)

    def wait_for_a_checkpoint_under_way(self) -> None:
        """Until one is half written, with another before it."""
        self.wait(lambda: latest_checkpoint(self.checkpoints), "first checkpoint")
        whole = bytes_in(latest_checkpoint(self.checkpoints) or self.checkpoints)
        self.wait(lambda: self._half_written() > whole // 2, "checkpoint under way")
        self.say(f"{self._half_written():,} bytes are written of a checkpoint, after one of {whole:,}")

    def end(self, node: RayNode) -> None:
        """Send SIGTERM to `ray start`."""
        node.process.terminate()
        node.process.wait(_DEADLINE)
        self.say("`ray start` has ended after SIGTERM")

    def say_what_is_whole(self) -> None:
        named = latest_checkpoint(self.checkpoints)
        whole, damaged = newest_whole(named or self.checkpoints)
        self.say(
            f"latest is {whole.name}, {bytes_in(whole):,} bytes, {'; '.join(damaged) or 'whole by its digests'}"
        )

    def _half_written(self) -> int:
        try:
            return sum(bytes_in(path) for path in self.checkpoints.glob(".step-*.tmp"))
        except OSError:  # renamed while it was looked at
            return 0


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="couplet-taken-"))
    leaving = folder / "leaving"
    with EmbeddedRedis(folder / "redis") as redis:
        environment = {"COUPLET_TRIAL_REDIS": redis.url, LEAVING: str(leaving)}
        with RayCluster(_TOKEN, environment) as cluster:
            trial = Trial(cluster, folder)
            node = trial.node()
            job = trial.submit(1000)
            trial.say("first without the hook")
            trial.wait_for_a_checkpoint_under_way()
            trial.end(node)
            trial.say_what_is_whole()

            node, before = trial.node(), latest_checkpoint(trial.checkpoints)
            trial.wait(lambda: latest_checkpoint(trial.checkpoints) != before, "checkpoint on another node")
            trial.say("the run goes on, on another node; now with the hook")
            trial.wait_for_a_checkpoint_under_way()
            hook = subprocess.run([sys.executable, str(_HOOK), "300"], env={**os.environ, **environment})
            trial.say(f"the hook has ended with {hook.returncode}; job: exit code {job.wait(_DEADLINE)}")
            trial.end(node)
            trial.say_what_is_whole()

            leaving.unlink()
            trial.node()
            done = int((latest_checkpoint(trial.checkpoints) or folder).name.rpartition("-")[2])
            code = trial.submit(done + 1).wait(_DEADLINE)
            trial.say(f"resumed for one more step: exit code {code}")
            trial.say_what_is_whole()
    for line in dict.fromkeys((folder / "job.log").read_text().splitlines()):
        if "note:" in line and ("learner" in line or "checkpoint of" in line):
            trial.say(line.strip())
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
