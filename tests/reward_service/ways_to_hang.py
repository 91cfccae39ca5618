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
}

#: Where: a program whose body of ``f`` never gives the right answer.
PLACES = {
    "at import": "{deed}\ndef f(x): return None\n",
    "in every call": "def f(x):\n{indented}\n    return None\n",
    "after its answer": "import atexit\ndef deed():\n{indented}\natexit.register(deed)\ndef f(x):\n    deed()\n",
}


def ways(part: int) -> dict[str, str]:
    """Every deed at one of the places, by name; the ``part`` 0 to 2 chooses which, so that all three are all."""
    places = list(PLACES.items())
    chosen = {}
    for number, (what, deed) in enumerate(DEEDS.items()):
        where, place = places[(number + part) % len(places)]
        chosen[f"{what} {where}"] = place.format(deed=deed, indented=textwrap.indent(deed, "    "))
    return chosen
