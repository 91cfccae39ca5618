"""JavaScript: the interpreter that a child turns into, and the walls that let it do that and nothing else.

A program in Python is run by the fork itself; one in JavaScript needs another program, so its walls have one gap:
the system call that executes a file, of the one descriptor that holds Node. Node then runs as the same user, in
the same namespaces, within the same limits and system calls.
"""

from __future__ import annotations

import os
import re

from sandbox.inside import kernel

PROGRAM_FD = 4  # behind the standard streams and the result pipe
SOURCE = "solution.js"
#: Where it is in the image of a container, if it is.
OF_AN_IMAGE = ("/usr/local/bin/node", "/usr/bin/node")
_HEAD = 4096
_LOADER = re.compile(rb"/[\w./-]*/ld-[\w.-]+\.so\.\d+")
# What it takes beside a program's memory: code, stacks of its threads, and the heap of the young.
OWN_BYTES = 384 << 20


def opened(path: str) -> int:
    """Open the program for the children that will execute it; return the descriptor. Raises OSError."""
    return kernel.above_streams(os.open(path, os.O_PATH | os.O_CLOEXEC))


def executed(path: str) -> list[str]:
    """List the files that the kernel executes: the program, and the dynamic loader that it names at its beginning.

    Raises OSError.
    """
    with open(path, "rb") as file:
        loader = _LOADER.search(file.read(_HEAD))
    return [path, *([os.path.realpath(os.fsdecode(loader[0]))] if loader else [])]


def become(source: str, folder: str, heap_mb: int) -> None:
    """Turn this process into Node, which runs the source from a file in ``folder``. Raises OSError."""
    with open(os.path.join(folder, SOURCE), "w", encoding="utf-8", errors="replace") as file:
        file.write(source)
    os.set_inheritable(PROGRAM_FD, False)
    # As for Python: a verdict should not depend on luck.
    arguments = ["node", f"--max-old-space-size={heap_mb}", "--random-seed=1", SOURCE]
    environment = {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "UV_THREADPOOL_SIZE": "1"}
    environment["OPENSSL_CONF"] = os.devnull  # where the machine's may not be read, Node would not start
    os.execve(PROGRAM_FD, arguments, environment)
