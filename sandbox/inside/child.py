"""The processes that run one program: set up, lock down, run, report. Everything after READY is hostile.

Their reports are claims about values, never verdicts: the host compares.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import linecache
import marshal
import os
import socket
import sys
import threading
import traceback
import types
import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TextIO

from sandbox.inside import fork_server, kernel, lockdown, node, protocol, reports, served, tester, values
from sandbox.inside.channel import Channel, ClosedError
from sandbox.inside.files import Files
from sandbox.inside.lockdown import Role
from sandbox.inside.remote import Remote

_SOURCE = "solution.py"
# Sources without these words need no file of their own, and nothing of them has to be finalized, which costs time.
_OWN_FILE = ("__file__", "argv")
_FINALIZED = ("__del__", "weakref", "yield", "open", "File", "Writer", "TextIO")
_CHANNEL_FD = reports.RESULT_FD  # of the solution in a split judge, which has no result pipe
_TESTS_CHANNEL_FD = reports.RESULT_FD + 1
_MESSAGE_SLACK = 1 << 12
_NO_FILES = Files()
_ALIVE = "__couplet_alive__"
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
            job = partial(_run_node, source, files, int(request.header["limits"]["memory_mb"]))
            return [_memory_file(given), *pipes, request.isolation.node], job
        if request.mode == "stdin":
            return [_memory_file(given), *pipes], partial(_run_script, source, files, request.out_bytes)
        if request.mode == "forge":
            job = partial(_run_inside, source, tester.Tests(**marshal.loads(given)), request.out_bytes)
        else:
            job = partial(_run_calls, source, payload["calls"], files, request.out_bytes)
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
        pid = os.fork()
        if pid == 0:
            inputs.clear()
            asked.close()
            job = partial(_run_script, source, _NO_FILES, request.out_bytes, code)
            return _served(request, each, [_memory_file(given), *pipes], job)
        if before:
            asked.send(before + fork_server.NEXT.pack(pid))
        for pipe in pipes:
            os.close(pipe)
        _, status, usage = os.wait4(pid, 0)
        before = fork_server.ENDED.pack(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
        # The fork has shown that compiling it is quick, so that the next ones need not do it again.
        if code is None and status == 0 and usage.ru_utime + usage.ru_stime < _QUICK_S:
            code = _compiled_early(source)
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
        return [_memory_file(b""), *outputs, channel], partial(_serve, source, request.out_bytes)

    job = _isolated(request, prepare, Role.PROGRAM)
    Channel(_CHANNEL_FD, 0).send(protocol.READY)
    return job


def become_tests(request: ForkRequest, size: int, pipes: list[int], channel: int) -> Job:
    """Turn this fork into the tests of a split judge and return its job."""

    def prepare() -> Prepared:
        # The tests come after the source on the stream: they may be read once the solution has what is its own.
        if Channel(channel, len(protocol.READY)).receive() != protocol.READY:
            raise OSError("the solution's process was not set up")
        tests = tester.Tests(**marshal.loads(_read_exactly(size)))
        return [_memory_file(b""), *pipes, channel], partial(_judge, tests, request.out_bytes)

    job = _isolated(request, prepare, Role.TESTS)
    reports.ready()
    return job


def run(job: Job) -> None:
    """Run the job and end the process; never returns.

    The standard streams are the server's own objects: unused so far, and on the child's descriptors by now.
    """
    sys.argv[:] = [_SOURCE]
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


class _Loader:
    """The loader of a program's module: tracebacks and the module inspect ask it for the source."""

    __slots__ = ("_source",)

    def __init__(self, source: str) -> None:
        self._source = source

    def get_source(self, _name: str) -> str:
        return self._source


def _module(name: str, source: str) -> types.ModuleType:
    """Make the module that a source will be run as; only ``sys.modules`` holds it."""
    module = types.ModuleType(name)
    module.__dict__.update(__file__=os.path.abspath(_SOURCE), __loader__=_Loader(source))
    sys.modules[name] = module
    return module


def _compiled(source: str) -> types.CodeType:
    return compile(source, _SOURCE, "exec", dont_inherit=True)


def _execute(code: types.CodeType, source: str, module: types.ModuleType) -> None:
    """Run what a source compiles to; first write the file of its own name, where it may look for that."""
    if any(word in source for word in _OWN_FILE):
        # Where the limits leave no room for the file the program is none the worse for it.
        with contextlib.suppress(OSError), open(_SOURCE, "w", encoding="utf-8") as file:
            file.write(source)
    exec(code, module.__dict__)


def _load(source: str, files: Files = _NO_FILES) -> types.ModuleType:
    """Run the source as a module; when it fails, report that and exit."""
    module = _module("solution", source)  # not __main__: a script's main block must not wait for input
    try:
        files.write()
        _execute(_compiled(source), source, module)
    except BaseException as error:  # noqa: BLE001 - the boundary to hostile code
        reports.report(reports.failure(error))
        os._exit(0)
    return module


