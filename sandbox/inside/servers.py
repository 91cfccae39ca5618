"""The fork servers of a slot: one of many programs, and one of the inputs of a program.

To use an object of Python is to write to its page, and a fork copies every page that it writes to: that is most of
what a short program costs. So what the forks need is bound in advance, they return through one frame, and what can
be done before the fork is done there.
"""

from __future__ import annotations

import marshal
import os
import socket
import struct
import types
from functools import partial

from sandbox.inside import child, fork_server, kernel, lockdown, sources, sweep
from sandbox.inside.child import (
    Asked,
    ForkRequest,
    Job,
    become_program,
    become_tests,
    memory_file,
    put_in_place,
)
from sandbox.inside.lockdown import Role
from sandbox.inside.reports import ready
from sandbox.inside.sources import NO_FILES, run_script

_QUICK_S = 0.25
# Descriptors of a fork: stdout, stderr, what it reports on, and the channel of tests.
_THREE, _FOUR = struct.Struct("3i"), struct.Struct("4i")
_CONTROL = socket.CMSG_SPACE(_FOUR.size)
_MESSAGE_BYTES = 1 << 12
_STREAMS = 5  # the lowest descriptors, on which forks put theirs
_held: list[object] = []  # what forks do not need any more, and need not free


def serve_programs(request: ForkRequest, role: Role, channel: int) -> Job:
    """Be the fork server of many programs, or of the tests of many; return, in each of its forks, the job.

    It has the requests' stream, from which the forks read what is theirs, and never reads of it itself.
    """
    isolation, language, limits = request.isolation, request.language, request.header["limits"]
    try:
        asked = socket.socket(fileno=kernel.above_streams(channel))
        _reserve(1)
        lockdown.enter_kept(isolation, request.limits, language, role)
        enter = lockdown.entrance(isolation, language, role, changes_user=True)
    except OSError:
        os._exit(1)
    _held.extend((request, asked, enter))
    more = () if isolation.node is None or language == "python" else (isolation.node,)
    become, descriptors = (become_tests, _FOUR) if role is Role.TESTS else (become_program, _THREE)
    while True:
        message, outputs = _received(asked, descriptors, 0)
        mode, payload, given, results = marshal.loads(message)
        work = Asked(language, mode, payload, given, isolation.folder, limits["memory_mb"], limits["out_bytes"])
        entered = partial(enter, lockdown.cpu_limit(isolation, limits["cpu_s"], results))
        pid = os.fork()
        if pid == 0:
            return become(work, entered, [*outputs, *more])
        if mode == "split":
            asked.send(fork_server.NEXT.pack(pid))
        for output in outputs:
            os.close(output)
        ended, _ = _waited(pid)
        if not sweep.is_nobody_left():
            os._exit(1)
        if role is Role.TESTS and request.limits.tmp is not None and not request.limits.tmp.is_as_new():
            asked.send(ended + fork_server.NEXT.pack(fork_server.NONE))
            os._exit(0)  # the next one mounts it anew
        asked.send(ended + fork_server.NEXT.pack(0))


def serve_inputs(request: ForkRequest, size: int, channel: int) -> Job:
    """Be the fork server of one program; return, in each of its forks, the job.

    It is isolated, but for the calls that it needs to fork, before it looks at the program.
    """
    isolation, limits = request.isolation, request.header["limits"]
    try:
        payload = child.read_exactly(size)
        inputs = [child.read_exactly(length) for length in request.header["inputs"]]
        asked = socket.socket(fileno=kernel.above_streams(channel))
        _reserve(0)
        lockdown.enter(isolation, request.limits)
        enter = lockdown.entrance(isolation, "python", Role.PROGRAM, changes_user=False)
        source = marshal.loads(payload)["source"]
    except (OSError, ValueError, EOFError):
        os._exit(1)
    _held.extend((request, asked, enter))
    each, out_bytes = lockdown.cpu_limit(isolation, limits["cpu_s"], request.header["results"]), request.out_bytes
    code: types.CodeType | None = None
    before = b""  # how the fork before ended, which is said when the next one runs, so that that need not wait
    while inputs:
        given = inputs.pop(0)
        _, outputs = _received(asked, _THREE, 0 if not before else socket.MSG_DONTWAIT)
        if not outputs and before:
            asked.send(before + fork_server.NEXT.pack(0))
            before, (_, outputs) = b"", _received(asked, _THREE, 0)
        pid = os.fork()
        if pid == 0:
            inputs.clear()
            try:
                put_in_place(memory_file(given), outputs)
                enter(each)
            except OSError as error:
                os.write(2, f"setup: {error}".encode())
                os._exit(1)
            ready()
            return partial(run_script, source, NO_FILES, out_bytes, code)
        if before:
            asked.send(before + fork_server.NEXT.pack(pid))
        for output in outputs:
            os.close(output)
        before, quick = _waited(pid)
        # The fork has shown that compiling it is quick, so that the next ones need not do it again.
        if code is None and quick:
            code = sources.compiled_early(source)
        if lockdown.is_folder_used(isolation, request.limits):
            break
    asked.send(before + fork_server.NEXT.pack(0))
    while True:  # the runner would not hear this last message from a process that ends with others unread
        _received(asked, _THREE, 0)


def _waited(pid: int) -> tuple[bytes, bool]:
    """Wait for a fork; return how it ended, for a message, and whether that was soon and well."""
    _, status, usage = os.wait4(pid, 0)
    cpu_s = usage.ru_utime + usage.ru_stime
    return fork_server.ENDED.pack(status, cpu_s, usage.ru_maxrss), status == 0 and cpu_s < _QUICK_S


def _received(channel: socket.socket, descriptors: struct.Struct, flags: int) -> tuple[bytes, tuple[int, ...]]:
    """Receive what is said of the next fork, and its descriptors; none where the flags forbid to wait.

    Exit when the channel ends.
    """
    try:
        message, control, _, _ = channel.recvmsg(_MESSAGE_BYTES, _CONTROL, flags)
    except BlockingIOError:
        return b"", ()
    if not message:
        os._exit(0)
    return message, descriptors.unpack(control[0][2])


def _reserve(first: int) -> None:
    """Take the lowest descriptors from ``first`` on, so that no other gets a number on which a fork needs one."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(first, _STREAMS):
        os.dup2(nothing, number)
