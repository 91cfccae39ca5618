"""Fills the holes in this process's memory, so that what a fork allocates lies side by side, on few pages.

After a start there is a little room in every page, and each object of a fork would take another one, which is then
copied for it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

# What the interpreter's allocator gives out: sizes in steps, up to the largest, from pools with a header.
_STEP, _LARGEST = 16, 512
_POOL, _POOL_HEADER = 16 << 10, 48
_BYTES_HEADER = 33
_IN_A_ROW = 3  # objects at the start of a pool, by which it is known to be a new one
_MOST = 512 << 10  # bytes of one size, should pools be laid out in another way
# What it does not give out comes from the C library: sizes of which a few are kept apart, and larger ones.
_KEPT_APART = range(24, 1040, 16)
_LARGER = (1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 16)

_fillers: list[object] = []


class _MallInfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks")
    ] + [("keepcost", ctypes.c_size_t)]


def fill_holes() -> None:
    """Fill them, for ever."""
    _fill_pools()
    _fill_heap()


def _fill_pools() -> None:
    for size in range(_STEP, _LARGEST + 1, _STEP):
        _fill(_maker(size), size)


def _maker(size: int) -> Callable[[], object]:
    """Return what makes an object that takes as many bytes."""
    match size:
        case 16:
            return object
        case 32:
            return lambda: complex(size, size)
    return lambda: bytes(size - _BYTES_HEADER)


def _fill(make: Callable[[], object], size: int) -> None:
    """Make objects until they are the first in a pool of which nothing was used."""
    in_a_row = last = 0
    for _ in range(_MOST // size):
        made = make()
        _fillers.append(made)
        at = id(made)
        in_a_row = 1 if at % _POOL == _POOL_HEADER else in_a_row + 1 if in_a_row and at == last + size else 0
        last = at
        if in_a_row == _IN_A_ROW:
            return


def _fill_heap() -> None:
    """Take chunks of each size until they come from the end of the heap."""
    libc = ctypes.PyDLL(None)
    try:
        state = libc["mallinfo2"]
    except AttributeError:  # another C library
        return
    state.restype, libc.malloc.restype = _MallInfo, ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = (ctypes.c_size_t,), (ctypes.c_void_p,)
    for size in (*reversed(_LARGER), *_KEPT_APART):
        for _ in range(_MOST // size):
            end = state().keepcost
            chunk = libc.malloc(size)
            if state().keepcost < end:
                libc.free(chunk)
                break
