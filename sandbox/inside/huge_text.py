"""The interpreter's code in huge pages: a fork copies one entry for 2 MiB, and faults none of it in.

A file's pages are left out of a fork, which then takes a page fault for every 64 KiB of code that it runs, and
pays for each page again as it ends: about a tenth of a short program.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable

HUGE = 2 << 20
MADV_COLLAPSE = 25
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2
#: The first and last address of a mapping, its access rights, and its file or what else it is.
Mapping = tuple[int, int, str, str]
_FAILED = ctypes.c_void_p(-1).value

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p
libc.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
libc.madvise.argtypes = libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
libc.mremap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p)


def take_huge_pages() -> int:
    """Put what of the interpreter's code and constants fills huge pages into such; return the bytes.

    None where the kernel has none to give, or before Linux 6.1. What was read-only stays so; constants are in one
    mapping with code.
    """
    code = ctypes.cast(ctypes.pythonapi.Py_GetVersion, ctypes.c_void_p).value or 0
    try:
        first, last = read_only_around(code, mappings())
    except OSError:
        return 0
    first, last = -(-first // HUGE) * HUGE, last // HUGE * HUGE
    size = last - first
    return size if size > 0 and _replace(first, size) else 0


def mappings() -> list[Mapping]:
    """Return the mappings of this process, by address. Raises OSError."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        return parsed(file)


def parsed(maps: Iterable[str]) -> list[Mapping]:
    """Return the mappings in the lines of ``/proc/self/maps``."""
    found = []
    for line in maps:
        bounds, access, _, _, _, *name = line.split(maxsplit=5)
        first, last = (int(each, 16) for each in bounds.split("-"))
        found.append((first, last, access, name[0].rstrip() if name else ""))
    return found


def read_only_around(address: int, maps: Iterable[Mapping]) -> tuple[int, int]:
    """Return the first and last address of the read-only mappings of one file, in a row, around an address.

    They are the address itself where it is in none.
    """
    first = last = address
    name, inside = "", False
    for start, end, access, file_name in maps:
        of = file_name if "w" not in access and access[0] == "r" else ""
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
    room = libc.mmap(None, size + HUGE, mmap.PROT_READ | mmap.PROT_WRITE, private, -1, 0)
    if room == _FAILED:
        return False
    start = -(-room // HUGE) * HUGE
    ctypes.memmove(start, first, size)
    ready = (
        libc.madvise(start, size, MADV_COLLAPSE) == 0
        and libc.mprotect(start, size, mmap.PROT_READ | mmap.PROT_EXEC) == 0
    )
    moved: bool = ready and libc.mremap(start, size, size, _MREMAP_MAYMOVE | _MREMAP_FIXED, first) == first
    if moved:
        libc.munmap(room, start - room)
        libc.munmap(start + size, room + HUGE - start)
    else:
        libc.munmap(room, size + HUGE)
    return moved
