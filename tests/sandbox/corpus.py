"""Hostile and legitimate programs as data, and what each may and must do. Standard library only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandbox import values
from sandbox.types import Case, CaseRun, Limits, Outcome, Program

LIMITS = Limits(cpu_s=0.3, wall_s=1.5, memory_mb=256, out_bytes=1 << 16, file_mb=4, files=64)
CANARY = "couplet-canary-5f1e"

OK, ERROR, TIMEOUT = Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT
MEMORY, OUTPUT, CRASH = Outcome.MEMORY, Outcome.OUTPUT, Outcome.CRASH

PRELUDE = """
import os, sys, time, signal, socket, threading, json, ctypes
def tried(action, *args):
    try:
        return repr(action(*args))
    except BaseException as error:
        return 'refused'
"""


@dataclass(frozen=True)
class Attack:
    """``source`` defines ``attack()``; if it ends ok, ``returns`` (where given) is the only value allowed."""

    name: str
    source: str
    allowed: tuple[Outcome, ...]
    returns: object = None
    call: str = "attack()"


def _attack(name: str, body: str, *allowed: Outcome, returns: object = None) -> Attack:
    indented = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return Attack(name, f"{PRELUDE}\ndef attack():\n{indented}", allowed, returns)


def attacks(host_file: str, port: int) -> list[Attack]:
    """``host_file`` holds the canary and is world-readable; ``port`` is a listener on the host's loopback."""
    return [
        _attack("cpu loop", "while True: pass", TIMEOUT),
        Attack("cpu loop at import", "while True: pass", (TIMEOUT,)),
        _attack("sleep", "time.sleep(100)", TIMEOUT),
        _attack("loop in C", "return sum(range(10**12))", TIMEOUT),
        _attack(
            "ignores every signal",
            """
for number in range(1, 65):
    tried(signal.signal, number, signal.SIG_IGN)
while True:
    try:
        while True: pass
    except BaseException: pass
""",
            TIMEOUT,
        ),
        _attack("fork", "return tried(os.fork)", OK, returns="refused"),
        _attack("vfork", "return ctypes.CDLL(None).vfork()", OK, returns=-1),
        _attack(
            "subprocess",
            "import subprocess\nreturn tried(subprocess.run, ['/bin/sh'])",
            OK,
            returns="refused",
        ),
        _attack("exec", "return tried(os.execv, sys.executable, ['x'])", OK, returns="refused"),
        _attack(
            "thread bomb",
            """
started = 0
for _ in range(2000):
    try:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        started += 1
    except RuntimeError:
        break
return started < 100
""",
            OK,
            ERROR,
            MEMORY,
            TIMEOUT,
            CRASH,
            returns=True,
        ),
        _attack("memory", "return len(bytearray(10 << 30))", MEMORY),
        _attack("memory step by step", "kept = []\nwhile True: kept.append(bytearray(1 << 20))", MEMORY, TIMEOUT),
        Attack("memory at import", "x = 'a' * (1 << 40)", (MEMORY,)),
        _attack("fills the disk", "with open('f', 'wb') as f:\n    while True: f.write(bytes(1 << 20))", ERROR),
        _attack("memfd", "return tried(os.memfd_create, 'x')", OK, returns="refused"),
        _attack(
            "writes outside its folder",
            """
paths = ['/x', '/dev/x', '/etc/x', '/usr/x', '/usr/lib/x', '/proc/x', os.__file__, '/couplet/x']
return [p for p in paths if tried(open, p, 'w') != 'refused']
""",
            OK,
            returns=[],
        ),
        _attack("reads a host file", f"return open({host_file!r}).read()", ERROR),
        _attack("reads /etc/shadow", "return open('/etc/shadow').read()", ERROR),
        _attack(
            "reads an environment",
            f"""
processes = ('self', 1, 2, {os.getpid()}, os.getppid())
found = [tried(lambda: open(f'/proc/{{p}}/environ', 'rb').read()) for p in processes]
return str(found) + str(dict(os.environ))
""",
            OK,
            ERROR,
        ),
        _attack(
            "connects to the host",
            f"""
tried(socket.create_connection, ('127.0.0.1', {port}), 1)
a = tried(socket.socketpair, socket.AF_UNIX, socket.SOCK_DGRAM)
b = tried(socket.socket, socket.AF_UNIX)
return [a, b, tried(socket.socket, socket.AF_NETLINK)]
""",
            OK,
            returns=["refused"] * 3,
        ),
        _attack("sys.exit", "sys.exit(0)", ERROR),
        _attack("os._exit", "os._exit(0)", ERROR),
        Attack("sys.exit at import", "import sys\nsys.exit(0)", (ERROR,)),
        Attack("os._exit at import", "import os\nos._exit(0)", (ERROR,)),
        _attack("aborts", "os.abort()", CRASH),
        _attack("segfault", "ctypes.string_at(0)", CRASH),
        _attack(
            "kills everyone",
            "for pid in [-1, 0, 1, 2, 3, os.getppid(), *range(100, 400)]: tried(os.kill, pid, 9)\nreturn 1",
            OK,
            CRASH,
            ERROR,
            returns=1,
        ),
        _attack(
            "stops everyone",
            "tried(os.kill, -1, 19); tried(os.kill, os.getppid(), 19); return 1",
            OK,
            returns=1,
        ),
        _attack("floods stdout", "while True: sys.stdout.write('x' * 65536)", OUTPUT),
        _attack("floods stderr", "while True: os.write(2, b'x' * 65536)", OUTPUT),
        _attack("floods the result", "while True: os.write(3, b'\\x01\\0\\0\\0V')", OUTPUT, ERROR, OK),
        _attack(
            "huge frame",
            "os.write(3, b'\\xff\\xff\\xff\\xff')\nwhile True: os.write(3, b'x' * 65536)",
            OUTPUT,
        ),
        _attack(
            "answers on every descriptor",
            """
for fd in range(4096):
    try: os.write(fd, b'{"ok": true, "passed": true, "why": "exit"}\\n')
    except OSError: pass
os._exit(0)
""",
            ERROR,
            OUTPUT,
        ),
        _attack("closes every descriptor", "os.closerange(0, 4096)\nreturn 1", ERROR),
        _attack(
            "always equal",
            """
class Equal(int):
    def __eq__(self, other): return True
    def __hash__(self): return 0
return Equal(7)
""",
            OK,
            returns=7,
        ),
        _attack("foreign object", "return object()", ERROR),
        _attack(
            "deep recursion",
            "def f(): return f()\nsys.setrecursionlimit(10**9)\nreturn f()",
            CRASH,
            MEMORY,
            TIMEOUT,
        ),
        _attack("recursion error", "def f(): return f()\nreturn f()", ERROR),
        _attack("deep value", "x = []\nfor _ in range(100000): x = [x]\nreturn x", ERROR),
        _attack("cyclic value", "x = []\nx.append(x)\nreturn x", ERROR),
        _attack("huge value", "return 'x' * (1 << 20)", ERROR),
        _attack("wide value", "return list(range(1 << 20))", ERROR),
        _attack(
            "raises a hostile error",
            "class E(BaseException):\n    def __str__(self): os._exit(0)\nraise E",
            ERROR,
        ),
        _attack(
            "raises its limits",
            "import resource\nreturn tried(resource.setrlimit, 9, (-1, -1))",
            OK,
            returns="refused",
        ),
        _attack(
            "becomes root",
            "return tried(os.setresuid, 0, 0, 5), tried(os.chroot, '/')",
            OK,
            returns=("refused",) * 2,
        ),
        _attack("traces", "return ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0)", OK, returns=-1),
        _attack("mounts", "return ctypes.CDLL(None).umount2(b'/proc', 2)", OK, returns=-1),
        _attack("new namespaces", "return ctypes.CDLL(None).unshare(0x10000000)", OK, returns=-1),
        _attack("io_uring", "return ctypes.CDLL(None).syscall(425, 1, 0)", OK, returns=-1),
        _attack(
            "breaks the encoder",
            "import sandbox.values as v\nv._pack = lambda *a: ['nonsense', 1]\nreturn 1",
            OK,
            ERROR,
        ),
        _attack(
            "hides in /tmp",
            "os.makedirs('a/b')\nopen('a/b/c', 'w').write('x')\nos.chmod('a', 0)\nreturn 1",
            OK,
            returns=1,
        ),
        _attack("sees the file left before", "return os.listdir('.')", OK, returns=[]),
        Attack("does not parse", "def f(:", (ERROR,)),
        Attack("null bytes", "x = '\0'", (ERROR,)),
        Attack("nested brackets", "x = " + "(" * 5000, (ERROR, MEMORY)),
        Attack("lone surrogate", "x = '\ud800'", (ERROR,)),
        Attack("defines nothing", "pass", (ERROR,)),
    ]


