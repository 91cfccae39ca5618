"""What a fork server does between two forks, by calls of the C library whose memory is bound in advance.

A page that a server or a fork writes to is copied, and what Python makes of a message, of descriptors or of what a
process used lies on twenty pages and more. These calls keep the interpreter's lock, which nobody else wants.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

from sandbox.inside.fork_server import ENDED

_MESSAGE_BYTES = 1 << 12
_VECTOR = struct.Struct("PQ")
_HEADER = struct.Struct("PIPQPQi0P")  # struct msghdr: the name's, the vector's and the control data's; flags
_CONTROL_WORD = 5  # of the header: how much control data there may be, or was

_libc = ctypes.PyDLL(None)
_recvmsg, _wait4, _waitpid = _libc["recvmsg"], _libc["wait4"], _libc["waitpid"]
_statx, _here, _no_flags, _mtime = _libc["statx"], ctypes.c_int(-100), ctypes.c_int(0), ctypes.c_uint(0x40)
_STATX_BYTES, _STATX_MTIME_AT = 256, 112
_MARK = struct.pack("qI", 0, 0)  # seconds and nanoseconds
_any, _nowhere, _no_wait = ctypes.c_int(-1), ctypes.c_void_p(0), ctypes.c_int(os.WNOHANG)

#: Fork, without what Python does about threads and locks in a fork: this process has one thread, which goes on.
#: Returns a negative number where there can be no more processes.
fork = _libc["fork"]


class Inbox:
    """Receives messages that come with descriptors on a socket that keeps messages apart.

    ``message`` holds the last one. Once nobody is left to send one, the process ends.
    """

    def __init__(self, channel: int, descriptors: int) -> None:
        self.message = ctypes.create_string_buffer(_MESSAGE_BYTES)
        self._space = socket.CMSG_SPACE(struct.calcsize(f"{descriptors}i"))
        self._control = ctypes.create_string_buffer(self._space)
        self._vector = ctypes.create_string_buffer(_VECTOR.pack(ctypes.addressof(self.message), _MESSAGE_BYTES))
        header = _HEADER.pack(
            0, 0, ctypes.addressof(self._vector), 1, ctypes.addressof(self._control), self._space, 0
        )
        self._header = ctypes.create_string_buffer(header, len(header))
        self._words = memoryview(self._header).cast("B").cast("Q")
        self._channel, self._at = ctypes.c_int(channel), ctypes.c_void_p(ctypes.addressof(self._header))
        self._descriptors = struct.Struct(f"{descriptors}i").unpack_from
        self._first = socket.CMSG_LEN(0)

    def receive(self, flags: int = 0) -> tuple[int, ...]:
        """Receive a message and return its descriptors; none where the flags forbid to wait for it."""
        self._words[_CONTROL_WORD] = self._space
        size = _recvmsg(self._channel, self._at, flags)
        if size <= 0:
            if size < 0 and flags:
                return ()
            os._exit(0)
        if self._words[_CONTROL_WORD] != self._space:
            os._exit(1)  # without them it cannot go on
        return self._descriptors(self._control, self._first)


class Report:
    """Waits for a fork and says how it ended, and what comes next."""

    def __init__(self, channel: int) -> None:
        self._data = ctypes.create_string_buffer(ENDED.size)
        self._words = memoryview(self._data).cast("B").cast("I")
        start = ctypes.addressof(self._data)
        self._status, self._usage = ctypes.c_void_p(start), ctypes.c_void_p(start + struct.calcsize("q"))
        self._channel = channel

    def wait(self, pid: int) -> None:
        """Wait for the fork of that id."""
        _wait4(pid, self._status, 0, self._usage)

    def was_good_within(self, microseconds: int) -> bool:
        """Return whether that fork ended with 0 and took no longer than so much CPU time."""
        status, user_s, user_us, kernel_s, kernel_us, _, _ = ENDED.unpack(self._data)
        took: int = (user_s + kernel_s) * 1_000_000 + user_us + kernel_us
        return bool(status == 0 and took < microseconds)

    def send(self, next_pid: int) -> None:
        """Send what the last wait found. Raises OSError."""
        self._words[-1] = next_pid
        os.write(self._channel, self._data)


class Folder:
    """Tells, as :func:`sandbox.inside.scratch.is_untouched` does, whether a folder still bears its mark."""

    def __init__(self, path: str) -> None:
        self._path = ctypes.c_char_p(path.encode())
        self._found = ctypes.create_string_buffer(_STATX_BYTES)
        self._at = ctypes.c_void_p(ctypes.addressof(self._found))
        self._times = memoryview(self._found).cast("B")[_STATX_MTIME_AT : _STATX_MTIME_AT + len(_MARK)]

    def is_untouched(self) -> bool:
        """Return whether nothing was made or removed in it since it was marked. Raises OSError."""
        if _statx(_here, self._path, _no_flags, _mtime, self._at) < 0:
            raise OSError("statx of the folder of programs")
        return self._times == _MARK


def is_nobody_left() -> bool:
    """Return whether this process has no child any more, which adopts the orphans of its children."""
    ended: int = _waitpid(_any, _nowhere, _no_wait)
    while ended > 0:
        ended = _waitpid(_any, _nowhere, _no_wait)
    return ended < 0
