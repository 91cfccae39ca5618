"""Isolation of one child: from a fresh fork of the runner to a process that may run hostile code.

The order of the steps in :func:`enter`, :func:`enter_kept` and :func:`entrance` matters.
"""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sandbox.inside import kernel, landlock, node, seccomp
from sandbox.inside.pause import TestsNamespaces
from sandbox.inside.protocol import CHILD_ID
from sandbox.inside.reports import RESULT_FD, TESTS_CHANNEL_FD
from sandbox.inside.scratch import Tmpfs, is_untouched

_FIRST_TMP = Tmpfs(1 << 20, 16)  # until the first program says how much it may have
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
# Of the forks alone: a server runs for long, and tasks of its user elsewhere may count.
_OF_EACH = (resource.RLIMIT_CPU, resource.RLIMIT_NPROC)
Entrance = Callable[[tuple[int, int]], None]
# The last descriptor of a program: what it reports on, behind the standard streams, or Node.
_LAST = {"python": RESULT_FD, "javascript": node.PROGRAM_FD}
_LIMITED = (
    *_FIXED_LIMITS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_DATA,
    resource.RLIMIT_AS,
)


class Role(Enum):
    """What a child is: a program, the solution of a split judge among them, or the tests of a split judge."""

    PROGRAM = "program"
    TESTS = "tests"


@dataclass(frozen=True)
class Walls:
    """What one language needs differently.

    ``rules``: file descriptor of a Landlock ruleset. ``filter``: of the fork servers of such programs.
    """

    rules: int | None
    filter: kernel.Filter


@dataclass(frozen=True)
class Isolation:
    """The part of the isolation that the runner prepares once for all its children.

    ``tests``: where the tests of a split judge run, None where there are no namespaces. ``walls``: by language of
    the program. ``node``: file descriptor of the interpreter for JavaScript. ``proc``: whether /proc is mounted.
    ``core``: where forks start.
    ``base_bytes``: the address space of the runner itself. ``ceilings``: the runner's hard resource limits, by
    ``resource.RLIMIT_*``.
    """

    level: str
    child_uid: int
    judge_uid: int  # of the tests' process in a split judge
    folder: str
    tests: TestsNamespaces | None
    walls: dict[str, Walls]
    proc: bool
    fork_filter: kernel.Filter  # what forks of a fork server add to its own
    node: int | None
    core: kernel.Core
    base_bytes: int
    ceilings: dict[int, int]

    @property
    def languages(self) -> list[str]:
        """The languages whose programs can run here."""
        return list(self.walls)

    def walls_of(self, language: str) -> Walls:
        """Return the walls around a program in that language. Raises OSError where nothing here runs it."""
        if language not in self.walls:
            raise OSError(errno.ENOEXEC, f"nothing here runs {language}")
        return self.walls[language]


@dataclass(frozen=True)
class ChildLimits:
    """``/tmp`` and resource limits of the children of one request, computed before the fork.

    ``tmp``: None where there are no namespaces.
    """

    tmp: Tmpfs | None
    resources: list[tuple[int, tuple[int, int]]]


def prepare(config: dict[str, Any]) -> Isolation:
    """Prepare what all children share from the launcher's configuration. Raises OSError."""
    uid_level = config["level"] == "uid"
    folder = config.get("folder", "/tmp")
    proc = bool(config.get("proc"))
    tests = None
    if not uid_level:
        _FIRST_TMP.begin()
        tests = TestsNamespaces(_FIRST_TMP, proc)
    walls = {"python": Walls(_landlock(config, folder), kernel.Filter(seccomp.fork_server(), seccomp.OWN_ID))}
    interpreter = None
    if config["node"]:
        interpreter = node.opened(config["node"])
        only_node = kernel.Filter(seccomp.fork_server(executes=node.PROGRAM_FD), seccomp.OWN_ID)
        walls["javascript"] = Walls(_landlock(config, folder, node.executed(config["node"])), only_node)
    return Isolation(
        level=config["level"],
        child_uid=config["child_uid"] if uid_level else CHILD_ID,
        # With namespaces the two cannot see each other, whatever their ids.
        judge_uid=config["runner_uid"] if uid_level else CHILD_ID,
        folder=folder,
        tests=tests,
        proc=proc,
        walls=walls,
        fork_filter=kernel.Filter(seccomp.fork(), seccomp.OWN_ID),
        node=interpreter,
        core=kernel.Core(),
        base_bytes=_address_space(),
        ceilings={kind: resource.getrlimit(kind)[1] for kind in _LIMITED},
    )


