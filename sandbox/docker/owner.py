"""Labels that name the process that owns a container, so that a later service can clean up after a dead one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from sandbox.docker.engine import Engine
from sandbox.identity import start_time

_OURS = "couplet.sandbox"
_BOOT, _NAMESPACE, _PID, _STARTED = "couplet.boot", "couplet.pid-namespace", "couplet.pid", "couplet.started"
_STOPPED = ("exited", "dead")


def labels() -> dict[str, str]:
    """Make the labels of containers that this process starts."""
    pid = os.getpid()
    return {
        _OURS: "slot",
        _BOOT: _boot_id(),
        _NAMESPACE: _pid_namespace(),
        _PID: str(pid),
        _STARTED: start_time(pid) or "",
    }


def remove_orphans(engine: Engine) -> int:
    """Remove containers that dead services left on the engine; return how many. Raises the engine's errors."""
    removed = 0
    for container in engine.client.api.containers(all=True, filters={"label": f"{_OURS}=slot"}):
        if is_orphan(container["Labels"], container["State"]):
            engine.remove(container["Id"])
            removed += 1
    return removed


def is_orphan(owner: Mapping[str, str], state: str) -> bool:
    """Return whether the owner of a container in the engine's ``state`` is dead.

    An owner under another boot id or PID namespace cannot be looked up from here. Its container ends by itself
    when the engine closes the stream of a dead owner; one that still runs belongs to somebody alive.
    """
    if owner.get(_BOOT) != _boot_id() or owner.get(_NAMESPACE) != _pid_namespace():
        return state in _STOPPED
    pid = owner.get(_PID, "")
    return not pid.isdigit() or start_time(int(pid)) != owner.get(_STARTED)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")
