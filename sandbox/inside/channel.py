"""Messages between the process of the tests and the process of the solution.

Length-prefixed JSON over a socket. Both ends bound what they read: the solution's end may say anything.
"""

from __future__ import annotations

import os
import struct
from typing import Protocol

_LENGTH = struct.Struct("<I")
_CHUNK = 1 << 16


class ClosedError(Exception):
    """The other end is gone, or no longer speaks the protocol."""


def framed(message: bytes) -> bytes:
    """Return the bytes of a message."""
    return _LENGTH.pack(len(message)) + message


class Messages(Protocol):
    """One end of a channel. Both methods raise ClosedError."""

    def send(self, message: bytes) -> None: ...

    def receive(self) -> bytes: ...


class Channel:
    """``max_bytes``: the longest message that is accepted."""

    def __init__(self, fd: int, max_bytes: int) -> None:
        self._fd = fd
        self._max = max_bytes

    def send(self, message: bytes) -> None:
        """Send one message. Raises ClosedError."""
        data = memoryview(framed(message))
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError as error:
            raise ClosedError(str(error)) from error

    def receive(self) -> bytes:
        """Receive one message. Raises ClosedError."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > self._max:
            raise ClosedError("message too long")
        return self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            try:
                part = os.read(self._fd, min(size, _CHUNK))
            except OSError as error:
                raise ClosedError(str(error)) from error
            if not part:
                raise ClosedError("closed")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