def child_limits(
    isolation: Isolation, items: tuple[tuple[str, Any], ...], results: int, language: str
) -> ChildLimits:
    """Compute the limits of a request's children from the ``items`` of its limits, which a cache can hash."""
    limits = dict(items)
    tmp = None if isolation.level == "uid" else Tmpfs(limits["file_mb"] << 20, limits["files"])
    memory = isolation.base_bytes + (limits["memory_mb"] << 20)
    wanted = {
        resource.RLIMIT_CPU: _cpu(limits["cpu_s"], results),
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
        tmp, [(kind, _below(isolation.ceilings[kind], *wanted[kind])) for kind in _LIMITED if kind in wanted]
    )


def enter(isolation: Isolation, limits: ChildLimits) -> None:
    """Bound this process and give up its rights, all that it does not need to fork programs.

    Raises OSError when a step fails; nothing hostile has run by then.
    """
    uid = isolation.child_uid
    os.setsid()
    os.chdir(isolation.folder)
    for kind, values in limits.resources:
        resource.setrlimit(kind, values)
    if isolation.level != "namespaces":
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    kernel.keep_capabilities()
    if isolation.level == "uid":
        kernel.die_with_parent()
    _restrict(isolation, "python")


def enter_kept(isolation: Isolation, limits: ChildLimits, language: str, role: Role) -> None:
    """Do for the forks of this process what they may inherit of :func:`enter`, and no more. Raises OSError.

    It keeps its user, which is out of reach for programs, and the capability to change it where theirs is another.
    At level uid it may also signal another user's program, which is to die with it.
    """
    os.setsid()
    if role is Role.TESTS and isolation.tests is not None:
        isolation.tests.join()
        if limits.tmp is not None:
            limits.tmp.renew()
    os.chdir(isolation.folder if _uid(isolation, role) == isolation.child_uid else "/")
    for kind, values in limits.resources:
        if kind not in _OF_EACH:
            resource.setrlimit(kind, values)
    changes_user = isolation.level != "namespaces"
    if changes_user:
        os.setgroups([])
    kept = [kernel.CAP_SETGID, kernel.CAP_SETUID] if changes_user else []
    if isolation.level == "uid":
        kept.append(kernel.CAP_KILL)
        kernel.die_with_parent()
    kernel.keep_capabilities(*kept)
    kernel.adopt_orphans()
    _restrict(isolation, language)


def entrance(isolation: Isolation, language: str, role: Role, changes_user: bool) -> Entrance:
    """Return what is left to do in the forks of a process that entered, given the limits of their CPU seconds.

    It raises OSError. ``changes_user``: whether the process entered by :func:`enter_kept`. Everything is bound in
    advance, as a fork that uses few objects copies little memory.
    """
    uid, changed = _uid(isolation, role), changes_user and isolation.level != "namespaces"
    dies, every = isolation.level == "uid", isolation.core.every
    kept = 1 + (TESTS_CHANNEL_FD if role is Role.TESTS else _LAST[language])
    die_with_parent, install = kernel.die_with_parent, isolation.fork_filter.installer()
    set_affinity, set_limit, (cpu, tasks) = os.sched_setaffinity, resource.setrlimit, _OF_EACH
    most = _below(isolation.ceilings[tasks], *_FIXED_LIMITS[tasks])
    set_group, set_user, close = os.setresgid, os.setresuid, os.closerange

    def enter(seconds: tuple[int, int]) -> None:
        set_affinity(0, every)
        set_limit(cpu, seconds)
        set_limit(tasks, most)
        if changed:
            # The capabilities go with the user that has them.
            set_group(uid, uid, uid)
            set_user(uid, uid, uid)
        if dies:
            die_with_parent()  # a change of user resets it
        close(kept, 1 << 20)
        install()

    return enter


def _uid(isolation: Isolation, role: Role) -> int:
    return isolation.judge_uid if role is Role.TESTS else isolation.child_uid


def _restrict(isolation: Isolation, language: str) -> None:
    kernel.no_new_privileges()
    walls = isolation.walls_of(language)
    if walls.rules is not None:
        landlock.restrict(walls.rules)
    walls.filter.install()


def is_folder_used(isolation: Isolation, limits: ChildLimits) -> bool:
    """Return whether a program used the folder that it may write to, since it was last clean. Raises OSError."""
    if not is_untouched(isolation.folder):
        return True
    # Where programs own the folder they can set the mark.
    return isolation.level == "namespaces" and limits.tmp is not None and not limits.tmp.is_as_new()


def cpu_limit(isolation: Isolation, cpu_s: float, results: int) -> tuple[int, int]:
    """Compute the limit of CPU seconds of a child with so many results of ``cpu_s`` each."""
    return _below(isolation.ceilings[resource.RLIMIT_CPU], *_cpu(cpu_s, results))


def _cpu(cpu_s: float, results: int) -> tuple[int, int]:
    seconds = int(cpu_s * results) + 2  # the runner enforces the exact limit; this holds if it is starved
    return seconds, seconds + 1


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


def _address_space() -> int:
    """Measure the runner's own address space in bytes; a program's limit counts from there."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 256 << 20
