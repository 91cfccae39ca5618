"""The namespaces in which the tests of split judges run, apart from programs, and the process that keeps them."""

from __future__ import annotations

import os
import signal

from sandbox.inside import kernel, rootfs
from sandbox.inside.scratch import Tmpfs

_OWN = kernel.NEWPID | kernel.NEWNS | kernel.NEWIPC


class TestsNamespaces:
    """PID, mount and IPC namespaces with a ``/tmp`` and ``/proc`` of their own, for the fork server of tests."""

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
        self._theirs = kernel.above_streams(os.pidfd_open(pid))

    def join(self) -> None:
        """Move this process into the mount and IPC namespaces, and its forks into that of process ids.

        Raises OSError.
        """
        kernel.setns(self._theirs, _OWN)


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
