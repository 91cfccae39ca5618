"""What a program could leave behind: processes, mounts, files, control groups and descriptors."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.sandbox.levels import Backend

_SETTLE_S = 5.0


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def take(backend: Backend) -> dict[str, object]:
    """Of every slot, and of the host's side of it."""
    found: dict[str, object] = {"host descriptors": _count(f"/proc/{backend.owner}/fd")}
    for number, first in enumerate(backend.pids()):
        family = [first, *descendants(first)]
        runner = family[:2][-1]  # below the launcher, where one waits for it
        found |= {
            f"processes of slot {number}": len(family),
            f"descriptors of slot {number}": _count(f"/proc/{runner}/fd"),
            f"mounts of slot {number}": _mounts(runner),
            f"files of slot {number}": _files(backend, runner),
            f"control groups of slot {number}": _groups(runner),
        }
    return found


def settled(backend: Backend, expected: dict[str, object]) -> dict[str, object]:
    """The footprint once it is the expected one, or after some seconds."""
    deadline = time.monotonic() + _SETTLE_S
    while (found := take(backend)) != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def gone(pids: list[int]) -> bool:
    """Whether all of them ended; an orphan's zombie is its new parent's to collect."""
    deadline = time.monotonic() + _SETTLE_S
    while any(_state(pid) not in ("", "Z") for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _state(pid: int) -> str:
    return _read(f"/proc/{pid}/stat").rpartition(")")[2].strip()[:1]


def control_groups(pid: int) -> list[Path]:
    """The folders of the groups of ours that a process is in."""
    found = []
    for line in _read(f"/proc/{pid}/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if "couplet" in path:
            names = controllers.split(",") if controllers else ["unified", "."]
            folders = [Path("/sys/fs/cgroup") / name / path.lstrip("/") for name in (*names, controllers or ".")]
            found += [folder for folder in folders if folder.is_dir()]
    return found


def _mounts(runner: int) -> int:
    """0 where they are those of the whole machine, which others change."""
    try:
        own = os.readlink(f"/proc/{runner}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    except OSError:
        return 0
    return len(_read(f"/proc/{runner}/mountinfo").splitlines()) if own else 0


def _files(backend: Backend, runner: int) -> list[str]:
    """Names in the folders that programs may write to."""
    if backend.name == "uid":
        environment = _read(f"/proc/{runner}/environ").split("\0")
        homes = [entry.removeprefix("HOME=") for entry in environment if entry.startswith("HOME=")]
    else:
        homes = [f"/proc/{runner}/root/tmp", f"/proc/{runner}/root/dev/shm"]
    # A link there would be followed from our root, not from the jail's.
    folders = [home for home in homes if os.path.isdir(home) and not os.path.islink(home)]
    return [name for folder in folders for name in os.listdir(folder)]


def _groups(runner: int) -> dict[str, int]:
    """Tasks in each group, and groups below it."""
    counted = {}
    for folder in control_groups(runner):
        counted[str(folder)] = len(_read(str(folder / "cgroup.procs")).split())
        counted[f"{folder}/*"] = sum(entry.is_dir() for entry in folder.iterdir())
    return counted


def _count(folder: str) -> int:
    try:
        return len(os.listdir(folder))
    except OSError:
        return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
