"""The reward service as its command starts it, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from common.processes import die_with_parent

PATIENCE_S = 60.0


class ServiceUnderTest:
    """A started service: its address, what it printed, and a client."""

    def __init__(self, process: subprocess.Popen[str], printed: list[str], token: str | None) -> None:
        self.process = process
        self.printed = printed
        self.url = next(line for line in printed if line.startswith("reward service: ")).split()[2]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S)

    def score(self, *groups: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
        """The lines of the answer."""
        answer = self.client.post("/v1/score", json={"groups": list(groups), **fields})
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def metric(self, name: str) -> float:
        """The sum over the labels of one metric."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{")))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE_S)


@contextmanager
def service(*arguments: str, token: str | None = None) -> Iterator[ServiceUnderTest]:
    """A service on a free port, ready to work; it is killed at the end if it still runs."""
    command = [sys.executable, "-m", "couplet_rl", "serve-rewards", "--port", "0"]
    command += ["reward.sandbox_slots=2", "reward.sandbox_level=uid"]
    process = subprocess.Popen(
        [*command, *arguments],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **({"COUPLET_REWARD_TOKEN": token} if token else {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=die_with_parent,
    )
    printed: list[str] = []
    announced = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            printed.append(line)
            if line.startswith("reward service: "):
                announced.set()
        announced.set()

    reader = threading.Thread(target=listen)
    reader.start()
    try:
        assert announced.wait(PATIENCE_S)
        assert any(line.startswith("reward service: ") for line in printed), "".join(printed)
        under_test = ServiceUnderTest(process, printed, token)
        with under_test.client:
            under_test.wait_until(lambda: under_test.client.get("/readyz").status_code == 200)
            yield under_test
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        reader.join(PATIENCE_S)
        if process.stdout is not None:
            process.stdout.close()
