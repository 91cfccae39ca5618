"""From a fresh fork of the runner to a process that may be given hostile code. Order matters."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from typing import Any

from sandbox import kernel, landlock, seccomp
from sandbox.launcher import CHILD_ID

_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_STACK = 64 << 20
_TASKS = 64
_OPEN_FILES = 64


@dataclass(frozen=True)
class Walls:
    """What the runner prepared once for all its children."""

    level: str
    child_uid: int
    folder: str
    rules: int | None
    proc: bool
    filter: bytes
    base_bytes: int


def prepare(config: dict[str, Any]) -> Walls:
    uid_level = config["level"] == "uid"
    folder = config.get("folder", "/tmp")
    return Walls(
        level=config["level"],
        child_uid=config["child_uid"] if uid_level else CHILD_ID,
        folder=folder,
        rules=landlock.ruleset(config["readable"], [folder, "/dev/null"]) if uid_level else None,
        proc=bool(config.get("proc")),
        filter=seccomp.threads_only(),
        base_bytes=_address_space(),
    )


def apply(walls: Walls, limits: dict[str, Any], cpu_budget_s: float) -> None:
    """Raises OSError when a wall cannot be built; nothing hostile has run by then."""
    os.setsid()
    if walls.level != "uid":
        _own_file_systems(walls, limits)
    os.chdir(walls.folder)
    _set_limits(walls, limits, cpu_budget_s)
    _change_identity(walls)
    if walls.level == "uid":
        kernel.die_with_parent()
    kernel.no_new_privileges()
    if walls.rules is not None:
        landlock.restrict(walls.rules)
    os.closerange(4, 1 << 20)
    kernel.install_filter(walls.filter)


def _own_file_systems(walls: Walls, limits: dict[str, Any]) -> None:
    kernel.unshare(kernel.NEWNS | kernel.NEWIPC)
    options = f"size={limits['file_mb']}m,nr_inodes={limits['files']},mode=1777"
    kernel.mount("tmp", "/tmp", "tmpfs", _QUIET, options)
    if walls.proc:
        kernel.mount("proc", "/proc", "proc", _QUIET, "subset=pid")


def _set_limits(walls: Walls, limits: dict[str, Any], cpu_budget_s: float) -> None:
    cpu = int(cpu_budget_s) + 2  # the runner enforces the exact limit; this holds if the runner is starved
    memory = walls.base_bytes + (limits["memory_mb"] << 20)
    file_bytes = limits["file_mb"] << 20
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES, _OPEN_FILES),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_STACK, _STACK, _STACK),
        (resource.RLIMIT_NPROC, _TASKS, _TASKS),
        (resource.RLIMIT_AS, memory, memory),
    ):
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (soft, hard))


def _change_identity(walls: Walls) -> None:
    if walls.level != "namespaces":
        os.setgroups([])
        os.setresgid(walls.child_uid, walls.child_uid, walls.child_uid)
        os.setresuid(walls.child_uid, walls.child_uid, walls.child_uid)
    kernel.drop_capabilities()


def _address_space() -> int:
    """Bytes of address space the runner itself takes; a program's limit counts from there."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 256 << 20
