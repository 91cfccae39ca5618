"""The chart's release as processes of this machine: each container's own command, on addresses of the loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from common.heartbeat import LEAVING
from common.processes import die_with_parent
from tests.deploy.chart_render import Document, only, pod_templates, ray_spec, render, scrape_config
from tests.ray_cluster import RayCluster, free_port
from tests.started import Started

ROOT = Path(__file__).resolve().parents[2]
CASE = "chart_loopback_values.yaml"
REWARD_TOKEN = "correct-horse"
_START_SECONDS = 90.0
_BIN = Path(sys.executable).parent


class Release(Started):
    """Redis at ``redis_url`` is there already; :meth:`start` starts Ray and the reward service."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.runs = folder / "runs"
        self.documents = render("helm", CASE, f"storage.mountPath={self.runs}")
        #: What the hook of a learner's pod makes before the pod ends; here of all pods.
        self.leaving = folder / "leaving"
        self._environment = {
            "COUPLET_REDIS_URL": redis_url,
            "COUPLET_REWARD_TOKEN": REWARD_TOKEN,
            LEAVING: str(self.leaving),
        }
        self.rewards = f"127.0.0.1:{free_port('127.0.0.1')}"
        self._service: subprocess.Popen[bytes] | None = None
        self.ray = RayCluster(environment=self._environment)

    @property
    def run_folder(self) -> Path:
        return self.runs / "loopback"

    @property
    def entrypoint(self) -> str:
        """Of the RayJob."""
        return self._here(only(self.documents, "RayJob")["spec"]["entrypoint"])

    def start(self) -> None:
        """Start Ray and the reward service, and wait for both; Ray's nodes join in their time."""
        self._service = self._start_rewards()
        self.ray.start()
        for group in ray_spec(self.documents)["workerGroupSpecs"]:
            self.ray.add_node(
                {name: float(amount) for name, amount in group["resources"].items() if name != "GPU"},
                gpus=int(_container(group["template"])["resources"]["limits"].get("nvidia.com/gpu", 0)),
            )
        self._wait_for_rewards()

    def close(self) -> None:
        self.ray.close()
        if self._service is not None:
            self._service.kill()
            self._service.wait(_START_SECONDS)

    def helm_test(self) -> subprocess.CompletedProcess[str]:
        """What `helm test` would run in its pod."""
        command = _container(only(self.documents, "Pod", "-test-score"))["command"]
        return subprocess.run(
            [sys.executable, *command[1:-1], f"http://{self.rewards}"],
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            timeout=_START_SECONDS,
        )

    def scrape_config(self, *more: Mapping[str, Any]) -> str:
        """A Prometheus' configuration: the rendered one, its names replaced by addresses here, and ``more``."""
        config = scrape_config(
            self.documents,
            driver=f"{self.ray.head.address}:9400",
            rewards=self.rewards,
            ray=[f"127.0.0.1:{port}" for port in self.ray.metrics_ports],
        )
        (ray,) = [job for job in config["scrape_configs"] if job["job_name"] == "couplet-ray"]
        ray["scrape_interval"] = "5s"  # it renews its figures every ten seconds
        config["scrape_configs"] += more
        config["rule_files"] = [str(ROOT / "deploy/helm/couplet/files/rules.yaml")]
        config["global"] = {"evaluation_interval": "1s"}
        text: str = yaml.safe_dump(config, sort_keys=False)
        return text

    def _start_rewards(self) -> subprocess.Popen[bytes]:
        container = _container(pod_templates(self.documents)["demo-couplet-rewards"])
        words = [self._here(word) for word in (*container["command"], *container["args"])]
        host, port = self.rewards.split(":")
        words = [f"--host={host}" if w.startswith("--host=") else w for w in words]
        words = [f"--port={port}" if w.startswith("--port=") else w for w in words]
        with (self.folder / "rewards.log").open("wb") as log:
            return subprocess.Popen(
                [str(_BIN / words[0]), *words[1:]],
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )

    def _wait_for_rewards(self) -> None:
        assert self._service is not None
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                if httpx.get(f"http://{self.rewards}/readyz", timeout=5.0).is_success:
                    return
            except httpx.TransportError:
                pass
            late = time.monotonic() > end or self._service.poll() is not None
            assert not late, (self.folder / "rewards.log").read_text()
            time.sleep(0.1)

    def _here(self, text: str) -> str:
        """The recipes of the image are those of the checkout."""
        return text.replace("/opt/couplet/recipes/", f"{ROOT / 'recipes'}/")


def _container(pod: Document) -> Document:
    """The first of a pod, or of a pod's template."""
    found: Document = pod["spec"]["containers"][0]
    return found
