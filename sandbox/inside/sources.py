"""How the source of a program is executed, as a script, for calls, or beside tests, and what is reported of it.

Reports are claims about values, never verdicts: the host compares.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import threading
import traceback
import types
import typing
import weakref
from _thread import _count
from atexit import _run_exitfuncs
from collections.abc import Callable
from functools import partial
from os import _exit, close
from types import ModuleType
from typing import TextIO

from sandbox.inside import node, protocol, reports, served, tester, values
from sandbox.inside.channel import Channel, ClosedError
from sandbox.inside.files import Files
from sandbox.inside.remote import Remote

#: The name of every source, of its file and in tracebacks.
SOURCE = "solution.py"
NO_FILES = Files()
CHANNEL_FD = reports.RESULT_FD  # of the solution in a split judge, which has no result pipe
# Sources without these words need no file of their own, and nothing of them has to be finalized, which costs time.
_OWN_FILE = re.compile("__file__|argv")
_FINALIZED = re.compile("__del__|weakref|yield|open|File|Writer|TextIO")
_MESSAGE_SLACK = 1 << 12
_ALIVE = "__couplet_alive__"
# The names of the module of a source. Not __main__ where its main block must not wait for input.
_SCRIPT, _LIBRARY = "__main__", "solution"


class _Loader:
    """The loader of a program's module: tracebacks and the module inspect ask it for the source."""

    __slots__ = ("source",)

    def __init__(self, source: str) -> None:
        self.source = source

    def get_source(self, _name: str) -> str:
        return self.source


_prepared: dict[str, ModuleType] = {}


def prepare_modules() -> None:
    """Make the modules that a source may be run as, for the forks of this process, in whose folder it will be."""
    for name in (_SCRIPT, _LIBRARY):
        module = _prepared[name] = ModuleType(name)
        module.__dict__.update(__file__=f"{os.getcwd()}/{SOURCE}", __loader__=_Loader(""))


def _module(name: str, source: str) -> ModuleType:
    """Return the module that a source will be run as; only ``sys.modules`` holds it."""
    module = sys.modules[name] = _prepared.pop(name)
    module.__loader__.source = source  # type: ignore[union-attr]  # it is ours
    return module


def compiled(source: str) -> types.CodeType:
    """Compile a source. Raises what ``compile`` does."""
    return compile(source, SOURCE, "exec", dont_inherit=True)


def _execute(code: types.CodeType, source: str, module: types.ModuleType) -> None:
    """Run what a source compiles to; first write the file of its own name, where it may look for that."""
    if _OWN_FILE.search(source):
        # Where the limits leave no room for the file the program is none the worse for it.
        with contextlib.suppress(OSError), open(SOURCE, "w", encoding="utf-8") as file:
            file.write(source)
    exec(code, module.__dict__)


def _load(source: str, files: Files = NO_FILES) -> types.ModuleType:
    """Run the source as a module; when it fails, report that and exit."""
    module = _module(_LIBRARY, source)
    try:
        files.write()
        _execute(compiled(source), source, module)
    except BaseException as error:  # noqa: BLE001 - the boundary to hostile code
        reports.report(reports.failure(error))
        os._exit(0)
    return module


