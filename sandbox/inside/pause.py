"""The namespaces in which the tests of split judges run, apart from programs, and the process that keeps them."""

from __future__ import annotations

import os
import signal

from sandbox.inside import kernel, rootfs
from sandbox.inside.scratch import Tmpfs

_OWN = kernel.NEWPID | kernel.NEWNS | kernel.NEWIPC
_JOINED = kernel.NEWNS | kernel.NEWIPC  # by a process itself; the one of process ids is joined by forking into it


class TestsNamespaces:
    """PID, mount and IPC namespaces with a ``/tmp`` and ``/proc`` of their own, for one process at a time."""

    def __init__(self, first_tmp: Tmpfs, proc: bool) -> None:
        """Start the process that keeps them, which ends with this one's namespaces. Raises OSError."""
        ready, done = os.pipe()
        pid = kernel.fork_unwaited(_OWN)
        if pid == 0:
            _pause(first_tmp, proc, done)
        os.close(done)
        failure = os.read(ready, 1000)
        os.close(ready)
        if failure:
            raise OSError(f"the tests' namespaces: {failure.decode(errors='replace')}")
        self._own = kernel.above_streams(os.pidfd_open(os.getpid()))
        self._theirs = kernel.above_streams(os.pidfd_open(pid))

    def fork(self) -> int:
        """Fork into the namespace of process ids, as :func:`os.fork`. The child must :meth:`join` the others."""
        kernel.setns(self._theirs, kernel.NEWPID)
        pid = os.fork()
        if pid:
            kernel.setns(self._own, kernel.NEWPID)
        return pid

    def join(self) -> None:
        """Move this process into the mount and IPC namespaces. Raises OSError."""
        kernel.setns(self._theirs, _JOINED)


def _pause(tmp: Tmpfs, proc: bool, done: int) -> None:
    """Mount, close what is open, and wait to be killed."""
    try:
        tmp.begin()
        if proc:
            rootfs.mount_proc()
    except OSError as error:
        os.write(done, str(error).encode())
        os._exit(1)
    os.closerange(0, 1 << 20)
    while True:
        signal.pause()
