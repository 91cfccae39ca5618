"""Bytes between host and runner.

Request: three u32 (header, payload and input length), a marshal header for the runner, then payload and input
which only forked children read: the input is what a script finds on stdin, once or several times over, of the
lengths in the header, or, of a split judge, the tests, which the process of the solution leaves to the process of
the tests. Answer: frames of one type byte, a u32 length and that many bytes; for several inputs as many answers,
until one says that it is the last. The child's own results travel inside RESULT frames as ``u32 length, tag,
bytes`` and are hostile data.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from typing import Self

REQUEST = struct.Struct("<III")
FRAME = struct.Struct("<BI")
RESULT_LENGTH = struct.Struct("<I")

HELLO, STDOUT, STDERR, RESULT, END = 1, 2, 3, 4, 5
MAX_CONTROL = 1 << 20  # bytes of a HELLO or END frame, or of a request header
CHUNK = 1 << 16

BUDGET_TIME, BUDGET_BYTES = "budget-time", "budget-bytes"
_REASONS = ("exit", "cpu", "wall", "output", "setup", "left", BUDGET_TIME, BUDGET_BYTES)
SETUP_S = 10.0  # for a child to be isolated, before anything hostile runs
_END = struct.Struct("<BiddQ?I")
_MARK = struct.Struct("<dd")


@dataclass
class End:
    """How one request ended, as reported by the runner.

    ``why``: a limit that was broken; ``BUDGET_TIME`` or ``BUDGET_BYTES`` for what all tests of the program may
    take together; ``setup`` when a child could not be isolated, ``left`` when what it left could not be swept;
    else ``exit``. ``status``: exit code, negative for a signal. ``cpu``, ``wall``: seconds. ``marks``: (cpu, wall)
    of each result since the one before. ``last``: whether the rest of the request's inputs is left to another one.
    """

    why: str
    status: int
    cpu: float
    wall: float
    peak_kb: int
    marks: list[tuple[float, float]]
    last: bool = True

    def encode(self) -> bytes:
        """Encode as the body of an END frame."""
        facts = self.status, self.cpu, self.wall, self.peak_kb, self.last, len(self.marks)
        return _END.pack(_REASONS.index(self.why), *facts) + b"".join(_MARK.pack(*mark) for mark in self.marks)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Decode the body of an END frame. Raises ValueError."""
        if len(body) < _END.size:
            raise ValueError("cut off")
        reason, status, cpu, wall, peak_kb, last, count = _END.unpack_from(body)
        if reason >= len(_REASONS) or len(body) != _END.size + count * _MARK.size:
            raise ValueError("unknown reason or length")
        marks = [(m_cpu, m_wall) for m_cpu, m_wall in _MARK.iter_unpack(body[_END.size :])]
        return cls(_REASONS[reason], status, cpu, wall, peak_kb, marks, last)


GO_ON, STOP = b"+", b"."  # from the host after an answer to a stepwise request that is not the last

CHILD_ID = 1000  # uid and gid of a program, as seen inside

READY, LOADED, VALUE, FAILED, NO_MEMORY = b"R", b"L", b"V", b"E", b"M"
DENIED = b"A"  # a test's assertion does not hold
# In a split judge: the tests ask, the solution answers, or has a function of theirs called, which returns.
ASK, ANSWER, CALL_BACK, RETURNED = b"Q", b"A", b"C", b"R"
FILES = b"F"  # after everything else: the contents of the files that were asked for
CLOCKS = "<ddI"  # of READY: CPU seconds of the child, the monotonic clock and the process id
RESULT_SLACK = 1024  # bytes a result may have beyond Limits.out_bytes
NOTE_BYTES = 400
MEMORY_EXIT = 97  # exit code of a script that died of MemoryError
COUNT = "__couplet_check__"  # in the namespace of the tests: the function that counts the checks reached
FALSE = "__couplet_false__"  # there too: the function that an assertion calls which does not hold
NOTE = "__couplet_note__"  # there too: the decorator of methods whose exceptions the language may swallow
GONE_EXIT = 96  # exit code of the tests' process when the solution's process ended under it


def split_results(data: bytes | bytearray) -> list[tuple[bytes, bytes]]:
    """Split a result stream into (tag, body) pairs and drop a cut-off last one."""
    results = []
    position = 0
    while position + RESULT_LENGTH.size <= len(data):
        (length,) = RESULT_LENGTH.unpack_from(data, position)
        position += RESULT_LENGTH.size
        if position + length > len(data):
            break
        results.append((bytes(data[position : position + 1]), bytes(data[position + 1 : position + length])))
        position += length
    return results


def refuse(reason: str) -> None:
    """Tell the host why this slot cannot start, and exit."""
    body = json.dumps({"error": reason}).encode()
    os.write(1, FRAME.pack(HELLO, len(body)) + body)
    os._exit(1)
