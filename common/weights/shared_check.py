"""Check each bucket of a segment once for all receivers of a machine, who read the same memory."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from typing import Any

from common.weights import futex
from common.weights.segments import CHECKED, address_of

#: How long a receiver waits for another to check a bucket, which takes a millisecond, before it does so itself.
_PATIENCE_SECONDS = 0.05


class SharedCheck:
    """One receiver's part in checking an update.

    The first receiver that gets a lock checks every bucket and counts them in the header, where the others see it.
    When its process ends, the system takes the lock back, and another goes on. One that stands still keeps nobody:
    who has waited for it too long checks the bucket for itself.
    """

    def __init__(self, descriptor: int, header: Any) -> None:
        """Take a segment's descriptor and header, both open for writing."""
        self._descriptor = descriptor
        self._header = header
        self._leads = False

    def once(self, number: int, check: Callable[[], None]) -> None:
        """Return when a bucket that was filled has been checked; ``check`` does so, and raises what it finds.

        Buckets have to come in order: who counts one has seen all before it checked.
        """
        if self._checked_by_another(number):
            return
        check()
        if self._leads:
            self._header[CHECKED] = number + 1
            futex.wake(address_of(self._header, CHECKED))

    def close(self) -> None:
        """Leave the check to others."""
        if self._leads:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
            self._leads = False

    def _checked_by_another(self, number: int) -> bool:
        while (checked := int(self._header[CHECKED])) <= number:
            self._leads = self._leads or _locked(self._descriptor)
            if self._leads:
                return False
            futex.wait(address_of(self._header, CHECKED), checked, _PATIENCE_SECONDS)
            if int(self._header[CHECKED]) == checked:
                return False
        return True


def _locked(descriptor: int) -> bool:
    """Try to take the lock of who checks, which is none of those that readers hold: they are of another kind."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
