"""The receiving side of segments of shared memory: read, each bucket checked, and held for as long as needed."""

from __future__ import annotations

import fcntl
import mmap
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from common.weights import futex
from common.weights.buckets import check_bucket
from common.weights.layout import Manifest
from common.weights.messages import BroadcastError, SharedBuckets, WeightsGoneError
from common.weights.segments import (
    GIVEN_UP,
    HEADER_PAGE,
    KEY,
    POLL_SECONDS,
    READY,
    SERIAL,
    address_of,
    header_of,
    segment_bytes,
    span,
)
from common.weights.shared_check import SharedCheck

#: How often a receiver that waits for a bucket sees whether the sender is still there.
_ALIVE_SECONDS = 0.1


class _Mapped(NamedTuple):
    """A segment: all its memory for reading only, and its header, where receivers tell what they have checked."""

    descriptor: int
    memory: Tensor
    header: Any


class OpenUpdate:
    """An update that is being read; the sender does not write over it meanwhile.

    ``keep`` has it not do so afterwards either, until the reader lets go of the update.
    """

    def __init__(
        self,
        mapped: _Mapped,
        where: SharedBuckets,
        manifest: Manifest,
        end: float,
        keep: Callable[[], None],
    ) -> None:
        self.keep = keep
        self._mapped = mapped
        self._where = where
        self._manifest = manifest
        self._end = end

    @property
    def in_place(self) -> bool:
        """Whether the buckets are laid out for receivers that compute with them where they lie."""
        return self._where.in_place

    def buckets(self, check: bool = False) -> Iterator[Tensor]:
        """Yield the buckets as they are filled, each checked; not to be written to.

        One check serves all receivers of a machine, unless this one is to ``check`` for itself. Raises
        :class:`BroadcastError` where no more of them come, and :class:`WeightsError` on damage.
        """
        layout = self._manifest.layout
        with closing(SharedCheck(self._mapped.descriptor, self._mapped.header)) as shared:
            for number in range(len(layout.buckets)):
                self._await(number)
                start, end = span(layout, number)
                bucket = self._mapped.memory[start:end]
                check_it = partial(check_bucket, self._manifest, number, bucket)
                if check:
                    check_it()
                else:
                    shared.once(number, check_it)
                yield bucket

    def _await(self, number: int) -> None:
        what = f"weights of version {self._manifest.version}: bucket {number}"
        header = self._mapped.header
        while (ready := int(header[READY])) <= number:
            if ready == GIVEN_UP or not os.path.exists(self._where.path):
                raise BroadcastError(f"{what} will not come: the learner has given up")
            left = self._end - time.monotonic()
            if left <= 0:
                raise BroadcastError(f"{what} has not come in time")
            futex.wait(address_of(header, READY), ready, min(left, _ALIVE_SECONDS))


class SharedReader:
    """Reads segments. Those of the sender that it has read last stay mapped: to map memory anew costs time.

    The update that was last kept (:attr:`OpenUpdate.keep`) stays locked after it was read.
    """

    def __init__(self) -> None:
        self._process = 0
        self._kept: int | None = None
        self._mapped: dict[int, _Mapped] = {}

    @contextmanager
    def reading(self, where: SharedBuckets, manifest: Manifest, deadline: float) -> Iterator[OpenUpdate]:
        """Hold an update, whose buckets have to come within ``deadline`` seconds.

        Raises :class:`WeightsGoneError` on entry, before anything was read.
        """
        end = time.monotonic() + deadline
        mapped = self._map(where, segment_bytes(manifest.layout))
        descriptor = mapped.descriptor
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            if time.monotonic() > end:
                raise WeightsGoneError("the segment of shared memory stays locked")
            time.sleep(POLL_SECONDS)
        try:
            if int(mapped.header[SERIAL]) != where.serial:
                raise WeightsGoneError(f"weights of version {manifest.version} have been written over")
            yield OpenUpdate(mapped, where, manifest, end, partial(self._keep, descriptor))
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def let_go(self) -> None:
        """Let the sender write over the update that is kept, if there is one."""
        if self._kept is not None:
            os.close(self._kept)
            self._kept = None

    def close(self) -> None:
        """Let go of all segments."""
        self.let_go()
        self._unmap()

    def _keep(self, descriptor: int) -> None:
        """Keep the update that is being read instead of the one that is kept."""
        own = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)  # a lock of its own, beside that of reading
        fcntl.flock(own, fcntl.LOCK_SH)
        self.let_go()
        self._kept = own

    def _unmap(self) -> None:
        for mapped in self._mapped.values():
            os.close(mapped.descriptor)
        self._mapped = {}

    def _map(self, where: SharedBuckets, size: int) -> _Mapped:
        if where.process != self._process:
            self._unmap()
            self._process = where.process
        if where.key not in self._mapped:
            self._mapped[where.key] = _opened(where, size)
        return self._mapped[where.key]


def _opened(where: SharedBuckets, size: int) -> _Mapped:
    gone = WeightsGoneError("the process that published the weights has ended")
    try:
        descriptor = os.open(where.path, os.O_RDWR)
    except OSError as error:
        raise gone from error
    try:
        memory = mmap.mmap(descriptor, 0, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE, prot=mmap.PROT_READ)
        header = header_of(mmap.mmap(descriptor, HEADER_PAGE, flags=mmap.MAP_SHARED))
        if len(memory) < size or int(header[KEY]) != where.key:
            raise gone
    except (OSError, ValueError) as error:
        os.close(descriptor)
        raise gone from error
    except WeightsGoneError:
        os.close(descriptor)
        raise
    with warnings.catch_warnings():
        # The mapping is read-only, and torch has no read-only tensors; nobody writes to these.
        warnings.simplefilter("ignore", UserWarning)
        return _Mapped(descriptor, torch.frombuffer(memory, dtype=torch.uint8), header)
