"""How a fork of a fork server becomes a program: it takes its part of the request, locks itself down, says READY.

What it does then is a job (see :mod:`sandbox.inside.sources`). Everything after READY is hostile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from marshal import loads
from os import dup2, lseek, memfd_create, read, write
from typing import Any, NamedTuple

from sandbox.inside import lockdown, protocol, sources, tester
from sandbox.inside.channel import framed
from sandbox.inside.files import Files
from sandbox.inside.reports import ready
from sandbox.inside.sources import NO_FILES, run_calls, run_script

_CHUNK = 1 << 20
_SOLUTION_READY = framed(protocol.READY)

#: What is left to do in a process, which ends there or, in a fork of it, returns what is to be done instead.
Job = Callable[[], Any]


class ForServer(NamedTuple):
    """What the forks of a server share; ``memory_mb`` and ``out_bytes`` are among the limits.

    ``solution``: what runs the source of one beside tests.
    """

    language: str
    folder: str
    limits: dict[str, Any]
    solution: Callable[[str], None]


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


def become_program(
    shared: ForServer, mode: str, payload: int, given: int, enter: Callable[[], None], outputs: Sequence[int]
) -> Job:
    """Turn this fork of a server into a program: set it up, report READY, return its job.

    ``payload`` and ``given``: the lengths of its source and of its input, which wait on the requests' stream, as
    the server never reads them. ``enter``: isolates it. ``outputs``: its stdout, stderr and what it reports on. In
    a split judge that is the channel to the tests; the program leaves them unread, and loses the stream that they
    are on.
    """
    language, folder, limits, solution = shared
    out_bytes = limits["out_bytes"]
    files, data = NO_FILES, b""
    job: Job
    try:
        program = loads(read_exactly(payload))
        source = program["source"]
        if mode != "split":
            data = read_exactly(given)
        if "files" in program:
            files = Files(program["files"], program["collected"], folder)
        if language == "javascript":
            job = partial(sources.run_node, source, files, limits["memory_mb"], out_bytes)
        elif mode == "stdin":
            job = partial(run_script, source, files, out_bytes)
        elif mode == "split":
            job = partial(solution, source)
        elif mode == "forge":
            job = partial(sources.run_inside, source, tester.Tests(**loads(data)), out_bytes)
        else:
            job = partial(run_calls, source, program["calls"], files, out_bytes)
        put_in_place(memory_file(data if mode == "stdin" else b""), outputs)
        enter()
    except (OSError, ValueError, EOFError) as error:
        os.write(2, f"setup: {error}".encode())
        os._exit(1)
    if mode == "split":
        write(sources.CHANNEL_FD, _SOLUTION_READY)
    else:
        ready()
    return job


def become_tests(
    judge: Callable[[tester.Tests], None],
    _mode: str,
    _payload: int,
    given: int,
    enter: Callable[[], None],
    outputs: Sequence[int],
) -> Job:
    """Turn this fork of a server into the tests of a split judge and return its job, which is to ``judge`` them.

    ``given``: the length of the tests. ``outputs``: as of a program, and the channel to the solution.
    """
    try:
        # The tests come after the source on the stream: they may be read once the solution has what is its own.
        if read(outputs[-1], len(_SOLUTION_READY)) != _SOLUTION_READY:
            raise OSError("the solution's process was not set up")
        tests = tester.Tests(**loads(read_exactly(given)))
        put_in_place(memory_file(b""), outputs)
        enter()
    except (OSError, ValueError, EOFError) as error:
        os.write(2, f"setup: {error}".encode())
        os._exit(1)
    ready()
    return partial(judge, tests)


def run(job: Job | None) -> None:
    """Run the job, and the one that it returns in a fork, and so on; then end the process; never returns.

    The standard streams are the runner's own objects: unused so far, and on the program's descriptors by now.
    """
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
