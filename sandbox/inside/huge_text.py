"""The interpreter's code in huge pages: a fork copies one entry for 2 MiB, and faults none of it in.

A file's pages are left out of a fork, which then takes a page fault for every 64 KiB of code that it runs, and
pays for each page again as it ends: about a tenth of a short program.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable

_HUGE = 2 << 20
_MADV_COLLAPSE = 25
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = _libc.mremap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.madvise.argtypes = _libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.mremap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)


def take_huge_pages() -> int:
    """Put what of the interpreter's code and constants fills huge pages into such; return the bytes.

    None where the kernel has none to give, or before Linux 6.1. What was read-only stays so; constants are in one
    mapping with code.
    """
    code = ctypes.cast(ctypes.pythonapi.Py_GetVersion, ctypes.c_void_p).value or 0
    try:
        with open("/proc/self/maps", encoding="utf-8") as file:
            first, last = read_only_around(code, file)
    except OSError:
        return 0
    first, last = -(-first // _HUGE) * _HUGE, last // _HUGE * _HUGE
    size = last - first
    return size if size > 0 and _replace(first, size) else 0


def read_only_around(address: int, maps: Iterable[str]) -> tuple[int, int]:
    """Return the first and last address of the read-only mappings of one file, in a row, around an address.

    ``maps``: the lines of ``/proc/self/maps``. They are the address itself where it is in none.
    """
    first = last = address
    name, inside = "", False
    for line in maps:
        fields = line.split(maxsplit=5)
        start, end = (int(each, 16) for each in fields[0].split("-"))
        of = fields[5] if len(fields) > 5 and "w" not in fields[1] and fields[1][0] == "r" else ""
        if not of or of != name or start != last:
            if inside:
                break
            first, name = start, of
        last = end
        inside |= bool(of) and start <= address < end
    return (first, last) if inside else (address, address)


def _replace(first: int, size: int) -> bool:
    """Put a copy in huge pages in the place of a mapping; return whether there were any to be had."""
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    room = _libc.mmap(None, size + _HUGE, mmap.PROT_READ | mmap.PROT_WRITE, private, -1, 0)
    if room == _FAILED:
        return False
    start = -(-room // _HUGE) * _HUGE
    ctypes.memmove(start, first, size)
    ready = (
        _libc.madvise(start, size, _MADV_COLLAPSE) == 0
        and _libc.mprotect(start, size, mmap.PROT_READ | mmap.PROT_EXEC) == 0
    )
    moved: bool = ready and _libc.mremap(start, size, size, _MREMAP_MAYMOVE | _MREMAP_FIXED, first) == first
    if moved:
        _libc.munmap(room, start - room)
        _libc.munmap(start + size, room + _HUGE - start)
    else:
        _libc.munmap(room, size + _HUGE)
    return moved