def compiled_early(source: str) -> types.CodeType | None:
    """Compile a source before it is run; return None where that fails, which its run will report."""
    try:
        return compiled(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def run_script(source: str, files: Files, out_bytes: int, code: types.CodeType | None = None) -> None:
    """Run the source as a script; ``code``: what it compiles to, where that is known."""
    if not files.collected:
        close(reports.RESULT_FD)
    exit_code = 0
    try:
        if files is not NO_FILES:
            files.write()
        _execute(code or compiled(source), source, _module(_SCRIPT, source))
    except SystemExit as error:
        exit_code = _exit_code(error)
    except BaseException as error:  # noqa: BLE001
        exit_code = protocol.MEMORY_EXIT if isinstance(error, MemoryError) else 1
        _print_error(error)
    exit_code = _finish(exit_code, finalizing=_FINALIZED.search(source) is not None)
    if files.collected:
        files.report(out_bytes)
    _exit(exit_code)


def rehearse(source: str) -> None:
    """Run the source as :func:`run_script` does, on the streams of the moment, and leave nothing of it."""
    module = ModuleType(_SCRIPT)
    _execute(compiled(source), source, module)
    _flush(sys.stdin, sys.stdout)
    _FINALIZED.search(source)


def run_node(source: str, files: Files, heap_mb: int, out_bytes: int) -> None:
    """Become the program in JavaScript, whose heap may have ``heap_mb``."""
    if not files.collected:
        os.close(reports.RESULT_FD)
    try:
        files.write()
        node.become(source, files.folder, heap_mb, node.collecting(files.collected, files.folder, out_bytes))
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
        while trace is not None and trace.tb_frame.f_code.co_filename != SOURCE:
            trace = trace.tb_next  # what is ours says nothing of the program
        traceback.print_exception(error.with_traceback(trace), limit=-5)
    except BaseException:  # noqa: BLE001 - the exception's own text is hostile code too
        os.write(2, b"error\n")


def _finish(code: int, finalizing: bool) -> int:
    """Do what the interpreter does at exit, without tearing the runner's modules down; return the exit code."""
    try:
        if _count():  # threads beside this one
            threading._shutdown()  # type: ignore[attr-defined]
        _run_exitfuncs()
        _flush(sys.stdout, sys.stderr)
        if finalizing:
            _finalize()
        if finalizing or sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
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


def run_calls(source: str, calls: list[types.CodeType | str], files: Files, out_bytes: int) -> None:
    """Run the source as a module and report the value of every call."""
    module = _load(source, files)
    reports.report(protocol.LOADED)
    for call in calls:
        try:
            reports.report(protocol.VALUE + values.encode(eval(call, module.__dict__), out_bytes))
        except BaseException as error:  # noqa: BLE001
            reports.report(reports.failure(error))
    files.report(out_bytes)


def run_inside(source: str, tests: tester.Tests, out_bytes: int) -> None:
    """Run the source as a module and the tests in its namespace."""
    tester.run_inside(tests, _load(source).__dict__, out_bytes)


def prepare_solution(out_bytes: int) -> Callable[[str], None]:
    """Return what runs a source as a module and answers what the tests ask of it, in forks of this process.

    The module has to be prepared before.
    """
    limit = out_bytes + _MESSAGE_SLACK
    channel = Channel(CHANNEL_FD, limit)
    return partial(_serve, channel, served.Server(channel, _prepared[_LIBRARY].__dict__, limit))


def _serve(channel: Channel, server: served.Server, source: str) -> None:
    module = _module(_LIBRARY, source)
    try:
        _execute(compiled(source), source, module)
    except BaseException as error:  # noqa: BLE001
        channel.send(reports.failure(error))
        os._exit(0)
    channel.send(protocol.LOADED)
    served.serve(channel, server)


def prepare_judge(out_bytes: int) -> Callable[[tester.Tests], None]:
    """Return what runs the tests of the solution at the other end of the channel, in forks of this process."""
    limit = out_bytes + _MESSAGE_SLACK
    channel = Channel(reports.TESTS_CHANNEL_FD, limit)
    remote = Remote(channel, limit)
    tester.hear_of_lost(remote)
    return partial(_judge, channel, tester.beside(remote, out_bytes))


def _judge(channel: Channel, runner: tester.Runner, tests: tester.Tests) -> None:
    try:
        loaded = channel.receive()
    except ClosedError:
        os._exit(protocol.GONE_EXIT)
    if loaded != protocol.LOADED:
        failed = loaded[:1] if loaded[:1] in (protocol.FAILED, protocol.NO_MEMORY) else protocol.FAILED
        reports.report(failed + loaded[1 : protocol.NOTE_BYTES])
        os._exit(0)
    tester.run_beside(runner, tests)
