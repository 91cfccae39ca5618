"""The first process inside a slot's walls: one request, one program, one answer at a time.

It keeps the fork servers that programs come from (:mod:`sandbox.inside.servers`). They are forks of it, so it
never reads a program, an input or an output into its own heap: the program's process reads the payload itself, and
output passes through one buffer that forks do not get.
"""

from __future__ import annotations

import _sitebuiltins
import builtins
import functools
import gc
import importlib
import importlib.util
import itertools
import json
import linecache
import marshal
import os
import posix
import random
import socket
import sys
from collections import deque
from typing import Any

from sandbox.inside import (
    child,
    dense,
    huge_heap,
    huge_text,
    kernel,
    lean,
    lockdown,
    protocol,
    rehearsal,
    scratch,
    servers,
    sources,
    sweep,
)
from sandbox.inside.fork_server import ForkServer
from sandbox.inside.lockdown import Role
from sandbox.inside.processes import Followed, SplitJudge
from sandbox.inside.relay import Budget, Relay

# Imported once, so that programs do not pay for it.
PRELOAD = """
    abc bisect collections contextlib copy dataclasses datetime enum functools heapq io itertools json math
    operator queue random re string struct textwrap threading time traceback types typing
"""
_MAX_REQUESTS = 10_000
_LIMITS_CACHED = 64
_AHEAD = 2  # forks that a program's fork server is asked for, the one that runs among them


def main() -> None:
    """Run the server with the launcher's configuration, in the file whose descriptor is the second argument."""
    sys.path.remove(sys.argv[1])
    config = _configuration(int(sys.argv[2]))
    sys.argv[:] = [""]
    del os.environ["LD_BIND_NOW"]  # the runner's own
    try:
        sys.path += config["packages"]
        for name in (*PRELOAD.split(), *config["preload"]):
            importlib.import_module(name)
        for name in ("exit", "quit"):  # what the site module, left out here, gives every script
            setattr(builtins, name, _sitebuiltins.Quitter(name, "Ctrl-D (i.e. EOF)"))
        # Until here it did nothing: a fork's random numbers are seeded anew and its threads are none.
        os.register_at_fork = posix.register_at_fork
        if config["level"] == "uid":
            kernel.die_with_parent()
            kernel.adopt_orphans()
            scratch.mark(config.get("folder", scratch.TMP))
        rehearsal.rehearse()
        huge_text.take_huge_pages()
        kernel.hide_memory()
        isolation = lockdown.prepare(config)
        relay = Relay()
    except (OSError, ImportError) as error:
        protocol.refuse(str(error))
    random.seed(0)  # for every program: a verdict should not depend on luck
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    sys.argv[:] = [sources.SOURCE]  # what each program finds there
    linecache.clearcache()
    gc.collect()
    dense.fill_holes()
    gc.freeze()
    huge_heap.take_huge_pages()
    hello = {
        "level": isolation.level,
        "proc": isolation.proc,
        "languages": isolation.languages,
        "python": sys.version.split()[0],
        "byte_code": importlib.util.MAGIC_NUMBER.hex(),
    }
    relay.send(protocol.HELLO, json.dumps(hello).encode())
    job = _Server(isolation, relay).serve()
    # Only a child gets here, with the server's frames gone from its stack.
    child.run(job)


def _configuration(given: int) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(os.pread(given, os.fstat(given).st_size, 0))
    os.close(given)
    return config