def _compiled_early(source: str) -> types.CodeType | None:
    try:
        return _compiled(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def _run_script(source: str, files: Files, out_bytes: int, code: types.CodeType | None = None) -> None:
    """Run the source as a script; ``code``: what it compiles to, where that is known."""
    if not files.collected:
        os.close(reports.RESULT_FD)
    exit_code = 0
    try:
        files.write()
        _execute(code or _compiled(source), source, _module("__main__", source))
    except SystemExit as error:
        exit_code = _exit_code(error)
    except BaseException as error:  # noqa: BLE001
        exit_code = protocol.MEMORY_EXIT if isinstance(error, MemoryError) else 1
        _print_error(error)
    exit_code = _finish(exit_code, finalizing=any(word in source for word in _FINALIZED))
    files.report(out_bytes)
    os._exit(exit_code)


def _run_node(source: str, files: Files, heap_mb: int) -> None:
    os.close(reports.RESULT_FD)
    try:
        files.write()
        node.become(source, files.folder, heap_mb)
    except OSError as error:
        os.write(2, f"node: {error}".encode())
        os._exit(1)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    try:
        sys.stderr.write(f"{error.code}\n")
    except BaseException:  # noqa: BLE001 - its text is hostile code too
        os.write(2, b"error\n")
    return 1


def _print_error(error: BaseException) -> None:
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != _SOURCE:
            trace = trace.tb_next  # what is ours says nothing of the program
        traceback.print_exception(error.with_traceback(trace), limit=-5)
    except BaseException:  # noqa: BLE001 - the exception's own text is hostile code too
        os.write(2, b"error\n")


def _finish(code: int, finalizing: bool) -> int:
    """Do what the interpreter does at exit, without tearing the runner's modules down; return the exit code."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _flush(sys.stdout, sys.stderr)
        if finalizing:
            _finalize()
        _flush(sys.__stdout__, sys.__stderr__)  # if the program put others in their place, they come last
    except BaseException:  # noqa: BLE001 - hostile code may run here as well
        code = code or 1
    return code


def _flush(*streams: TextIO | None) -> None:
    for stream in streams:
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()


class _Alive:
    """Lives as long as the names of the program that it is put among."""


def _finalize() -> None:
    """Finalize what the program's names held last: it may have a ``__del__``, or be a file not written yet.

    As the interpreter does: first what is garbage already, which also has files found before their buffers; then
    the rest, with all names still there for those that ask; and where something else keeps the names, without.
    """
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    for forget in typing._cleanups:  # type: ignore[attr-defined]  # what List[Mine] was made of
        forget()
    gc.collect()
    alive = sys.modules["__main__"].__dict__[_ALIVE] = _Alive()
    kept = weakref.ref(alive)
    del sys.modules["__main__"], alive
    gc.collect()
    if kept() is not None:
        (names,) = (each for each in gc.get_referrers(kept()) if type(each) is dict)
        for name in sorted(names.keys() - {"__builtins__"}, key=_clears_later):
            names[name] = None
        gc.collect()


def _clears_later(name: str) -> bool:
    return not name.startswith("_") or name.startswith("__")


def _run_calls(source: str, calls: list[types.CodeType | str], files: Files, out_bytes: int) -> None:
    module = _load(source, files)
    reports.report(protocol.LOADED)
    for call in calls:
        try:
            reports.report(protocol.VALUE + values.encode(eval(call, module.__dict__), out_bytes))
        except BaseException as error:  # noqa: BLE001
            reports.report(reports.failure(error))
    files.report(out_bytes)


def _run_inside(source: str, tests: tester.Tests, out_bytes: int) -> None:
    tester.run_inside(tests, _load(source).__dict__, out_bytes)


def _serve(source: str, out_bytes: int) -> None:
    limit = out_bytes + _MESSAGE_SLACK
    channel = Channel(_CHANNEL_FD, limit)
    module = _module("solution", source)
    try:
        _execute(_compiled(source), source, module)
    except BaseException as error:  # noqa: BLE001
        channel.send(reports.failure(error))
        os._exit(0)
    channel.send(protocol.LOADED)
    served.serve(channel, module.__dict__, limit)


def _judge(tests: tester.Tests, out_bytes: int) -> None:
    limit = out_bytes + _MESSAGE_SLACK
    channel = Channel(_TESTS_CHANNEL_FD, limit)
    try:
        loaded = channel.receive()
    except ClosedError:
        os._exit(protocol.GONE_EXIT)
    if loaded != protocol.LOADED:
        failed = loaded[:1] if loaded[:1] in (protocol.FAILED, protocol.NO_MEMORY) else protocol.FAILED
        reports.report(failed + loaded[1 : protocol.NOTE_BYTES])
        os._exit(0)
    tester.run_beside(tests, Remote(channel, limit), out_bytes)
