"""The fork server inside a slot: one request, one fork, one answer at a time.

It never reads a program, an input or an output into its own heap, because the next program is forked from
that heap: the child reads the payload itself, and output passes through one buffer that children do not get.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from typing import Any

from sandbox import child, kernel, lockdown, protocol, sweep
from sandbox.launcher import refuse
from sandbox.relay import Relay

# Imported once, so that programs do not pay for it.
PRELOAD = """
    abc ast bisect cmath collections contextlib copy dataclasses datetime decimal enum fractions functools
    hashlib heapq io itertools json math numbers operator queue random re statistics string struct
    textwrap threading time traceback types typing unicodedata
"""
_MAX_REQUESTS = 10_000


def main() -> None:
    sys.path.remove(sys.argv[1])
    config: dict[str, Any] = json.loads(sys.argv[2])
    sys.argv[:] = [""]
    try:
        for name in PRELOAD.split():
            importlib.import_module(name)
        if config["level"] == "uid":
            kernel.die_with_parent()
            kernel.adopt_orphans()
        walls = lockdown.prepare(config)
        relay = Relay()
        self_fd = os.pidfd_open(os.getpid())
    except OSError as error:
        refuse(str(error))
    gc.collect()
    gc.freeze()
    relay.send_json(protocol.HELLO, {"level": walls.level, "proc": walls.proc, "python": sys.version.split()[0]})
    job = _serve(walls, relay, self_fd)
    # Only a child gets here, with the server's frames gone from its stack.
    child.run(job)


def _serve(walls: lockdown.Walls, relay: Relay, self_fd: int) -> child.Job:
    """Returns only in a child, ready to run its job; the server itself exits when the host goes away."""
    for _ in range(_MAX_REQUESTS):
        sizes = protocol.REQUEST.unpack(_read_exactly(protocol.REQUEST.size))
        header: dict[str, Any] = json.loads(_read_exactly(min(sizes[0], protocol.MAX_CONTROL)))
        pipes = [os.pipe() for _ in range(3)]
        if walls.level != "uid":
            kernel.unshare(kernel.NEWPID)
        pid = os.fork()
        if pid == 0:
            return child.become(walls, header, sizes[1], sizes[2], [write for _, write in pipes])
        if walls.level != "uid":
            kernel.setns(self_fd, kernel.NEWPID)  # without it the next unshare is refused
        for _, write in pipes:
            os.close(write)
        end = relay.follow(pid, [read for read, _ in pipes], header)
        if walls.level == "uid" and not sweep.clean(walls.child_uid, walls.folder):
            end["why"] = "setup"
        relay.send_json(protocol.END, end)
        if end["why"] == "setup":
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
