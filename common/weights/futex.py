"""Wait for a change of a word of memory that processes share, asleep, by Linux's futexes.

They need nothing but the memory, which the waiting side may have mapped for reading only.
"""

from __future__ import annotations

import ctypes
import platform
import time

_NUMBER = {"x86_64": 202, "aarch64": 98}.get(platform.machine())
_WAIT, _WAKE = 0, 1
_EVERYBODY = 2**31 - 1
#: How long to sleep between looks where the number of the system call is not known.
_POLL_SECONDS = 0.0005
_libc = ctypes.CDLL(None)


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def wait(address: int, seen: int, seconds: float) -> None:
    """Sleep while the 32 bits at ``address`` are ``seen``, at most ``seconds``; may return early for no reason."""
    if _NUMBER is None:
        time.sleep(min(seconds, _POLL_SECONDS))
        return
    whole = int(seconds)
    limit = _Time(whole, int((seconds - whole) * 1e9))
    _libc.syscall(
        _NUMBER, ctypes.c_void_p(address), _WAIT, ctypes.c_uint32(seen & 0xFFFFFFFF), ctypes.byref(limit), None, 0
    )


def wake(address: int) -> None:
    """Wake everybody who waits for a change at ``address``."""
    if _NUMBER is not None:
        _libc.syscall(_NUMBER, ctypes.c_void_p(address), _WAKE, _EVERYBODY, None, None, 0)
