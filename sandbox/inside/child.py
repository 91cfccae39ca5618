"""How a fork of a fork server becomes a program: it takes its part of the request, locks itself down, says READY.

What it does then is a job (see :mod:`sandbox.inside.sources`). Everything after READY is hostile.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from marshal import loads
from os import dup2, lseek, memfd_create, read, write
from typing import Any, NamedTuple

from sandbox.inside import lockdown, protocol, sources, tester
from sandbox.inside.channel import Channel, ClosedError
from sandbox.inside.files import Files
from sandbox.inside.reports import ready
from sandbox.inside.sources import NO_FILES, judge, run_calls, run_script, serve_tests

_CHUNK = 1 << 20

#: What is left to do in a process, which ends there or, in a fork of it, returns what is to be done instead.
Job = Callable[[], Any]


class Asked(NamedTuple):
    """What a fork server knows of a program, which it never reads: ``payload`` and ``given`` are lengths.

    They are those of its source and of its input, which wait on the requests' stream.
    """

    language: str
    mode: str
    payload: int
    given: int
    folder: str
    memory_mb: int
    out_bytes: int


@dataclass(frozen=True)
class ForkRequest:
    """One request as the runner knows it before it forks; it never reads the program."""

    isolation: lockdown.Isolation
    limits: lockdown.ChildLimits
    header: dict[str, Any]

    @property
    def mode(self) -> str:
        return str(self.header["mode"])

    @property
    def language(self) -> str:
        return str(self.header["language"])

    @property
    def out_bytes(self) -> int:
        return int(self.header["limits"]["out_bytes"])


def become_program(asked: Asked, enter: Callable[[], None], outputs: list[int]) -> Job:
    """Turn this fork of a server into a program: set it up, report READY, return its job.

    ``enter``: isolates it. ``outputs``: its stdout, stderr and what it reports on. In a split judge that is the
    channel to the tests; the program leaves them unread, and loses the stream that they are on.
    """
    language, mode, payload_size, given_size, folder, memory_mb, out_bytes = asked
    files, given = NO_FILES, b""
    job: Job
    try:
        payload = loads(read_exactly(payload_size))
        source = payload["source"]
        if mode != "split":
            given = read_exactly(given_size)
        if "files" in payload:
            files = Files(payload["files"], payload["collected"], folder)
        if language == "javascript":
            job = partial(sources.run_node, source, files, memory_mb, out_bytes)
        elif mode == "stdin":
            job = partial(run_script, source, files, out_bytes)
        elif mode == "split":
            job = partial(serve_tests, source, out_bytes)
        elif mode == "forge":
            job = partial(sources.run_inside, source, tester.Tests(**loads(given)), out_bytes)
        else:
            job = partial(run_calls, source, payload["calls"], files, out_bytes)
        put_in_place(memory_file(given if mode == "stdin" else b""), outputs)
        enter()
    except (OSError, ValueError, EOFError) as error:
        os.write(2, f"setup: {error}".encode())
        os._exit(1)
    if mode == "split":
        Channel(sources.CHANNEL_FD, 0).send(protocol.READY)
    else:
        ready()
    return job


def become_tests(asked: Asked, enter: Callable[[], None], outputs: list[int]) -> Job:
    """Turn this fork of a server into the tests of a split judge and return its job.

    ``outputs``: as of a program, and the channel to the solution.
    """
    try:
        # The tests come after the source on the stream: they may be read once the solution has what is its own.
        if Channel(outputs[-1], len(protocol.READY)).receive() != protocol.READY:
            raise OSError("the solution's process was not set up")
        tests = tester.Tests(**loads(read_exactly(asked.given)))
        put_in_place(memory_file(b""), outputs)
        enter()
    except (OSError, ValueError, EOFError, ClosedError) as error:
        os.write(2, f"setup: {error}".encode())
        os._exit(1)
    ready()
    return partial(judge, tests, asked.out_bytes)


def run(job: Job | None) -> None:
    """Run the job, and the one that it returns in a fork, and so on; then end the process; never returns.

    The standard streams are the runner's own objects: unused so far, and on the program's descriptors by now.
    """
    sys.argv[:] = [sources.SOURCE]
    linecache.clearcache()
    while job is not None:
        job = job()
    os._exit(0)


def read_exactly(size: int) -> bytes:
    """Read so many bytes from the requests' stream. Raises OSError where it ends."""
    data = read(0, min(size, _CHUNK)) if size else b""
    while len(data) < size:
        part = read(0, min(size - len(data), _CHUNK))
        if not part:
            raise OSError("request cut off")
        data += part
    return data


def memory_file(content: bytes) -> int:
    """Make a file in memory, to be read from its beginning."""
    file = memfd_create("stdin", 0)
    if content:
        written = write(file, content)
        while written < len(content):
            written += write(file, memoryview(content)[written:])
        lseek(file, 0, 0)
    return file


def put_in_place(first: int, others: Sequence[int]) -> None:
    """Put descriptors, none of which has one of the lowest numbers, on 0, 1, 2 and so on."""
    dup2(first, 0)
    target = 1
    for descriptor in others:
        dup2(descriptor, target)
        target += 1
