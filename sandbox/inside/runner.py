"""The fork server inside a slot: one request, one fork, one answer at a time.

It never reads a program, an input or an output into its own heap, because the next program is forked from
that heap: the child reads the payload itself, and output passes through one buffer that children do not get.
"""

from __future__ import annotations

import _sitebuiltins
import builtins
import functools
import gc
import importlib
import importlib.util
import json
import marshal
import os
import posix
import random
import socket
import sys
from typing import Any

from sandbox.inside import child, kernel, lockdown, protocol, sweep
from sandbox.inside.relay import Relay

# Imported once, so that programs do not pay for it.
PRELOAD = """
    abc bisect collections contextlib copy dataclasses datetime enum functools heapq io itertools json math
    operator queue random re string struct textwrap threading time traceback types typing
"""
_MAX_REQUESTS = 10_000
_LIMITS_CACHED = 64


def main() -> None:
    """Run the server with the launcher's configuration, in the file whose descriptor is the second argument."""
    sys.path.remove(sys.argv[1])
    config = _configuration(int(sys.argv[2]))
    sys.argv[:] = [""]
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
        isolation = lockdown.prepare(config)
        relay = Relay()
        self_fd = os.pidfd_open(os.getpid())
    except (OSError, ImportError) as error:
        protocol.refuse(str(error))
    random.seed(0)  # for every program: a verdict should not depend on luck
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    gc.collect()
    gc.freeze()
    hello = {
        "level": isolation.level,
        "proc": isolation.proc,
        "languages": isolation.languages,
        "python": sys.version.split()[0],
        "byte_code": importlib.util.MAGIC_NUMBER.hex(),
    }
    relay.send(protocol.HELLO, json.dumps(hello).encode())
    job = _serve(isolation, relay, self_fd)
    # Only a child gets here, with the server's frames gone from its stack.
    child.run(job)


def _configuration(given: int) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(os.pread(given, os.fstat(given).st_size, 0))
    os.close(given)
    return config


def _serve(isolation: lockdown.Isolation, relay: Relay, self_fd: int) -> child.Job:
    """Serve requests until the host goes away, then exit. Return only in a child, with the job to run."""

    limits_of = functools.lru_cache(_LIMITS_CACHED)(functools.partial(lockdown.child_limits, isolation))

    def fork() -> int:
        if isolation.level == "uid":
            return os.fork()
        kernel.unshare(kernel.NEWPID)
        pid = os.fork()
        if pid:
            kernel.setns(self_fd, kernel.NEWPID)  # without it the next unshare is refused
        return pid

    for _ in range(_MAX_REQUESTS):
        sizes = protocol.REQUEST.unpack(_read_exactly(protocol.REQUEST.size))
        header: dict[str, Any] = marshal.loads(_read_exactly(min(sizes[0], protocol.MAX_CONTROL)))
        limits = limits_of(tuple(header["limits"].items()), header["results"], header["language"])
        request = child.ForkRequest(isolation, limits, header)
        pipes = [os.pipe() for _ in range(3)]
        writes = [write for _, write in pipes]
        solution = None
        if header["mode"] == "split":
            ours, theirs = (end.detach() for end in socket.socketpair())
            solution = fork()
            if solution == 0:
                return child.become_solution(request, sizes[1], writes[:2], theirs)
            os.close(theirs)
            pid = fork()
            if pid == 0:
                return child.become_tests(request, sizes[2], writes, ours)
            os.close(ours)
        else:
            pid = fork()
            if pid == 0:
                return child.become_program(request, (sizes[1], sizes[2]), writes)
        for write in writes:
            os.close(write)
        end = relay.follow(pid, solution, [read for read, _ in pipes], header)
        uids = [isolation.child_uid] if solution is None else [isolation.child_uid, isolation.judge_uid]
        if isolation.level == "uid" and not sweep.clean(uids, isolation.folder):
            end.why = "left"
        relay.send(protocol.END, end.encode())
        if end.why in ("setup", "left"):
            break  # the request stream may be out of step: a fresh slot is cheaper than finding out
    os._exit(0)


def _read_exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(0, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
