"""Run the whole corpus against one level and list what went wrong. Also a script, for another user's python:

python battle.py LEVEL PYTHON
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
from pathlib import Path

import corpus

from sandbox import values
from sandbox.jail import JailSandbox
from sandbox.probe import Level
from sandbox.types import Case, Limits, Outcome, Program

_LIVES = Program("def f(x): return x + 1", (Case("0", "call", call="f(41)"),))


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def slot_pid(sandbox: JailSandbox) -> int:
    slot = sandbox._places[0].slot
    assert slot is not None
    return slot.pid


def footprint(sandbox: JailSandbox) -> dict[str, int]:
    """What must not grow: processes of the slot, the runner's descriptors and mounts, our own descriptors."""
    first = slot_pid(sandbox)
    processes = descendants(first)
    runner = processes[-1] if processes else first
    counted = {"processes": len(processes), "host descriptors": len(os.listdir("/proc/self/fd"))}
    try:
        counted["runner descriptors"] = len(os.listdir(f"/proc/{runner}/fd"))
        counted["mounts"] = len(Path(f"/proc/{runner}/mountinfo").read_text().splitlines())
    except PermissionError:
        counted["mounts"] = 0
    return counted


def fight(level: Level, python: str) -> list[str]:
    """Complaints; empty when every wall held."""
    complaints: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
        JailSandbox(1, levels=[level], python=python) as sandbox,
    ):
        os.chmod(folder, 0o755)
        os.environ["COUPLET_CANARY"] = corpus.CANARY
        listener.setblocking(False)
        sandbox.run(_LIVES, Limits())
        before = footprint(sandbox)
        for attack in corpus.attacks(corpus.write_canary(Path(folder)), listener.getsockname()[1]):
            (run,) = sandbox.run(corpus.program(attack), corpus.LIMITS)
            complaints += filter(None, [corpus.complaint(attack, run)])
            (alive,) = sandbox.run(_LIVES, Limits())
            if alive.outcome is not Outcome.OK or values.decode(alive.value or b"") != 42:
                complaints.append(f"{attack.name}: the next program ended {alive.outcome} ({alive.note})")
            after = footprint(sandbox)
            if after != before:
                complaints.append(f"{attack.name}: left something behind: {before} -> {after}")
        try:
            listener.accept()
            complaints.append("the host's listener was contacted")
        except BlockingIOError:
            pass
        restarts = sandbox.describe()["slot_restarts"]
        if restarts:
            complaints.append(f"{restarts} slots had to be replaced")
        for name, (source, stdin, expected) in corpus.SCRIPTS.items():
            limits = Limits(cpu_s=5, wall_s=30, memory_mb=300)
            (run,) = sandbox.run(Program(source, (Case(name, "stdin", stdin=stdin),)), limits)
            if run.outcome is not Outcome.OK or run.stdout.decode().strip() != expected:
                complaints.append(f"legitimate {name}: {run}")
    return complaints


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fight(Level(sys.argv[1]), sys.argv[2])))
