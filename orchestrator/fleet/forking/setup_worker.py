"""What a local Ray runs to start a worker: has the fork server fork it, or becomes Python that imports everything.

Its place in Ray is that of ``ray/_private/workers/setup_worker.py``, by whose name Ray knows it: it is given the
context of the worker's runtime environment, and the command line of the worker. It imports no more than it needs,
Ray and our rooms least of all.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The folder with the fork server's socket.
SERVER_VARIABLE = "COUPLET_FORK_SERVER"
#: common.actors.ACTOR_VARIABLE: actors of ours alone are forked.
_ACTOR_VARIABLE = "COUPLET_ACTOR"
_CONTEXT, _LANGUAGE = "--serialized-runtime-env-context", "--language"
#: The server answers once it has imported everything, on a busy machine perhaps for long. Ray waits for a minute.
_ANSWER_SECONDS = 45.0


def main() -> None:
    """Start the worker of the command line, and stay for as long as it lives."""
    command = [argument for argument in sys.argv[1:] if not argument.startswith((_CONTEXT, _LANGUAGE))]
    given = next((argument for argument in sys.argv if argument.startswith(f"{_CONTEXT}=")), "")
    context = json.loads(given.partition("=")[2] or "{}")
    variables = context.pop("env_vars", {})
    usual = {"py_executable": sys.executable}
    # Whatever else a runtime environment may ask for is Ray's business.
    if {key: value for key, value in context.items() if value} != usual or "$" in "".join(variables.values()):
        os.execv(sys.executable, [sys.executable, _of_ray(command), *sys.argv[1:]])
    os.environ.update(variables)
    server = os.environ.pop(SERVER_VARIABLE, None)
    # Flags of the interpreter, if any, come first.
    to_fork = server is not None and _ACTOR_VARIABLE in os.environ and command[0].endswith(".py")
    if not (to_fork and _forked(str(server), command)):
        os.execv(sys.executable, [sys.executable, *command])


@contextmanager
def socket_in(folder: str) -> Iterator[str]:
    """Give a path to the socket in a folder; a socket's own path may have no more than 107 bytes."""
    descriptor = os.open(folder, os.O_PATH)
    try:
        yield f"/proc/self/fd/{descriptor}/fork"
    finally:
        os.close(descriptor)


def _of_ray(command: list[str]) -> str:
    """Return the path of Ray's own script, beside that of its workers."""
    worker = next(argument for argument in command if argument.endswith(".py"))
    return str(Path(worker).with_name("setup_worker.py"))


def _forked(server: str, command: list[str]) -> bool:
    """Have the worker forked, and wait until it has ended; False where the server does not do it."""
    request = {
        "command": command,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "oom_score": Path("/proc/self/oom_score_adj").read_text(),
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_SECONDS)
        try:
            with socket_in(server) as path:
                connection.connect(path)
            if not connection.recv(1):  # what it has to import, it has imported, but for Ray
                return False
            message = json.dumps(request).encode()
            sent = socket.send_fds(connection, [message], [0, 1, 2])
            connection.sendall(message[sent:])
            connection.shutdown(socket.SHUT_WR)
            worker = connection.recv(16).decode()
        except OSError:
            return False
        if not worker:
            return False
        Path("/proc/self/comm").write_text(f"for {worker}")  # see process.forked_for
        connection.settimeout(None)
        connection.recv(1)  # the worker holds the other end for as long as it lives
    return True


if __name__ == "__main__":
    main()
