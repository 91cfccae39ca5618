"""How a fork of the runner becomes a program: it takes its part of the request, locks itself down, says READY.

What it does then is a job (see :mod:`sandbox.inside.sources`). Everything after READY is hostile.
"""

from __future__ import annotations

import linecache
import marshal
import os
import socket
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sandbox.inside import fork_server, kernel, lockdown, protocol, reports, sources, tester
from sandbox.inside.channel import Channel, ClosedError
from sandbox.inside.files import Files
from sandbox.inside.lockdown import Role

_QUICK_S = 0.25
_OUTPUTS = 3  # pipes of a fork: stdout, stderr and results

Job = Callable[[], None]
Prepared = tuple[list[int], Job]  # descriptors for 0, 1, 2 and so on; what to do once isolated


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


def become_program(request: ForkRequest, sizes: tuple[int, int], pipes: list[int]) -> Job:
    """Turn this fork into a program that reports for itself: set it up, report READY and return its job.

    ``sizes``: bytes of payload and input that wait on the request stream.
    """

    def prepare() -> Prepared:
        payload = marshal.loads(_read_exactly(sizes[0]))
        given = _read_exactly(sizes[1])
        source = payload["source"]
        files = Files(payload.get("files", {}), payload.get("collected", []), request.isolation.folder)
        job: Job
        if request.language == "javascript":
            if request.isolation.node is None:
                raise OSError("nothing here runs javascript")
            job = partial(sources.run_node, source, files, int(request.header["limits"]["memory_mb"]))
            return [_memory_file(given), *pipes, request.isolation.node], job
        if request.mode == "stdin":
            return [_memory_file(given), *pipes], partial(sources.run_script, source, files, request.out_bytes)
        if request.mode == "forge":
            job = partial(sources.run_inside, source, tester.Tests(**marshal.loads(given)), request.out_bytes)
        else:
            job = partial(sources.run_calls, source, payload["calls"], files, request.out_bytes)
        return [_memory_file(b""), *pipes], job

    job = _isolated(request, prepare, Role.PROGRAM, request.language)
    reports.ready()
    return job


def become_fork_server(request: ForkRequest, size: int, channel: int, each: lockdown.ChildLimits) -> Job:
    """Turn this fork into the fork server of one program; return, in each of its forks, the job.

    It is isolated, but for the calls that it needs to fork, before it looks at the program. ``each``: the limits
    of a fork.
    """
    try:
        payload = _read_exactly(size)
        inputs = [_read_exactly(length) for length in request.header["inputs"]]
        asked = socket.socket(fileno=kernel.above_streams(channel))
        nothing = os.open(os.devnull, os.O_RDWR)
        _place([nothing] * 3)
        lockdown.enter(request.isolation, request.limits, Role.PROGRAM)
        request.isolation.server_filter.install()
        source = marshal.loads(payload)["source"]
    except (OSError, ValueError, EOFError):
        os._exit(1)
    code: types.CodeType | None = None
    before = b""  # how the fork before ended, which is said when the next one runs, so that that need not wait
    for given in inputs:
        pipes = _asked_for(asked, 0 if not before else socket.MSG_DONTWAIT)
        if not pipes and before:
            asked.send(before + fork_server.NEXT.pack(0))
            before, pipes = b"", _asked_for(asked, 0)
        pid = request.isolation.core.fork()
        if pid == 0:
            inputs.clear()
            asked.close()
            job = partial(sources.run_script, source, sources.NO_FILES, request.out_bytes, code)
            return _served(request, each, [_memory_file(given), *pipes], job)
        if before:
            asked.send(before + fork_server.NEXT.pack(pid))
        for pipe in pipes:
            os.close(pipe)
        _, status, usage = os.wait4(pid, 0)
        before = fork_server.ENDED.pack(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
        # The fork has shown that compiling it is quick, so that the next ones need not do it again.
        if code is None and status == 0 and usage.ru_utime + usage.ru_stime < _QUICK_S:
            code = sources.compiled_early(source)
        if lockdown.is_folder_used(request.isolation, request.limits):
            break
    asked.send(before + fork_server.NEXT.pack(0))
    while True:  # the runner would not hear this last message from a process that ends with others unread
        _asked_for(asked, 0)


def _asked_for(channel: socket.socket, flags: int) -> list[int]:
    """Receive the pipes of the next fork; none where the flags forbid to wait. Exit when the channel ends."""
    try:
        message, pipes, _, _ = socket.recv_fds(channel, len(fork_server.FORK), _OUTPUTS, flags)
    except BlockingIOError:
        return []
    if not message:
        os._exit(0)
    return pipes


def _served(request: ForkRequest, limits: lockdown.ChildLimits, descriptors: list[int], job: Job) -> Job:
    """Isolate this fork of a fork server; report READY and return its job."""
    _place(descriptors)
    try:
        lockdown.enter_fork(request.isolation, limits)
        lockdown.close(request.isolation, kept=len(descriptors))
    except OSError as error:
        os.write(2, f"setup: {error}".encode())
        os._exit(1)
    reports.ready()
    return job


def become_solution(request: ForkRequest, size: int, outputs: list[int], channel: int) -> Job:
    """Turn this fork into the solution of a split judge and return its job.

    It leaves the tests unread, and loses the stream that they are on.
    """

    def prepare() -> Prepared:
        source = marshal.loads(_read_exactly(size))["source"]
        return [_memory_file(b""), *outputs, channel], partial(sources.serve_tests, source, request.out_bytes)

    job = _isolated(request, prepare, Role.PROGRAM)
    Channel(sources.CHANNEL_FD, 0).send(protocol.READY)
    return job


def become_tests(request: ForkRequest, size: int, pipes: list[int], channel: int) -> Job:
    """Turn this fork into the tests of a split judge and return its job."""

    def prepare() -> Prepared:
        # The tests come after the source on the stream: they may be read once the solution has what is its own.
        if Channel(channel, len(protocol.READY)).receive() != protocol.READY:
            raise OSError("the solution's process was not set up")
        tests = tester.Tests(**marshal.loads(_read_exactly(size)))
        return [_memory_file(b""), *pipes, channel], partial(sources.judge, tests, request.out_bytes)

    job = _isolated(request, prepare, Role.TESTS)
    reports.ready()
    return job


def run(job: Job) -> None:
    """Run the job and end the process; never returns.

    The standard streams are the server's own objects: unused so far, and on the child's descriptors by now.
    """
    sys.argv[:] = [sources.SOURCE]
    linecache.clearcache()
    job()
    os._exit(0)


def _isolated(request: ForkRequest, prepare: Callable[[], Prepared], role: Role, language: str = "python") -> Job:
    """Prepare the job and isolate this process; on failure write the reason to stderr and exit before READY."""
    try:
        descriptors, job = prepare()
        _place(descriptors)
        lockdown.enter(request.isolation, request.limits, role, language)
        lockdown.close(request.isolation, len(descriptors), language)
        return job
    except (OSError, ValueError, EOFError, ClosedError) as error:
        os.write(2, f"setup: {error}".encode())
        os._exit(1)


def _read_exactly(size: int) -> bytes:
    parts = []
    while size:
        part = os.read(0, min(size, 1 << 20))
        if not part:
            raise OSError("request cut off")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _memory_file(content: bytes) -> int:
    file = os.memfd_create("stdin", 0)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _place(descriptors: list[int]) -> None:
    """Move the descriptors onto 0, 1, 2 and so on."""
    # Move out of the way first: one of them may itself have one of the low numbers.
    high = [os.dup(fd) for fd in descriptors]
    for target, fd in enumerate(high):
        os.dup2(fd, target, inheritable=True)
