"""Every backend and level that this machine can be tested at."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from sandbox.jail.backend import JailSandbox
from sandbox.jail.probe import Level, probe
from sandbox.types import Case, Limits, Program, Sandbox, SandboxUnavailable
from tests.sandbox import other_user

NAMES = ("jail", "namespaces", "uid", "docker")
STRONGEST = "jail" if os.geteuid() == 0 else "namespaces"
_ASK_S = 60
_POLL_S = 0.05
_ran: set[str] = set()


@dataclass(frozen=True)
class Backend:
    """``owner``: the process that holds the host's ends. ``pids``: the first process of each slot."""

    name: str
    sandbox: Sandbox
    owner: int
    pids: Callable[[], list[int]]


@contextlib.contextmanager
def opened(name: str, request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The backend with one slot; skips, with the reason, where this machine cannot have it."""
    try:
        with _open(name, request) as backend:
            _ran.add(name)
            yield backend
    except SandboxUnavailable as error:
        pytest.skip(f"{name}: {error}")


def real_levels_that_ran() -> set[str]:
    return set(_ran)


@contextlib.contextmanager
def _open(name: str, request: pytest.FixtureRequest) -> Iterator[Backend]:
    root = os.geteuid() == 0
    if name == "docker":
        with _open_docker(request.getfixturevalue("docker_url")) as backend:
            yield backend
    elif name == "namespaces" and root:
        users = other_user.OrdinaryUsersSandbox(name, _public_python_or_skip(name))
        with contextlib.closing(users):
            yield Backend(name, users, users.pid, users.slot_pids)
    else:
        python = _public_python_or_skip(name) if name == "uid" and root else sys.executable
        with JailSandbox(1, levels=[Level(name)], python=python) as sandbox:
            yield Backend(name, sandbox, os.getpid(), lambda: other_user.slot_pids(sandbox))


@contextlib.contextmanager
def _open_docker(url: str) -> Iterator[Backend]:
    import docker

    from sandbox.docker.backend import DockerSandbox
    from sandbox.docker.slot import DockerSlot

    client = docker.DockerClient(base_url=url, version="auto")
    try:
        with DockerSandbox(1, base_url=url) as sandbox:

            @functools.cache  # a question to the engine may leave a connection open, which is a descriptor
            def pid(name: str) -> int:
                return int(client.containers.get(name).attrs["State"]["Pid"])

            def pids() -> list[int]:
                return [pid(slot.name) for slot in sandbox.live_slots() if isinstance(slot, DockerSlot)]

            # What is opened once, at first use: a spare container and the connection.
            sandbox.run(Program("", (Case("0", call="1"),)), Limits())
            deadline = time.monotonic() + _ASK_S
            while not sandbox.describe()["spare_ready"]:
                assert time.monotonic() < deadline, "no spare container"
                time.sleep(_POLL_S)
            pids()
            yield Backend("docker", sandbox, os.getpid(), pids)
    finally:
        client.close()


def public_python() -> str | None:
    """An interpreter (3.11 or newer) that every user may run."""
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"):
        command = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        ordinary = other_user.ORDINARY_ID
        try:
            done = subprocess.run(command, user=ordinary, group=ordinary, check=False, timeout=_ASK_S)
        except (OSError, subprocess.SubprocessError):
            continue
        if done.returncode == 0:
            return candidate
    return None


def _public_python_or_skip(name: str) -> str:
    python = public_python()
    if python is None:
        pytest.skip(f"{name}: no interpreter that every user may run")
    return python


def offered() -> dict[str, str]:
    """Why each level of the jail that this machine refuses is refused; empty when it offers all it can."""
    return {str(level): reason for level, reason in probe().refused.items()}
