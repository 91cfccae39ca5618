"""The process that runs one program: set up, lock down, run, report. Everything after READY is hostile.

Its reports are claims about values, never verdicts: the host compares.
"""

from __future__ import annotations

import atexit
import json
import linecache
import os
import random
import sys
import threading
import traceback
import types
from dataclasses import dataclass
from typing import Any

from sandbox import lockdown, protocol, values

_RESULT_FD = 3
_SOURCE = "solution.py"


@dataclass
class Job:
    source: str
    calls: list[str] | None  # None: run as a script on stdin
    out_bytes: int


def become(
    walls: lockdown.Walls, header: dict[str, Any], payload_size: int, stdin_size: int, pipes: list[int]
) -> Job:
    """In the fork: read the request's rest, place file descriptors, build the walls, say READY."""
    try:
        payload = json.loads(_read_exactly(payload_size))
        _place_streams(_read_exactly(stdin_size), pipes)
        lockdown.apply(walls, header["limits"], header["limits"]["cpu_s"] * header["results"])
        job = Job(payload["source"], payload.get("calls"), header["limits"]["out_bytes"])
        _report(protocol.READY)
        return job
    except (OSError, ValueError) as error:
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


def _place_streams(stdin: bytes, pipes: list[int]) -> None:
    source = os.memfd_create("stdin", 0)
    rest = memoryview(stdin)
    while rest:
        rest = rest[os.write(source, rest) :]
    os.lseek(source, 0, os.SEEK_SET)
    # Move out of the way first: a pipe end may itself have one of the low numbers.
    high = [os.dup(fd) for fd in (source, *pipes)]
    for target, fd in enumerate(high):
        os.dup2(fd, target, inheritable=True)


def run(job: Job) -> None:
    """Run the job and end the process; never returns.

    The standard streams are the server's own objects: unused so far, and on the child's descriptors by now.
    """
    sys.argv[:] = [_SOURCE]
    random.seed(0)  # the fork reseeded it; a verdict should not depend on luck
    linecache.clearcache()
    if job.calls is None:
        os.close(_RESULT_FD)
        _run_script(job.source)
    else:
        _run_calls(job.source, job.calls, job.out_bytes)


def _module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module


def _run_script(source: str) -> None:
    code = 0
    try:
        exec(compile(source, _SOURCE, "exec", dont_inherit=True), _module("__main__").__dict__)
    except SystemExit as error:
        code = _exit_code(error)
    except BaseException as error:  # noqa: BLE001 - the boundary to hostile code
        code = protocol.MEMORY_EXIT if isinstance(error, MemoryError) else 1
        _print_error(error)
    _finish(code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def _print_error(error: BaseException) -> None:
    try:
        traceback.print_exception(error, limit=-5)
    except BaseException:  # noqa: BLE001 - the exception's own text is hostile code too
        os.write(2, b"error\n")


def _finish(code: int) -> None:
    """What the interpreter does at its end, without tearing the runner's modules down."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - hostile code may run here as well
        code = code or 1
    os._exit(code)


def _run_calls(source: str, calls: list[str], out_bytes: int) -> None:
    module = _module("solution")  # not __main__: a script's main block must not wait for input
    try:
        exec(compile(source, _SOURCE, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:  # noqa: BLE001
        _report_error(error)
        os._exit(0)
    _report(protocol.LOADED)
    for call in calls:
        try:
            code = compile(call, "<call>", "eval", dont_inherit=True)
            _report(protocol.VALUE + values.encode(eval(code, module.__dict__), out_bytes))
        except BaseException as error:  # noqa: BLE001
            _report_error(error)
    os._exit(0)


def _report_error(error: BaseException) -> None:
    if isinstance(error, MemoryError):
        _report(protocol.NO_MEMORY)
        return
    try:
        note = f"{type(error).__name__}: {error}"[: protocol.NOTE_BYTES]
    except BaseException:  # noqa: BLE001 - str() of a hostile exception
        note = "error"
    _report(protocol.FAILED + note.encode("utf-8", "replace")[: protocol.NOTE_BYTES])


def _report(body: bytes) -> None:
    data = memoryview(protocol.RESULT_LENGTH.pack(len(body)) + body)
    while data:
        data = data[os.write(_RESULT_FD, data) :]
