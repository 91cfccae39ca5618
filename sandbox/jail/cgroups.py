"""Control groups: the memory and the tasks of a slot, all its processes together. Version 1, version 2, or none.

A second bound: resource limits already hold for every single process. What they miss is the sum of a split judge's
two processes and of the files in memory, and threads where the kernel does not count them for a user.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from sandbox.identity import start_time

_MARK = "couplet-"


class CgroupsUnavailable(OSError):  # noqa: N818
    """No control group can be made on this machine; the message says why."""


@dataclass(frozen=True)
class Hierarchy:
    """A folder in which groups can be made, and the names of its limit files."""

    version: int
    folder: Path
    memory_limit: str = ""
    swap_limit: str = ""
    task_limit: str = ""


class Cgroup:
    """One slot's group in every hierarchy. Its processes join it by themselves, before they start anything."""

    def __init__(self, number: int, tasks: int) -> None:
        """Make the groups. ``number`` is unique in this process. Raises CgroupsUnavailable."""
        found = hierarchies()
        name = f"{_MARK}{os.getpid()}-{start_time(os.getpid())}-{number}"
        self.version = found[0].version
        self._memory: list[tuple[Path, Path]] = []
        self._folders = [each.folder / name for each in found]
        self._memory_bytes = 0
        try:
            for each, folder in zip(found, self._folders, strict=True):
                folder.mkdir()
                if each.memory_limit:
                    self._memory.append((folder / each.memory_limit, folder / each.swap_limit))
                if each.task_limit:
                    (folder / each.task_limit).write_text(str(tasks))
        except OSError as error:
            self.remove()
            raise CgroupsUnavailable(f"cannot make a control group: {error}") from error

    def procs_files(self) -> list[str]:
        """List the ``cgroup.procs`` files: a process that writes 0 to each of them joins the group."""
        return [str(folder / "cgroup.procs") for folder in self._folders]

    def allow(self, memory_bytes: int) -> None:
        """Bound the memory of all processes together, without swap. Raises OSError when they hold more already."""
        if memory_bytes == self._memory_bytes:
            return
        for memory, swap in self._memory:
            # Version 1 bounds memory plus swap, which may never be below memory alone; version 2 bounds swap.
            total = str(memory_bytes) if "memsw" in swap.name else "0"
            steps = [(memory, str(memory_bytes)), (swap, total)]
            for file, value in reversed(steps) if memory_bytes > self._memory_bytes > 0 else steps:
                if file.exists():
                    file.write_text(value)
        self._memory_bytes = memory_bytes

    def remove(self) -> None:
        """Remove the groups. Raises OSError while processes are left in them."""
        for folder in self._folders:
            if folder.is_dir():
                folder.rmdir()


def hierarchies() -> list[Hierarchy]:
    """Find where groups can be made: below this process's own, whose limits then bound them as well.

    Remove groups that dead processes left there. Raises CgroupsUnavailable.
    """
    ours = _own_paths()
    found: list[Hierarchy] = []
    for root, kind, options in _mounts():
        if kind == "cgroup2" and "" in ours:
            found += _version_2(_below(root, ours[""]))
        elif kind == "cgroup":
            found += [
                Hierarchy(1, _below(root, ours[name]), **files)
                for name, files in _VERSION_1.items()
                if name in options and name in ours
            ]
    usable = [each for each in found if os.access(each.folder, os.W_OK)]
    if not any(each.memory_limit for each in usable):
        raise CgroupsUnavailable("no writable control group with a memory limit")
    for each in usable:
        _remove_leftovers(each.folder)
    return sorted(usable, key=lambda each: not each.memory_limit)


_VERSION_1: dict[str, dict[str, str]] = {
    "memory": {"memory_limit": "memory.limit_in_bytes", "swap_limit": "memory.memsw.limit_in_bytes"},
    "pids": {"task_limit": "pids.max"},
}


def _version_2(folder: Path) -> list[Hierarchy]:
    """Enable the controllers below ``folder``, which needs a group without processes or the root group."""
    try:
        if not {"memory", "pids"} <= set((folder / "cgroup.controllers").read_text().split()):
            return []
        (folder / "cgroup.subtree_control").write_text("+memory +pids")
    except OSError:
        return []
    return [Hierarchy(2, folder, "memory.max", "memory.swap.max", "pids.max")]


def _own_paths() -> dict[str, str]:
    """Map each controller to the path of this process's group; version 2 has the empty name."""
    paths: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            _, controllers, path = line.split(":", 2)
            paths |= dict.fromkeys(controllers.split(","), path)
    return paths


def _mounts() -> list[tuple[Path, str, list[str]]]:
    """List the root, file system and options of every mounted hierarchy."""
    found = []
    with contextlib.suppress(OSError):
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        for line in mounts.splitlines():
            before, _, after = line.partition(" - ")
            kind, _, options = after.split(" ", 2)
            if kind.startswith("cgroup"):
                found.append((Path(before.split()[4]), kind, options.split(",")))
    return found


def _below(root: Path, path: str) -> Path:
    """Resolve a group's path, which in a container may be the host's while the mount starts at our own group."""
    full = root / path.lstrip("/")
    return full if full.is_dir() else root


def _remove_leftovers(folder: Path) -> None:
    for left in folder.glob(f"{_MARK}*-*-*"):
        _, pid, started, _ = left.name.split("-")
        if start_time(int(pid)) != started:
            with contextlib.suppress(OSError):  # its processes are about to die, or another service was faster
                left.rmdir()
