"""Programs that try to be excluded instead of failing, or to have their neighbours excluded: made, not listed.

Each is something that costs time, memory, output or a process, done at some place of a program.
"""

from __future__ import annotations

import textwrap

#: What is done, as statements.
DEEDS = {
    "computes for ever": "while True: pass",
    "computes in C": "pow(7, 10 ** 9)",
    "sleeps": "import time\ntime.sleep(1000)",
    "waits for a lock": "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    "is slow every time": "import time\nend = time.process_time() + 0.15\nwhile time.process_time() < end: pass",
    "floods its output": "import os\nwhile True: os.write(1, b'x' * 65536)",
    "floods the result": "import os\nwhile True: os.write(3, b'\\xff' * 65536)",
    "forges large results": "import os\nwhile True: os.write(3, (1000000).to_bytes(4, 'little') + b'V' * 1000000)",
    "takes all memory": "kept = []\nwhile True: kept.append(bytearray(1 << 24))",
    "takes all descriptors": "import os\nwhile True: os.dup(0)",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)\nos.kill(1, 9)\nos.kill(-1, 9)",
    "stops everyone": "import os\nos.kill(-1, 19)\nos.kill(os.getpid(), 19)",
    "spins in threads": (
        "import threading\n"
        "def spin():\n    while True: pass\n"
        "for _ in range(40): threading.Thread(target=spin).start()\n"
        "spin()"
    ),
    "leaves deep folders": (
        "import os\nfor _ in range(3000):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\nwhile True: pass"
    ),
    "makes many files": "import os\nfor number in range(10 ** 7): open(str(number), 'w').close()",
    "locks its folder": "import os\nos.mkdir('a')\nos.chmod('a', 0)\nos.chmod('.', 0)\nos._exit(0)",
    "fills a pipe": "import os\nos.set_blocking(2, False)\nwhile True: os.write(2, b'x')",
    "closes everything": "import os\nos.closerange(0, 64)\nwhile True: pass",
    "is killed": "import os\nos.kill(os.getpid(), 11)\nos.abort()",
    "hangs in a finalizer": (
        "class Hangs:\n    def __del__(self):\n        while True: pass\n"
        "kept = Hangs()\nkept.itself = kept\ndel kept\nimport gc\ngc.collect()"
    ),
    "hangs as it is compared": (
        "class Hangs(int):\n    def __eq__(self, other):\n        while True: pass\n"
        "    __hash__ = __repr__ = __eq__\nHangs() in [0]"
    ),
    "answers with what hangs": (
        "class Hangs(list):\n    def __iter__(self):\n        while True: pass\n"
        "    __len__ = __repr__ = __reduce__ = __iter__\nsorted(Hangs([1]))"
    ),
    "outlives itself in a thread": (
        "import threading, time\ndef spin():\n    while True: time.sleep(0.01)\n"
        "one = threading.Thread(target=spin, daemon=False)\none.start()\none.join()"
    ),
    "handles every signal": (
        "import signal\ndef again(*given):\n    while True: pass\n"
        "for one in set(signal.Signals) - {9, 19}: signal.signal(one, again)\nsignal.raise_signal(14)"
    ),
    "is woken by a timer": (
        "import signal\nsignal.signal(14, lambda *given: None)\nsignal.setitimer(0, 0.001, 0.001)\n"
        "while True: signal.pause()"
    ),
    "reads its input for ever": "import sys\nwhile True: sys.stdin.read()",
    "reads what nobody writes": "import os\nreading, writing = os.pipe()\nos.read(reading, 1)",
    "stops itself": "import os\nwhile True: os.kill(os.getpid(), 19)",
    "stops its parent": "import os\nwhile True:\n    try: os.kill(os.getppid(), 19)\n    except OSError: pass",
    "leaves its session": (
        "import os\nwhile True:\n    try:\n        os.setsid()\n        os.fork()\n    except OSError: pass"
    ),
    "sleeps without descriptors": "import os, time\nos.closerange(0, 256)\ntime.sleep(1000)",
    "writes a little at a time": "import os, time\nwhile True:\n    os.write(1, b'x')\n    time.sleep(0.01)",
    "recurses longer each time": (
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef deeper(depth):\n"
        "    try: deeper(depth + 1)\n    except RecursionError: deeper(0)\ndeeper(0)"
    ),
    "sleeps a little each time": "import time\nfor _ in range(20): time.sleep(0.01)",
    "waits for itself": ("import socket\none, other = socket.socketpair()\nwhile True: one.send(b'x' * 65536)"),
    "matches for ever": "import re\nre.match('(a+)+$', 'a' * 64 + 'b')",
    "imports itself": "import sys, runpy\nwhile True: runpy.run_path(__file__)",
}

#: Where: a program whose body of ``f`` never gives the right answer.
PLACES = {
    "at import": "{deed}\ndef f(x): return None\n",
    "in every call": "def f(x):\n{indented}\n    return None\n",
    "after its answer": "import atexit\ndef deed():\n{indented}\natexit.register(deed)\ndef f(x):\n    deed()\n",
}


def ways(part: int) -> dict[str, str]:
    """Every deed at one of the places, by name; the ``part`` 0 to 2 chooses which, so that all three are all."""
    return {
        f"{what} {where}": place.format(deed=deed, indented=textwrap.indent(deed, "    "))
        for number, (what, deed) in enumerate(DEEDS.items())
        for where, place in (list(PLACES.items())[(number + part) % len(PLACES)],)
    }


def some_ways(part: int, share: int = 3) -> dict[str, str]:
    """One in ``share`` of :func:`ways`; another one in each part, so that the parts together have every deed."""
    return dict(list(ways(part).items())[part % share :: share])


#: Tests that spend an answer, in the process of the tests: what they are, and an answer that makes them hang.
SPENT = {
    "counts up to it": ("assert sum(range(f(1))) == 1", "10 ** 18"),
    "repeats by it": ("assert len('xy' * f(1)) == 4", "10 ** 11"),
    "sleeps for it": ("import time\ntime.sleep(f(1) - 2)\nassert f(1) == 2", "10 ** 6"),
    "raises to it": ("assert 7 ** f(1) == 49", "10 ** 9"),
    "shifts by it": ("assert 1 << f(1) == 4", "10 ** 12"),
    "formats by it": ("assert format(2, str(f(1))).strip() == '2'", "10 ** 9"),
    "matches by it": ("import re\nassert re.match(str(f(1)), '2' * 64 + '3')", "'(2+)+$'"),
    "goes through it": ("for x in f(range(1, 2)):\n    assert x == 2", "iter(lambda: 2, 3)"),
    "looks for something in it": ("assert 2 in list(f(range(1, 2)))", "iter(int, 1)"),
    "makes a set of it": ("assert set(f([1])) == {2}", "[k * (2 ** 61 - 1) for k in range(60_000)]"),
    "compares it at length": (
        "import unittest\nunittest.TestCase().assertEqual(str(f(1)), '2')",
        "''.join(f'{k * k % 7919}\\n' for k in range(20_000))",
    ),
    "hands it a function": ("assert f(lambda x: x) == 2", "[None for _ in iter(lambda: x(1), 2)]"),
    "hands it an iterator": ("import itertools\nassert f(itertools.count(1)) == 2", "sum(x)"),
}