class _Server:
    """Serves requests until the host goes away."""

    def __init__(self, isolation: lockdown.Isolation, relay: Relay) -> None:
        self._isolation = isolation
        self._relay = relay
        self._limits_of = functools.lru_cache(_LIMITS_CACHED)(functools.partial(lockdown.child_limits, isolation))
        self._kept: dict[Role, ForkServer] = {}
        self._kept_for: tuple[str, tuple[tuple[str, Any], ...]] | None = None

    def serve(self) -> child.Job:
        """Serve, then exit. Return only in a child, with the job to run."""
        for _ in range(_MAX_REQUESTS):
            sizes = protocol.REQUEST.unpack(_read_exactly(protocol.REQUEST.size))
            header: dict[str, Any] = marshal.loads(_read_exactly(min(sizes[0], protocol.MAX_CONTROL)))
            results = max(header["results"], len(header["inputs"]))
            limits = self._limits_of(tuple(header["limits"].items()), results, header["language"])
            request = child.ForkRequest(self._isolation, limits, header)
            self._renew_tmp(limits)
            job = (self._each_input if len(header["inputs"]) > 1 else self._one)(request, sizes)
            if job is not None:
                return job
        os._exit(0)

    def _one(self, request: child.ForkRequest, sizes: tuple[int, int, int]) -> child.Job | None:
        """Run a program in one process, or a split judge in two. Return only a child's job."""
        split = request.mode == "split"
        job = self._keep(request, Role.PROGRAM) or (self._keep(request, Role.TESTS) if split else None)
        if job is not None:
            return job
        reads, writes = _pipes()
        cpu_limit = lockdown.cpu_limit(
            self._isolation, request.header["limits"]["cpu_s"], request.header["results"]
        )
        message = marshal.dumps((request.mode, *sizes[1:], cpu_limit))
        programs = self._kept[Role.PROGRAM]
        processes: Followed
        if split:
            ours, theirs = (end.detach() for end in socket.socketpair())
            tests = self._kept[Role.TESTS]
            programs.ask([*writes[:2], theirs], message)
            tests.ask([*writes, ours], message)
            os.close(ours)
            os.close(theirs)
            processes = SplitJudge(tests.fork(), programs.fork())
        else:
            programs.ask(writes, message)
            processes = programs.fork()
        for write in writes:
            os.close(write)
        budget = Budget(*request.header["budget"])
        end = self._relay.follow(processes, reads, request.header, budget)
        self._clean(end, split)
        self._answer(end)
        return None

    def _keep(self, request: child.ForkRequest, role: Role) -> child.Job | None:
        """Have a fork server for programs, or tests, of these limits and language. Return only a child's job."""
        kind = request.language, tuple(request.header["limits"].items())
        if kind != self._kept_for:
            self._let_go()
            self._kept_for = kind
        if role in self._kept:
            if self._kept[role].alive:
                return None
            self._kept.pop(role).close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            ours.close()
            return functools.partial(servers.serve_programs, request, role, theirs.detach())
        theirs.close()
        self._kept[role] = ForkServer(pid, ours, self._isolation.core)
        return None

    def _let_go(self) -> None:
        for server in self._kept.values():
            server.close()
        self._kept.clear()

    def _each_input(self, request: child.ForkRequest, sizes: tuple[int, int, int]) -> child.Job | None:
        """Run a program on each input, in forks of one isolated process. Return only a child's job."""
        self._let_go()
        header = request.header
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            ours.close()
            return functools.partial(servers.serve_inputs, request, sizes[1], theirs.detach())
        theirs.close()
        server, budget = ForkServer(pid, ours, self._isolation.core), Budget(*header["budget"])
        asked: deque[list[int]] = deque()
        ahead = 1 if header["stepwise"] else _AHEAD
        for rest in reversed(range(len(header["inputs"]))):
            while len(asked) < min(ahead, rest + 1):
                reads, writes = _pipes()
                server.ask(writes)
                for write in writes:
                    os.close(write)
                asked.append(reads)
            end = self._relay.follow(server.fork(), asked.popleft(), header, budget)
            end.last = (
                not rest
                or end.why != "exit"
                or budget.used_up()
                or lockdown.is_folder_used(self._isolation, request.limits)
            )
            if end.last:
                server.close()
                self._clean(end, split=False)
            self._answer(end, soon=not (end.last or header["stepwise"]))
            if end.last or (header["stepwise"] and _read_exactly(1) != protocol.GO_ON):
                break
        server.close()
        for read in itertools.chain.from_iterable(asked):
            os.close(read)
        if not lean.is_nobody_left():  # where the host was answered before it stopped
            os._exit(0)
        return None

    def _renew_tmp(self, limits: lockdown.ChildLimits) -> None:
        try:
            if limits.tmp is not None and not limits.tmp.is_as_new():
                self._let_go()  # its folder is the old one
                limits.tmp.renew()
        except OSError as error:
            self._relay.send(protocol.STDERR, str(error).encode())
            self._answer(protocol.End("setup", 0, 0.0, 0.0, 0, []))

    def _clean(self, end: protocol.End, split: bool) -> None:
        """Sweep where a program may have left something; where something is left, say so in ``end``."""
        isolation = self._isolation
        untouched = isolation.level != "uid" or scratch.is_untouched(isolation.folder)
        if untouched and self._kept and all(server.alive for server in self._kept.values()):
            return  # they have seen that nobody is left
        self._let_go()
        clean = lean.is_nobody_left()
        if isolation.level == "uid" and not (clean and untouched):
            uids = [isolation.child_uid, isolation.judge_uid] if split else [isolation.child_uid]
            clean = sweep.clean(uids, isolation.folder)
            scratch.mark(isolation.folder)
        if not clean and end.why != "setup":
            end.why = "left"

    def _answer(self, end: protocol.End, *, soon: bool = False) -> None:
        """Send the end; after some, a fresh slot is cheaper than finding out what this one is still good for."""
        self._relay.send(protocol.END, end.encode(), soon=soon)
        if end.why in ("setup", "left"):
            os._exit(0)


def _pipes() -> tuple[list[int], list[int]]:
    """Make pipes for stdout, stderr and results; return their ends to read and to write."""
    reads, writes = zip(*(os.pipe() for _ in range(3)), strict=True)
    return list(reads), list(writes)


def _read_exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