def complaint(attack: Attack, run: CaseRun) -> str | None:
    """What is wrong with how an attack ended, or None."""
    if run.outcome not in attack.allowed:
        return f"{attack.name}: ended {run.outcome} ({run.note})"
    if CANARY.encode() in run.stdout + (run.value or b"") + run.note.encode("utf-8", "replace"):
        return f"{attack.name}: read the canary"
    if run.outcome is OK and attack.returns is not None and run.value is not None:
        value = values.decode(run.value)
        if value != attack.returns:
            return f"{attack.name}: returned {value!r}"
    return None


def program(attack: Attack) -> Program:
    return Program(attack.source, (Case("0", "call", call=attack.call),))


SCRIPTS = {
    "input": ("print(int(input()) + int(input()))", "1\n2\n", "3"),
    "sys.stdin": ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", "1 2 3", "6"),
    "readline twice": (
        "import sys\nr = sys.stdin.buffer.readline\nprint(r(), r())",
        "a\nb\n",
        "b'a\\n' b'b\\n'",
    ),
    "open(0)": ("print(open(0).read()[::-1])", "abc", "cba"),
    "main guard": ("def main(): print('yes')\nif __name__ == '__main__': main()", "", "yes"),
    "sys.exit(0)": ("import sys\nprint(1)\nsys.exit(0)", "", "1"),
    "unicode": ("print('é' + input())", "漢\n", "é漢"),
    "temporary file": (
        "import tempfile\nwith tempfile.TemporaryFile() as f:\n    f.write(b'x'); f.seek(0); print(f.read())",
        "",
        "b'x'",
    ),
    "threads": (
        "import threading as t\nr = []\nw = [t.Thread(target=r.append, args=(i,)) for i in range(5)]\n"
        "[x.start() for x in w]; [x.join() for x in w]\nprint(sorted(r))",
        "",
        "[0, 1, 2, 3, 4]",
    ),
    "big-stack recursion": (
        "import sys, threading\nsys.setrecursionlimit(50000)\nthreading.stack_size(64 << 20)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "t = threading.Thread(target=lambda: print(f(20000))); t.start(); t.join()",
        "",
        "20000",
    ),
    "asyncio": ("import asyncio\nasync def f(): await asyncio.sleep(0); print(5)\nasyncio.run(f())", "", "5"),
    "exit hook": ("import atexit\natexit.register(print, 'bye')\nprint('hi')", "", "hi\nbye"),
    "annotations": (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass P:\n    x: int\nprint(P(3))",
        "",
        "P(x=3)",
    ),
    "100 MB list": ("x = [0] * 12_000_000\nprint(len(x))", "", "12000000"),
    "late imports": (
        "import sqlite3, csv, html, uuid, zlib\nprint(sqlite3.connect(':memory:') is not None)",
        "",
        "True",
    ),
}


def write_canary(folder: Path) -> str:
    path = folder / "canary.txt"
    path.write_text(CANARY)
    path.chmod(0o644)
    return str(path)
