"""Isolation of one child: from a fresh fork of the runner to a process that may run hostile code.

The order of the steps in :func:`apply` matters.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.inside import kernel, landlock, node, seccomp
from sandbox.inside.node import Node
from sandbox.inside.protocol import CHILD_ID

_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
_STACK = 64 << 20
_NODE_STACK = 8 << 20  # each of its threads gets as much
_TASKS = 64
_OPEN_FILES = 64
_FIXED_LIMITS = {
    resource.RLIMIT_CORE: (0, 0),
    resource.RLIMIT_NOFILE: (_OPEN_FILES, _OPEN_FILES),
    resource.RLIMIT_MEMLOCK: (0, 0),
    resource.RLIMIT_MSGQUEUE: (0, 0),
    # What the stack takes is address space, which has a limit of its own; programs that recurse deeply raise this.
    resource.RLIMIT_STACK: (_STACK, resource.RLIM_INFINITY),
    resource.RLIMIT_NPROC: (_TASKS, _TASKS),
}
# Address space last: setting the others may need some.
_LIMITED = (
    *_FIXED_LIMITS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_DATA,
    resource.RLIMIT_AS,
)


@dataclass(frozen=True)
class Isolation:
    """The part of the isolation that the runner prepares once for all its children.

    ``rules``: file descriptor of a Landlock ruleset. ``proc``: whether /proc may be mounted. ``node``: what is
    different for JavaScript, where it can run. ``base_bytes``: the address space of the runner itself.
    ``ceilings``: the runner's hard resource limits, by ``resource.RLIMIT_*``.
    """

    level: str
    child_uid: int
    judge_uid: int  # of the tests' process in a split judge
    folder: str
    rules: int | None
    proc: bool
    filter: kernel.Filter
    node: Node | None
    base_bytes: int
    ceilings: dict[int, int]

    @property
    def languages(self) -> list[str]:
        """The languages whose programs can run here."""
        return ["python", *(["javascript"] if self.node is not None else [])]


@dataclass(frozen=True)
class ChildLimits:
    """Mounts and resource limits of the children of one request, computed before the fork."""

    mounts: list[kernel.Mount]
    resources: list[tuple[int, tuple[int, int]]]


def prepare(config: dict[str, Any]) -> Isolation:
    """Prepare what all children share from the launcher's configuration. Raises OSError."""
    uid_level = config["level"] == "uid"
    folder = config.get("folder", "/tmp")
    return Isolation(
        level=config["level"],
        child_uid=config["child_uid"] if uid_level else CHILD_ID,
        # With namespaces the two cannot see each other, whatever their ids.
        judge_uid=config["runner_uid"] if uid_level else CHILD_ID,
        folder=folder,
        rules=_landlock(config, folder),
        proc=bool(config.get("proc")),
        filter=kernel.Filter(seccomp.threads_only()),
        node=_node(config, folder),
        base_bytes=_address_space(),
        ceilings={kind: resource.getrlimit(kind)[1] for kind in _LIMITED},
    )


def child_limits(
    isolation: Isolation, items: tuple[tuple[str, Any], ...], results: int, language: str
) -> ChildLimits:
    """Compute the limits of a request's children from the ``items`` of its limits, which a cache can hash."""
    limits = dict(items)
    mounts = []
    if isolation.level != "uid":
        size = f"size={limits['file_mb']}m,nr_inodes={limits['files']},mode=1777"
        mounts.append(kernel.Mount("tmp", "/tmp", "tmpfs", _QUIET, size))
        if isolation.proc:
            mounts.append(kernel.Mount("proc", "/proc", "proc", _QUIET, "subset=pid"))
    cpu = int(limits["cpu_s"] * results) + 2  # the runner enforces the exact limit; this holds if it is starved
    memory = isolation.base_bytes + (limits["memory_mb"] << 20)
    wanted = {
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_FSIZE: (limits["file_mb"] << 20,) * 2,
        resource.RLIMIT_AS: (memory, memory),
        **_FIXED_LIMITS,
    }
    if language == "javascript":
        # Node reserves addresses by the terabyte and takes few of them: what counts is what it can write to.
        data = node.OWN_BYTES + (limits["memory_mb"] << 20)
        wanted |= {
            resource.RLIMIT_AS: (resource.RLIM_INFINITY,) * 2,
            resource.RLIMIT_DATA: (data, data),
            resource.RLIMIT_STACK: (_NODE_STACK, _NODE_STACK),
        }
    return ChildLimits(
        mounts, [(kind, _below(isolation.ceilings[kind], *wanted[kind])) for kind in _LIMITED if kind in wanted]
    )


def apply(isolation: Isolation, limits: ChildLimits, uid: int, kept: int, language: str = "python") -> None:
    """Isolate this process as the user ``uid`` and close its file descriptors from ``kept`` up.

    ``language``: of the program that it will run. Raises OSError when a step fails; nothing hostile has run by
    then.
    """
    os.setsid()
    if limits.mounts:
        kernel.unshare(kernel.NEWNS | kernel.NEWIPC)
        for mount in limits.mounts:
            mount.do()
    # The folder belongs to programs; tests find their own in no other place than theirs.
    os.chdir(isolation.folder if uid == isolation.child_uid else "/")
    for kind, values in limits.resources:
        resource.setrlimit(kind, values)
    if isolation.level != "namespaces":
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    kernel.drop_capabilities()
    if isolation.level == "uid":
        kernel.die_with_parent()
    kernel.no_new_privileges()
    walls = isolation if language == "python" else isolation.node
    if walls is None:
        raise OSError(errno.ENOEXEC, f"nothing here runs {language}")
    if walls.rules is not None:
        landlock.restrict(walls.rules)
    os.closerange(kept, 1 << 20)
    walls.filter.install()


def _below(ceiling: int, soft: int, hard: int) -> tuple[int, int]:
    if ceiling == resource.RLIM_INFINITY:
        return soft, hard
    return min(soft, ceiling), ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling)


def _landlock(config: dict[str, Any], folder: str, executable: Sequence[str] = ()) -> int | None:
    """Make the Landlock rules: the only protection of files at level ``uid``, a second one where mounts exist."""
    try:
        if config["level"] == "uid":
            return landlock.ruleset(config["readable"], [folder, "/dev/null"], executable)
        return landlock.without_files(executable)
    except OSError:
        # A container has an image of its own, with nothing in it to be kept from.
        if config["level"] == "uid" and not config.get("container"):
            raise
        return None


def _node(config: dict[str, Any], folder: str) -> Node | None:
    if not config["node"]:
        return None
    return node.prepare(config["node"], _landlock(config, folder, node.executed(config["node"])))


def _address_space() -> int:
    """Measure the runner's own address space in bytes; a program's limit counts from there."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 256 << 20
