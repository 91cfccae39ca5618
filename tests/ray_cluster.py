"""A Ray cluster as on several machines, on this one's loopback: a head and nodes, each with its own address."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from ray.job_submission import JobSubmissionClient

from common.processes import die_with_parent
from tests.started import Started

_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_BIN = str(Path(sys.executable).parent)
#: A node that dies is noticed sooner than by default, but one that lives on a busy machine has time to answer.
_HEALTH_CHECKS = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "5",
}
#: No worker for each core in advance, as in a local Ray of ours: actors with an environment of their own use none.
_NO_SPARE_WORKERS = {"RAY_prestart_worker_first_driver": "0"}


class RayNode:
    """One ``ray start --block``, in a session of its own."""

    def __init__(self, address: str, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self.address = address
        self._log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [str(Path(_BIN, "ray")), "start", "--block", "--disable-usage-stats", *command],
                stdout=output,
                stderr=output,
                env=dict(environment),
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        """As a machine fails: SIGKILL to all processes at once; workers of Ray's end with their raylet."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_STOP_SECONDS)


class RayCluster(Started):
    """A head without resources for actors, and the nodes that were added; with ``token``, Ray asks for it.

    ``environment`` is what the head's and the nodes' processes have besides this process's own.
    """

    def __init__(self, token: str | None = None, environment: Mapping[str, str] | None = None) -> None:
        # A short path: Ray's sockets lie below it, and a socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        access = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        inherited["PATH"] = f"{_BIN}{os.pathsep}{inherited.get('PATH', '')}"
        self._token = token
        #: What ``ray`` commands need in their environment to reach the cluster.
        self.access = dict(access)
        self._environment = {**inherited, **_HEALTH_CHECKS, **_NO_SPARE_WORKERS, **access, **(environment or {})}
        self._host = f"127.{os.getpid() % 200 + 1}.{os.getpid() // 200 % 250}"  # of this process alone
        self._gcs = free_port(f"{self._host}.2")
        dashboard = free_port("127.0.0.1")
        self.dashboard = f"http://127.0.0.1:{dashboard}"
        #: Of the head and of the nodes, in the order in which they were added.
        self.metrics_ports: list[int] = []
        self.nodes: list[RayNode] = []
        self.head = self._start(
            2,
            "--head",
            f"--port={self._gcs}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
            "--num-cpus=0",
        )

    def start(self) -> None:
        """Wait for the head, which the constructor has started."""
        self._wait_for_dashboard()

    @property
    def address(self) -> str:
        """Of the head, for ``ray.init`` and ``ray start``."""
        return f"{self.head.address}:{self._gcs}"

    def add_node(self, resources: Mapping[str, float], cpus: int = 2, gpus: int = 0) -> RayNode:
        """Start another node with these logical resources; returns before it has joined."""
        self.nodes.append(
            self._start(
                3 + len(self.nodes),
                f"--address={self.address}",
                f"--num-cpus={cpus}",
                f"--num-gpus={gpus}",
                f"--resources={json.dumps(dict(resources))}",
            )
        )
        return self.nodes[-1]

    def job_client(self) -> JobSubmissionClient:
        """Ray reads its environment once in a process, so the token goes along in a header."""
        return JobSubmissionClient(self.dashboard, headers=self._headers)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def close(self) -> None:
        """Kill everything: in order, Ray takes seconds to stop, and nobody waits for its last words."""
        for node in [*self.nodes, self.head]:
            node.kill()
        end = time.monotonic() + _STOP_SECONDS
        while self.folder.exists() and time.monotonic() < end:  # a worker that is ending may still write
            shutil.rmtree(self.folder, ignore_errors=True)
            time.sleep(0.1)

    def _start(self, number: int, *command: str) -> RayNode:
        address = f"{self._host}.{number}"
        self.metrics_ports.append(free_port("127.0.0.1"))
        return RayNode(
            address,
            [
                f"--node-ip-address={address}",
                f"--temp-dir={self.folder / str(number)}",  # nodes of one folder would unpack over each other
                f"--dashboard-agent-listen-port={free_port('0.0.0.0')}",
                f"--metrics-export-port={self.metrics_ports[-1]}",
                "--object-store-memory=100000000",
                "--include-log-monitor=false",  # it sends what is printed to drivers, and ours ask for nothing
                *command,
            ],
            self._environment,
            self.folder / f"node-{number}.log",
        )

    def _wait_for_dashboard(self) -> None:
        request = urllib.request.Request(f"{self.dashboard}/api/version", headers=self._headers)
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(request, timeout=5.0):
                    return
            except (urllib.error.URLError, OSError) as error:
                if self.head.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"Ray's head did not start ({error}):\n{self.head.output}") from error
            time.sleep(0.2)


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
