"""Published weights in memory that the processes of one machine share, and that is written again and again.

Fresh memory costs many times what writing to it does, so a sender keeps two segments and fills them in turn. A
receiver takes what has been filled while the rest is still coming, and whoever comes late reads the same segment.
Receivers that compute on a CPU do so with the segment itself. Segments have no name in any file system: the system
frees them with the last process that holds them, however it ends. Who reads one, or computes with it, holds a
shared lock, which the system takes back likewise, and no sender writes over it: it takes one more where all are
locked. A receiver locks the one that it computes with, and while it loads another, that one too.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from common.weights import futex
from common.weights.layout import Layout

#: A page of int64 words, of which those below are used. Receivers write CHECKED, and to no other page.
HEADER_PAGE = mmap.PAGESIZE
KEY, SERIAL, READY, CHECKED = range(4)
#: Bytes before the first bucket. Buckets begin half-way in a page: a large tensor begins near the start of one, so
#: copies either way are fast (``copies._TOO_NEAR_BYTES``).
_HEADER_BYTES = HEADER_PAGE + HEADER_PAGE // 2
GIVEN_UP = -1
_SEGMENTS = 2
#: Seconds that a sender waits for receivers of an earlier update to let go of its segment.
_FREE_SECONDS = 5.0
#: Between tries to lock a segment.
POLL_SECONDS = 0.001
#: Of the memory that is free, what has to stay so.
_SPARE_SHARE = 0.1


class NoRoomError(RuntimeError):
    """There is no memory for a segment, or all are in use; the message says which."""


class Segment:
    """A segment as its sender holds it."""

    def __init__(self, size: int) -> None:
        """Take memory for ``size`` bytes, at once. Raises :class:`NoRoomError`."""
        room = free_bytes()
        if size > room * (1 - _SPARE_SHARE):
            raise NoRoomError(f"{size >> 20} MiB of shared memory are needed, and {room >> 20} MiB are free")
        self.size = size
        self.serial = 0
        self.key = secrets.randbits(63)
        try:
            self.descriptor = os.memfd_create("couplet-weights")
            os.posix_fallocate(self.descriptor, 0, size)
            memory = mmap.mmap(self.descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        except OSError as error:
            raise NoRoomError(f"{size >> 20} MiB of shared memory cannot be had: {error.strerror}") from error
        self._memory = torch.frombuffer(memory, dtype=torch.uint8)
        self._header = header_of(memory)
        self._header[KEY] = self.key

    def close(self) -> None:
        """Let go of the segment, which readers may still hold."""
        os.close(self.descriptor)

    def claim(self, serial: int) -> bool:
        """Begin an update here, unless somebody still reads the last one."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._header[READY] = self._header[CHECKED] = 0
        self._header[SERIAL] = self.serial = serial
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        return True

    def bucket(self, layout: Layout, number: int) -> Tensor:
        """Return the memory [size] of a bucket."""
        start, end = span(layout, number)
        return self._memory[start:end]

    def ready(self, buckets: int) -> None:
        """Let receivers take the first ``buckets``."""
        self._tell(buckets)

    def give_up(self) -> None:
        """Tell receivers that no further bucket will come."""
        self._tell(GIVEN_UP)

    def _tell(self, ready: int) -> None:
        self._header[READY] = ready
        futex.wake(address_of(self._header, READY))


class Segments:
    """The segments of a sender."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._serial = 0
        self._preparing: threading.Thread | None = None

    def prepare(self, size: int) -> None:
        """Take memory for one update more, of ``size`` bytes, in the background, unless there is enough for two.

        Where there is no room, the :meth:`begin` that needs it says so.
        """
        self._await_memory()
        if len(self._segments) < _SEGMENTS:
            self._preparing = threading.Thread(target=self._take, args=(size,), name="shared-memory", daemon=True)
            self._preparing.start()

    def begin(self, layout: Layout, keep: Collection[int]) -> Segment:
        """Begin an update in the segment that was filled longest ago, but in none that holds a serial of ``keep``.

        Raises :class:`NoRoomError`.
        """
        self._await_memory()
        size = segment_bytes(layout)
        for small in [segment for segment in self._segments if segment.size < size]:
            self._segments.remove(small)
            small.close()
        if len(self._segments) < _SEGMENTS and all(segment.serial for segment in self._segments):
            self._segments.append(Segment(size))
        self._serial += 1
        if (segment := self._claim(keep)) is not None:
            return segment
        with suppress(NoRoomError):  # who computes with a segment has no copy; it may do so for minutes
            self._segments.append(Segment(size))
        end = time.monotonic() + _FREE_SECONDS
        while (segment := self._claim(keep)) is None:
            if time.monotonic() > end:
                raise NoRoomError("every segment of shared memory is still being read or kept")
            time.sleep(POLL_SECONDS)
        return segment

    def _claim(self, keep: Collection[int]) -> Segment | None:
        free = [segment for segment in self._segments if segment.serial not in keep]
        oldest_first = sorted(free, key=lambda segment: segment.serial)
        return next((segment for segment in oldest_first if segment.claim(self._serial)), None)

    def _take(self, size: int) -> None:
        with suppress(NoRoomError):
            self._segments.append(Segment(size))

    def _await_memory(self) -> None:
        if self._preparing is not None:
            self._preparing.join()
            self._preparing = None


def free_bytes() -> int:
    """Return how much memory is free, for the machine and for the control group of this process."""
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no control group, or one without a limit
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, limit - used)
    return free


def segment_bytes(layout: Layout) -> int:
    """Return the size of a segment that takes an update of this layout."""
    return _HEADER_BYTES + layout.starts[-1] + layout.sizes[-1]


def header_of(memory: mmap.mmap) -> Any:
    return np.frombuffer(memory, dtype=np.int64, count=CHECKED + 1)


def span(layout: Layout, number: int) -> tuple[int, int]:
    start = _HEADER_BYTES + layout.starts[number]
    return start, start + layout.sizes[number]


def address_of(header: Any, word: int) -> int:
    return int(header[word:].ctypes.data)
