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

from sandbox.inside import fork_server, kernel, lockdown, protocol, reports, sources, sweep, tester
from sandbox.inside.channel import Channel, ClosedError
from sandbox.inside.files import Files
from sandbox.inside.lockdown import Role

_QUICK_S = 0.25
_OUTPUTS = 3  # descriptors of a fork: stdout, stderr and what it reports on
_MESSAGE_BYTES = 1 << 16

Job = Callable[[], None]
LimitsOf = Callable[[int], lockdown.ChildLimits]
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

    job = _isolated(request, prepare, Role.PROGRAM)
    reports.ready()
    return job


def become_kept_server(request: ForkRequest, channel: int, limits_of: LimitsOf) -> Job:
    """Turn this fork into the fork server of many programs; return, in each of its forks, the job.

    It has the requests' stream, from which the forks read what is theirs, and never reads of it itself.
    ``limits_of``: the limits of a program, by how many results it has.
    """
    try:
        asked = socket.socket(fileno=kernel.above_streams(channel))
        nothing = os.open(os.devnull, os.O_RDWR)
        _place([0, nothing, nothing])
        lockdown.enter_kept(request.isolation, request.limits, request.language)
    except OSError:
        os._exit(1)
    while True:
        message, descriptors = _received(asked, 0)
        header, *sizes = marshal.loads(message)
        served = ForkRequest(request.isolation, limits_of(header["results"]), header)
        is_solution = served.mode == "split"
        pid = request.isolation.core.fork()
        if pid == 0:
            asked.detach()  # by its end the descriptor is another one
            if is_solution:
                return become_solution(served, sizes[0], descriptors)
            return become_program(served, (sizes[0], sizes[1]), descriptors)
        if is_solution:
            asked.send(fork_server.NEXT.pack(pid))
        for descriptor in descriptors:
            os.close(descriptor)
        _, status, usage = os.wait4(pid, 0)
        if not sweep.is_nobody_left():
            os._exit(1)
        ended = fork_server.ENDED.pack(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
        asked.send(ended + fork_server.NEXT.pack(0))


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
        _, pipes = _received(asked, 0 if not before else socket.MSG_DONTWAIT)
        if not pipes and before:
            asked.send(before + fork_server.NEXT.pack(0))
            before, (_, pipes) = b"", _received(asked, 0)
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
        _received(asked, 0)


def _received(channel: socket.socket, flags: int) -> tuple[bytes, list[int]]:
    """Receive what is said of the next fork and its descriptors; none where the flags forbid to wait.

    Exit when the channel ends.
    """
    try:
        message, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, _OUTPUTS, flags)
    except BlockingIOError:
        return b"", []
    if not message:
        os._exit(0)
    return message, descriptors


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


def become_solution(request: ForkRequest, size: int, descriptors: list[int]) -> Job:
    """Turn this fork into the solution of a split judge and return its job.

    ``descriptors``: its stdout, stderr and the channel to the tests, which it leaves unread; it loses the stream that
    they are on.
    """

    def prepare() -> Prepared:
        source = marshal.loads(_read_exactly(size))["source"]
        return [_memory_file(b""), *descriptors], partial(sources.serve_tests, source, request.out_bytes)

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


def _isolated(request: ForkRequest, prepare: Callable[[], Prepared], role: Role) -> Job:
    """Prepare the job and isolate this process; on failure write the reason to stderr and exit before READY."""
    try:
        descriptors, job = prepare()
        _place(descriptors)
        if role is Role.TESTS:
            lockdown.enter(request.isolation, request.limits, role)
        else:
            lockdown.enter_as_program(request.isolation, request.limits)
        lockdown.close(request.isolation, len(descriptors), request.language)
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
