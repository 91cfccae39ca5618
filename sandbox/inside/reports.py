"""Reports of a child on its result pipe: claims about values, never verdicts, because the host compares."""

from __future__ import annotations

import os
import struct
import time

from sandbox.inside import protocol

RESULT_FD = 3
TESTS_CHANNEL_FD = 4
_READY = struct.Struct("<Ic" + protocol.CLOCKS.lstrip("<"))  # a whole result, in one write
_LENGTH, _TAG = _READY.size - protocol.RESULT_LENGTH.size, protocol.READY
# Bound here because forks that use few objects copy little memory.
_pack, _process_time, _monotonic, _getpid, _write = (
    _READY.pack,
    time.process_time,
    time.monotonic,
    os.getpid,
    os.write,
)


def ready() -> None:
    """Report that this process is isolated, with its clocks, because the runner may read the report late."""
    _write(RESULT_FD, _pack(_LENGTH, _TAG, _process_time(), _monotonic(), _getpid()))


def failure(error: BaseException, tag: bytes = protocol.FAILED) -> bytes:
    """Encode why there is no value, as the body of a result."""
    if isinstance(error, MemoryError):
        return protocol.NO_MEMORY
    return tag + describe(error).encode("utf-8", "replace")[: protocol.NOTE_BYTES]


def describe(error: BaseException) -> str:
    """Format an exception as ``Type: message``, cut to ``NOTE_BYTES`` characters."""
    try:
        text = str(error)
        return (f"{type(error).__name__}: {text}" if text else type(error).__name__)[: protocol.NOTE_BYTES]
    except BaseException:  # noqa: BLE001 - str() of a hostile exception
        return "error"


def report(body: bytes) -> None:
    """Write one result to the result pipe."""
    data = memoryview(protocol.RESULT_LENGTH.pack(len(body)) + body)
    while data:
        data = data[os.write(RESULT_FD, data) :]
