"""The interpreter's objects in huge pages, as :mod:`sandbox.inside.huge_text` does for its code.

A fork copies an entry for each page of memory, and gives each back at its end. Of a huge page that is one entry;
its parts, where a fork has written to some of them, are copied and given back together.
"""

from __future__ import annotations

import ctypes
import mmap

from sandbox.inside.huge_text import HUGE, MADV_COLLAPSE, libc, mappings

# The interpreter takes memory for its objects by the MiB, wherever the kernel finds room.
_ARENA = 1 << 20
_ROOM = 16 * HUGE
# What is smaller, such as libraries, would come to lie in between, but for gaps of its own where no arena fits.
_GAPS = 16
_GAP = _ARENA - (64 << 10)
_PAGE = mmap.PAGESIZE
_PROT_NONE = 0


def keep_together() -> None:
    """Leave the interpreter one free range, on huge pages' bounds, where its next arenas will lie side by side.

    The kernel looks for room from above. Where it does otherwise, nothing is lost.
    """
    size = _ROOM + HUGE + _GAPS * (_GAP + _PAGE) + _PAGE
    start = libc.mmap(None, size, _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if start == ctypes.c_void_p(-1).value:
        return
    end = start + size - _PAGE
    for _ in range(_GAPS):
        libc.munmap(end - _GAP, _GAP)
        end -= _GAP + _PAGE
    libc.munmap(end // HUGE * HUGE - _ROOM, _ROOM)


def take_huge_pages() -> int:
    """Put what of this process's own memory fills huge pages into such; return the bytes.

    None where the kernel has none to give, or before Linux 6.1.
    """
    try:
        found = mappings()
    except OSError:
        return 0
    taken = 0
    for start, end, access, name in found:
        first = -(-start // HUGE) * HUGE
        size = end // HUGE * HUGE - first
        own = access == "rw-p" and name in ("", "[heap]") and size > 0
        if own and libc.madvise(first, size, MADV_COLLAPSE) == 0:
            taken += size
    return taken
