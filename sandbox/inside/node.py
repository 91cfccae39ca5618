"""JavaScript: the interpreter that a child turns into, and the walls that let it do that and nothing else.

A program in Python is run by the fork itself; one in JavaScript needs another program, so its walls have one gap:
the system call that executes a file, of the one descriptor that holds Node. Node then runs as the same user, in
the same namespaces, within the same limits and system calls.
"""

from __future__ import annotations

import json
import os
import re

from sandbox.inside import kernel, protocol, reports

PROGRAM_FD = 4  # behind the standard streams and the result pipe
SOURCE = "solution.js"
_COLLECTING = "couplet_files.cjs"
#: Where it is in the image of a container, if it is.
OF_AN_IMAGE = ("/usr/local/bin/node", "/usr/bin/node")
_HEAD = 4096
_LOADER = re.compile(rb"/[\w./-]*/ld-[\w.-]+\.so\.\d+")
# What it takes beside a program's memory: code, stacks of its threads, and the heap of the young.
OWN_BYTES = 384 << 20
# Writes one result as reports.report does, with a value of sandbox.inside.values: a list of bytes and null.
_REPORT = """([names, maxBytes], files, failed, pipe) => {
    const {closeSync, openSync, readSync, writeSync} = require('fs');
    const content = name => {
        let file;
        try { file = openSync(name, 'r'); } catch { return null; }
        try {
            const parts = [];
            for (let size = 0, more = 1; more && size <= maxBytes; size += more) {
                const part = Buffer.alloc(65536);
                more = readSync(file, part);
                parts.push(part.subarray(0, more));
            }
            return ['b', Buffer.concat(parts).toString('hex')];
        } catch { return null; } finally { closeSync(file); }
    };
    process.on('exit', () => {
        let body = files + JSON.stringify(['l', ...names.map(content)]);
        if (body.length > maxBytes) body = failed + 'the files are too large';
        const frame = Buffer.alloc(4 + body.length);
        frame.writeUInt32LE(body.length);
        frame.write(body, 4, 'latin1');
        for (let sent = 0; sent < frame.length;) sent += writeSync(pipe, frame, sent);
    });
}"""


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


def collecting(names: list[str], folder: str, max_bytes: int) -> str:
    """Return what, run before a program, reports the contents of its files when it ends; empty for no files.

    As of a program in Python, that is what the program claims to have written.
    """
    if not names:
        return ""
    given = json.dumps([[os.path.join(folder, name) for name in names], max_bytes])
    tags = f"{protocol.FILES.decode()!r}, {protocol.FAILED.decode()!r}, {reports.RESULT_FD}"
    return f"({_REPORT})({given}, {tags});\n"


def become(source: str, folder: str, heap_mb: int, before: str) -> None:
    """Turn this process into Node, which runs the source from a file in ``folder``. Raises OSError.

    What is to be run ``before`` has a file of its own.
    """
    _save(folder, SOURCE, source)
    first = []
    if before:
        _save(folder, _COLLECTING, before)
        first = ["--require", os.path.join(folder, _COLLECTING)]
    os.set_inheritable(PROGRAM_FD, False)
    # As for Python: a verdict should not depend on luck.
    arguments = ["node", f"--max-old-space-size={heap_mb}", "--random-seed=1", *first, SOURCE]
    environment = {"HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", "UV_THREADPOOL_SIZE": "1"}
    environment["OPENSSL_CONF"] = os.devnull  # where the machine's may not be read, Node would not start
    os.execve(PROGRAM_FD, arguments, environment)


def _save(folder: str, name: str, text: str) -> None:
    with open(os.path.join(folder, name), "w", encoding="utf-8", errors="replace") as file:
        file.write(text)
