"""Run the attacks against one backend and list what went wrong."""

from __future__ import annotations

import ast
import contextlib
import gc
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from sandbox.inside import values
from sandbox.types import Case, CaseRun, Limits, Outcome, Program
from tests.sandbox import footprint, levels, programs
from tests.sandbox.levels import Backend

_LIVES = Program("def f(x): return x + 1", (Case("0", "call", call="f(41)"),))
_CALM = Limits(cpu_s=4.0, wall_s=60.0, memory_mb=256, out_bytes=1 << 16, file_mb=4, files=64)
# Only where running out of time is what should happen, so that a busy machine changes no outcome.
_SHORT = Limits(cpu_s=0.2, wall_s=0.6, memory_mb=256, out_bytes=1 << 16, file_mb=4, files=64)
# Here running out of time is a fair end for whatever confuses itself.
_BESIDE = Limits(cpu_s=1.0, wall_s=2.0, memory_mb=256, out_bytes=1 << 16, file_mb=4, files=64)


class Bait:
    """What attacks are after: a file, a secret in the environment, listeners on TCP and on abstract names."""

    def __init__(self, folder: Path) -> None:
        self.canary = f"couplet-canary-{uuid.uuid4().hex}"
        os.environ["COUPLET_CANARY"] = self.canary
        folder.chmod(0o755)
        path = folder / "canary.txt"
        path.write_text(self.canary)
        path.chmod(0o644)
        self._listener = socket.create_server(("127.0.0.1", 0))
        name = f"couplet-bait-{os.getpid()}"
        self._named = [socket.socket(socket.AF_UNIX, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
        for each in self._named:
            each.bind(f"\0{name}-{each.type.name}")
        self._named[0].listen()
        for each in (self._listener, *self._named):
            each.setblocking(False)
        self.marker = f"residue-{uuid.uuid4().hex}"
        self.values: dict[str, object] = {
            "canary": str(path),
            "port": self._listener.getsockname()[1],
            "socket": f"{name}-SOCK_STREAM",
            "datagrams": f"{name}-SOCK_DGRAM",
            "host": os.getpid(),
            "canary_hidden": hidden(self.marker),
        }

    def taken(self) -> list[str]:
        complaints = []
        for each, take in ((self._listener, "accept"), (self._named[0], "accept"), (self._named[1], "detect")):
            with contextlib.suppress(BlockingIOError):
                each.accept() if take == "accept" else each.recv(1)
                complaints.append(f"a listener of the host was contacted: {each.getsockname()}")
        return complaints

    def close(self) -> None:
        for each in (self._listener, *self._named):
            each.close()
        del os.environ["COUPLET_CANARY"]


def hidden(text: str) -> bytes:
    """So that the program that looks for a text does not hold it."""
    return bytes(byte ^ 0x55 for byte in text.encode())


@contextlib.contextmanager
def bait(folder: Path) -> Iterator[Bait]:
    laid = Bait(folder)
    try:
        yield laid
    finally:
        laid.close()


def attacks_at(level: str) -> list[programs.Attack]:
    """Choose all attacks at the strongest level and in containers, elsewhere those that the level must stop."""
    everything = level in (levels.STRONGEST, "docker")
    return [attack for attack in programs.attacks() if everything or attack.stopped_by == "level"]


def fight(backend: Backend, laid: Bait) -> list[str]:
    """Complaints; empty when the isolation held."""
    complaints: list[str] = []
    sandbox = backend.sandbox
    before = _before(backend)
    for attack in attacks_at(backend.name):
        (run,) = sandbox.run(
            attack.program(laid.values, laid.marker), _SHORT if Outcome.TIMEOUT in attack.allowed else _CALM
        )
        complaints += [f"{attack.name}: {text}" for text in _verdict(backend, attack, run, laid.canary)]
        left = aftermath(backend, before)
        complaints += [f"{attack.name}: {text}" for text in left]
        if left:  # or every later attack would be blamed for it as well
            before = footprint.take(backend)
        if backend.sandbox.describe().get("slot_restarts"):
            complaints.append(f"{attack.name}: the slot had to be replaced")
            return complaints
    return complaints + laid.taken()


def fight_beside_tests(backend: Backend, laid: Bait) -> list[str]:
    """Run the same programs as the solution of a split judge, where only isolation matters and no answer."""
    complaints: list[str] = []
    before = _before(backend)
    for attack in attacks_at(backend.name):
        if attack.kind != "call" or Outcome.TIMEOUT in attack.allowed:
            continue
        program = attack.program(laid.values, laid.marker)
        script = Case("0", "script", script=f"answer = {program.cases[0].call}\nassert answer == 'forged'")
        (run,) = backend.sandbox.run(Program(program.source, (script,), exports=("attack",)), _BESIDE)
        claims = values.decode(run.value) if run.outcome is Outcome.OK and run.value is not None else None
        if run.outcome is Outcome.INFRA or (isinstance(claims, tuple) and claims[0] is not False):
            complaints.append(f"{attack.name}: ended {run.outcome}, {claims} ({run.note})")
        left = aftermath(backend, before)
        complaints += [f"{attack.name}: {text}" for text in left]
        if left:  # or every later attack would be blamed for it as well
            before = footprint.take(backend)
    return complaints + laid.taken()


def _before(backend: Backend) -> dict[str, object]:
    """Start the slot and take the footprint, without descriptors that garbage of earlier tests still holds."""
    backend.sandbox.run(_LIVES, _CALM)
    footprint.take(backend)  # asking for the first time may itself open something
    gc.collect()
    return footprint.take(backend)


def aftermath(backend: Backend, before: dict[str, object]) -> list[str]:
    """Whether the next program works, and what an attack left."""
    complaints = []
    (alive,) = backend.sandbox.run(_LIVES, _CALM)
    if alive.outcome is not Outcome.OK or values.decode(alive.value or b"") != 42:
        complaints.append(f"the next program ended {alive.outcome} ({alive.note})")
    after = footprint.settled(backend, before)
    changed = {
        name: (before.get(name), after.get(name)) for name in before | after if before.get(name) != after.get(name)
    }
    if changed:
        complaints.append(f"left something behind: {changed}")
    return complaints


def _verdict(backend: Backend, attack: programs.Attack, run: CaseRun, canary: str) -> list[str]:
    if run.outcome not in attack.allowed:
        return [f"ended {run.outcome} ({run.note}); it must not {attack.must_not}"]
    if canary.encode() in run.stdout + run.stderr + (run.value or b"") + run.note.encode("utf-8", "replace"):
        return ["read the canary"]
    if run.outcome is not Outcome.OK:
        return []
    if attack.prints is not None and run.stdout.decode().strip() != attack.prints:
        return [f"printed {run.stdout!r}"]
    if attack.returns is None or (attack.returns_at and backend.name not in attack.returns_at):
        return []
    value = values.decode(run.value or b"")
    if value != ast.literal_eval(attack.returns):
        return [f"returned {value!r}; it must not {attack.must_not}"]
    return []


# The text comes in two halves, so that no copy which the scan makes of its own memory holds the whole of it.
SCAN = """
import ctypes, os
def scan(first, second, planted):
    kept = (first + second) * 3 if planted else None
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    read, write = os.pipe()
    found = 0
    for base in (id(object()), libc.malloc(64), id(os.path)):
        start = base & ~0xfff
        for page in range(start - (24 << 20), start + (24 << 20), 4096):
            if libc.write(write, ctypes.c_void_p(page), 4096) > 0:
                data = os.read(read, 4096)
                at = data.find(first)
                while at >= 0 and not data.startswith(second, at + len(first)):
                    at = data.find(first, at + 1)
                found += at >= 0
    return found
"""


def residue(backend: Backend, text: str) -> tuple[int, int]:
    """Pages of a new program's memory that hold ``text``: once planted there for control, and once not."""
    first, second = text.encode()[:16], text.encode()[16:]
    case = [Case(str(planted), "call", call=f"scan({first}, {second}, {planted})") for planted in (True, False)]
    found = []
    for each in case:
        (run,) = backend.sandbox.run(Program(SCAN, (each,)), _CALM)
        assert run.outcome is Outcome.OK, run
        found.append(values.decode(run.value or b""))
    planted, left = found
    assert isinstance(planted, int)
    assert isinstance(left, int)
    return planted, left
