"""The fork servers of a slot: one of many programs, and one of the inputs of a program.

To use an object of Python is to write to its page, and a fork copies every page that it writes to: that is most of
what a short program costs. So what the forks need is bound in advance, they return through one frame, and what can
be done before the fork is done there.
"""

from __future__ import annotations

import os
import socket
import types
from functools import partial
from marshal import loads

from sandbox.inside import child, fork_server, kernel, lean, lockdown, sources
from sandbox.inside.child import (
    ForkRequest,
    ForServer,
    Job,
    become_program,
    become_tests,
    memory_file,
    put_in_place,
)
from sandbox.inside.lockdown import Role
from sandbox.inside.reports import ready
from sandbox.inside.sources import NO_FILES, run_script

_QUICK_US = 250_000
_STREAMS = 5  # the lowest descriptors, on which forks put theirs
_held: list[object] = []  # what forks do not need any more, and need not free


def serve_programs(request: ForkRequest, role: Role, channel: int) -> Job:
    """Be the fork server of many programs, or of the tests of many; return, in each of its forks, the job.

    It has the requests' stream, from which the forks read what is theirs, and never reads of it itself.
    """
    isolation, language, limits = request.isolation, request.language, request.header["limits"]
    tests = role is Role.TESTS
    try:
        asked = kernel.above_streams(channel)
        _reserve(1)
        lockdown.enter_kept(isolation, request.limits, language, role)
        enter = lockdown.entrance(isolation, language, role, changes_user=True)
    except OSError:
        os._exit(1)
    # The stdout and stderr of a fork, what it reports on, and the channel of tests.
    inbox, report = lean.Inbox(asked, 4 if tests else 3), lean.Report(asked)
    sources.prepare_modules()
    if tests:
        become = partial(become_tests, sources.prepare_judge(limits["out_bytes"]))
    else:
        solution = sources.prepare_solution(limits["out_bytes"])
        become = partial(become_program, ForServer(language, isolation.folder, limits, solution))
    more = () if isolation.node is None or language == "python" else (isolation.node,)
    tmp = request.limits.tmp if tests else None
    _held.extend((request, enter, inbox, report, become))
    while True:
        outputs = inbox.receive()
        mode, payload, given, cpu_limit = loads(inbox.message)
        pid = lean.fork()
        if pid < 0:
            os._exit(1)  # no room for a process, which the runner takes for a slot that is no good
        if pid == 0:
            return become(mode, payload, given, partial(enter, cpu_limit), (*outputs, *more))
        if mode == "split":
            os.write(asked, fork_server.NEXT.pack(pid))
        for output in outputs:
            os.close(output)
        report.wait(pid)
        if not lean.is_nobody_left():
            os._exit(1)
        if tmp is not None and not tmp.is_as_new():
            report.send(fork_server.NONE)
            os._exit(0)  # the next one mounts it anew
        report.send(0)


def serve_inputs(request: ForkRequest, size: int, channel: int) -> Job:
    """Be the fork server of one program; return, in each of its forks, the job.

    It is isolated, but for the calls that it needs to fork, before it looks at the program.
    """
    isolation, limits = request.isolation, request.header["limits"]
    try:
        payload = child.read_exactly(size)
        inputs = [child.read_exactly(length) for length in request.header["inputs"]]
        asked = kernel.above_streams(channel)
        _reserve(0)
        lockdown.enter(isolation, request.limits)
        enter = lockdown.entrance(isolation, "python", Role.PROGRAM, changes_user=False)
        source = loads(payload)["source"]
    except (OSError, ValueError, EOFError):
        os._exit(1)
    inbox, report, folder = lean.Inbox(asked, 3), lean.Report(asked), lean.Folder(isolation.folder)
    own_folder = isolation.level == "namespaces"  # where programs own it they can set the mark
    _held.extend((request, payload, inputs, enter, inbox, report, folder))
    sources.prepare_modules()
    cpu_limit = lockdown.cpu_limit(isolation, limits["cpu_s"], request.header["results"])
    out_bytes = request.out_bytes
    code: types.CodeType | None = None
    ended = False  # a fork of which that is said when the next one runs, so that that need not wait
    while inputs:
        given = inputs.pop(0)
        outputs = inbox.receive(socket.MSG_DONTWAIT if ended else 0)
        if not outputs:
            report.send(0)
            ended, outputs = False, inbox.receive()
        pid = lean.fork()
        if pid < 0:
            os._exit(1)  # no room for a process, which the runner takes for a slot that is no good
        if pid == 0:
            inputs.clear()
            try:
                put_in_place(memory_file(given), outputs)
                enter(cpu_limit)
            except OSError as error:
                os.write(2, f"setup: {error}".encode())
                os._exit(1)
            ready()
            return partial(run_script, source, NO_FILES, out_bytes, code)
        if ended:
            report.send(pid)
        for output in outputs:
            os.close(output)
        report.wait(pid)
        ended = True
        # The fork has shown that compiling it is quick, so that the next ones need not do it again.
        if code is None and report.was_good_within(_QUICK_US):
            code = sources.compiled_early(source)
        if not folder.is_untouched() or (own_folder and lockdown.is_folder_used(isolation, request.limits)):
            break
    report.send(0)
    while True:  # the runner would not hear this last message from a process that ends with others unread
        inbox.receive()


def _reserve(first: int) -> None:
    """Take the lowest descriptors from ``first`` on, so that no other gets a number on which a fork needs one."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(first, _STREAMS):
        os.dup2(nothing, number)
