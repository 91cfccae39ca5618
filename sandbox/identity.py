"""User ids no other slot on this machine uses: two slots with one uid could kill each other's programs."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

_BASE = 0x70000000  # above what distributions, containers and systemd hand out
_FULL_MAP = 1 << 31
_MAX_CLAIMS = 4096


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
    """Raises OSError when every number is taken. An unprivileged process has nothing to claim."""
    if os.geteuid() != 0:
        return Claim(os.getuid(), os.getuid(), None)
    for number in range(_MAX_CLAIMS):
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # An abstract name is a lock that the kernel drops with its owner.
            holder.bind(f"\0couplet-sandbox-{number}")
        except OSError:
            holder.close()
            continue
        first = _first_uid(number)
        return Claim(first, first + 1, holder)
    raise OSError("every sandbox uid is taken")


def _first_uid(number: int) -> int:
    """In a container with few ids, count down from its last one."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        extents = [tuple(map(int, line.split())) for line in file]
    end = max(inside + count for inside, _, count in extents)
    return _BASE + 2 * number if end > _FULL_MAP else end - 2 * (number + 1)
