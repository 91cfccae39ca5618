"""The reward image as a container, run as compose.yaml runs it, without any network."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from docker.types import Healthcheck

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-of-the-test"
PATIENCE_S = 120
_POLL_S = 0.1
_SECOND = 1_000_000_000  # of the engine's, in nanoseconds
# In the container's network namespace but with this machine's Python and files.
_ASK = """
import json, sys, urllib.error, urllib.request
method, path, headers, body = json.load(sys.stdin)
request = urllib.request.Request(f"http://127.0.0.1:8080{path}", body and body.encode(), headers, method=method)
try:
    with urllib.request.urlopen(request, timeout=60) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
"""


def walls() -> dict[str, Any]:
    """What compose.yaml denies the reward service, as the engine's host configuration wants it."""
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["reward"]
    options = []
    for option in service["security_opt"]:
        name, _, value = option.partition(":")
        options.append(f"seccomp={(ROOT / value).read_text()}" if name == "seccomp" else option.replace(":", "="))
    return {
        "read_only": service["read_only"],
        "cap_drop": service["cap_drop"],
        "security_opt": options,
        "tmpfs": dict(entry.split(":", 1) for entry in service["tmpfs"]),
        "pids_limit": service["pids_limit"],
    }


def run(client: Any, image: str, *command: str, user: str | None = None, **host: Any) -> tuple[int, str]:
    """Exit code and output of a container without a network, behind :func:`walls` but for what ``host`` changes.

    A command that begins with ``python3`` takes the entrypoint's place.
    """
    entrypoint = ["python3"] if command[0] == "python3" else None
    container = client.api.create_container(
        image,
        list(command[1:] if entrypoint else command),
        entrypoint=entrypoint,
        user=user,
        host_config=client.api.create_host_config(network_mode="none", **{**walls(), **host}),
    )["Id"]
    try:
        client.api.start(container)
        code = client.api.wait(container, timeout=PATIENCE_S)["StatusCode"]
        return code, client.api.logs(container).decode()
    finally:
        client.api.remove_container(container, force=True, v=True)


class RewardContainer:
    """A started reward service."""

    def __init__(self, client: Any, container: str) -> None:
        self._api = client.api
        self._container = container

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._api.inspect_container(self._container)["State"]
        return found

    @property
    def printed(self) -> str:
        text: str = self._api.logs(self._container).decode()
        return text

    def processes(self) -> list[dict[str, str]]:
        listed = self._api.top(self._container, ps_args="-eo pid,uid,stat,args")
        return [dict(zip(listed["Titles"], row, strict=True)) for row in listed["Processes"]]

    def ask(self, method: str, path: str, body: Any = None, token: str | None = TOKEN) -> tuple[int, str]:
        """Status and text of the answer."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        question = [method, path, headers, None if body is None else json.dumps(body)]
        done = subprocess.run(
            ["nsenter", "--net", "--target", str(self.state["Pid"]), sys.executable, "-c", _ASK],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        status, text = json.loads(done.stdout)
        return int(status), str(text)

    def wait_until_healthy(self) -> None:
        """By the image's own HEALTHCHECK."""
        deadline = time.monotonic() + PATIENCE_S
        while self.state["Health"]["Status"] != "healthy":
            assert self.state["Running"], self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(_POLL_S)

    def terminate(self) -> int:
        """SIGTERM to the container's first process; its exit code."""
        self._api.kill(self._container, signal="SIGTERM")
        return int(self._api.wait(self._container, timeout=PATIENCE_S)["StatusCode"])


@contextmanager
def reward_service(client: Any, image: str) -> Iterator[RewardContainer]:
    container = client.api.create_container(
        image,
        ["serve-rewards", "--host", "0.0.0.0", "reward.sandbox_slots=1"],
        environment={"COUPLET_REWARD_TOKEN": TOKEN},
        healthcheck=Healthcheck(interval=_SECOND),  # the image's command, sooner
        host_config=client.api.create_host_config(network_mode="none", **walls()),
    )["Id"]
    try:
        client.api.start(container)
        service = RewardContainer(client, container)
        service.wait_until_healthy()
        yield service
    finally:
        client.api.remove_container(container, force=True, v=True)
