"""Identities on this machine: user ids that no other slot uses, and processes known by their start time.

Two slots with one uid could kill each other's programs.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_BASE = 0x70000000  # above what distributions, containers and systemd hand out
_FULL_MAP = 1 << 31
_MAX_CLAIMS = 4096
_CONTAINER_BASE = 60580  # below 65536, which engines with an id map of their own stop at; in no allocator's range
_MAX_CONTAINERS = 300


@dataclass(frozen=True)
class Claim:
    """Two uids, held until :meth:`release` or until this process ends."""

    runner_uid: int
    child_uid: int
    _holder: socket.socket | None

    def release(self) -> None:
        if self._holder is not None:
            self._holder.close()


def claim() -> Claim:
    """Claim two uids. Raises OSError when all are taken. An unprivileged process gets its own uid twice."""
    if os.geteuid() != 0:
        return Claim(os.getuid(), os.getuid(), None)
    return _claim("couplet-sandbox", range(_MAX_CLAIMS), _first_uid)


def claim_for_container() -> Claim:
    """Claim two uids that exist in any container. Two containers with one uid would share its limit of processes.

    Raises OSError when every number is taken. Claims made in another network namespace or on another machine are
    not seen, so each claimant begins somewhere else.
    """
    numbers = random.sample(range(_MAX_CONTAINERS), _MAX_CONTAINERS)
    return _claim("couplet-container", numbers, lambda number: _CONTAINER_BASE + 2 * number)


def _claim(name: str, numbers: Iterable[int], first_uid: Callable[[int], int]) -> Claim:
    for number in numbers:
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # An abstract name is a lock that the kernel drops with its owner.
            holder.bind(f"\0{name}-{number}")
        except OSError:
            holder.close()
            continue
        first = first_uid(number)
        return Claim(first, first + 1, holder)
    raise OSError("every sandbox uid is taken")


def _first_uid(number: int) -> int:
    """Return the first uid of a claim; in a container with few ids, count down from its last one."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        extents = [tuple(map(int, line.split())) for line in file]
    end = max(inside + count for inside, _, count in extents)
    return _BASE + 2 * number if end > _FULL_MAP else end - 2 * (number + 1)


def start_time(pid: int) -> str | None:
    """Return when a process started, in clock ticks since boot; None when it has ended, reaped or not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rsplit(")", 1)[1].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else fields[19]
