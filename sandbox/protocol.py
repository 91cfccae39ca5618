"""Bytes between host and runner.

Request: three u32 (header, payload and stdin length), a JSON header for the runner, then payload and stdin
which only the forked child reads. Answer: frames of one type byte, a u32 length and that many bytes. The
child's own results travel inside RESULT frames as ``u32 length, tag, bytes`` and are hostile data.
"""

from __future__ import annotations

import struct

REQUEST = struct.Struct("<III")
FRAME = struct.Struct("<BI")
RESULT_LENGTH = struct.Struct("<I")

HELLO, STDOUT, STDERR, RESULT, END = 1, 2, 3, 4, 5
MAX_CONTROL = 1 << 20  # bytes of a HELLO or END frame, or of a request header
CHUNK = 1 << 16

READY, LOADED, VALUE, FAILED, NO_MEMORY = b"R", b"L", b"V", b"E", b"M"
RESULT_SLACK = 1024  # bytes a result may have beyond Limits.out_bytes
NOTE_BYTES = 400
MEMORY_EXIT = 97  # exit code of a script that died of MemoryError


def split_results(data: bytes) -> list[tuple[bytes, bytes]]:
    """Complete results as (tag, body); a cut-off last one is dropped."""
    results = []
    position = 0
    while position + RESULT_LENGTH.size <= len(data):
        (length,) = RESULT_LENGTH.unpack_from(data, position)
        position += RESULT_LENGTH.size
        if position + length > len(data):
            break
        body = data[position : position + length]
        results.append((body[:1], body[1:]))
        position += length
    return results
