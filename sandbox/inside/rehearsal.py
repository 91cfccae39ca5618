"""What programs and tests do at first, done in the runner before it forks.

The interpreter counts calls, writes what it learns of a function into its code, and looks up names and methods in
caches, and many functions make something at their first call. A fork that is the first to do so copies a page for
each; what the runner has done already is there.
"""

from __future__ import annotations

import io
import socket
import sys
from contextlib import closing
from typing import Any

from sandbox.inside import served, sources, tester
from sandbox.inside.channel import Channel
from sandbox.inside.remote import Remote

_TIMES = 12  # the interpreter adapts a function to what it does after eight calls
_MAX_BYTES = 1 << 16
_INPUT = b"1\n2\n"
_PROGRAM = "print(int(input()) + int(input()))"
_SOURCE = "class Kept:\n    pass\n\ndef add(a, b):\n    return a + b\n"
_SCRIPT = "assert add(1, 2) == 3"


class _SameProcess:
    """Stands for the channel to a solution, which answers at once."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self._server = served.Server(self, namespace, _MAX_BYTES)
        self._answer = b""

    def send(self, message: bytes) -> None:
        self._answer = self._server.answer(message[1:])

    def receive(self) -> bytes:
        return self._answer


def rehearse() -> None:
    """Run a script and judge a solution of our own, some times over, and leave nothing of it. Raises OSError."""
    _run_scripts()
    _judge_solutions()


def _run_scripts() -> None:
    streams = sys.stdin, sys.stdout
    with io.TextIOWrapper(io.BytesIO(_INPUT * _TIMES)) as given, io.TextIOWrapper(io.BytesIO()) as printed:
        sys.stdin, sys.stdout = given, printed
        try:
            for _ in range(_TIMES):
                sources.rehearse(_PROGRAM)
        finally:
            sys.stdin, sys.stdout = streams


def _judge_solutions() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        ends = Channel(ours.fileno(), _MAX_BYTES), Channel(theirs.fileno(), _MAX_BYTES)
        for _ in range(_TIMES):
            ends[0].send(_SOURCE.encode())
            solution = {"__name__": "solution"}
            exec(sources.compiled(ends[1].receive().decode()), solution)
            tests = tester.Tests("", ["add"], [_SCRIPT], [None], arrays=False, draws=False)
            tester.rehearse(tests, Remote(_SameProcess(solution), _MAX_BYTES), _MAX_BYTES)
