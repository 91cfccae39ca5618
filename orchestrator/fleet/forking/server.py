"""The fork server: a process that imports what actors need, and forks one whenever ``setup_worker.py`` asks.

Run with the number of a listening socket and, in JSON, the driver's ``sys.path`` and the names of modules: those
to import at once, and those that import Ray. Ray reads its settings when it is imported, and they come with the
first request.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

_REQUEST_SECONDS = 10.0
_FOLDER = str(Path(__file__).parent)


def main() -> None:
    """Serve until killed; return in the forks, once they have been the workers that were asked for."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    driver_path, early, late = map(json.loads, sys.argv[2:])
    own_path = [folder for folder in sys.path if folder != _FOLDER]
    sys.path[:] = driver_path
    gc.disable()  # what is imported stays
    _import(early)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
    while True:
        connection, _ = listener.accept()
        with connection:
            request, streams = _receive(connection)
            if request is None:
                continue
            _take_settings(request["environment"])
            _import(late)
            if _fork(connection, streams):
                continue
            listener.close()
            _become(request, own_path)
            # For as long as the worker lives ``setup_worker.py`` waits at the other end of the connection.
            runpy.run_path(sys.argv[0], run_name="__main__")
            return


def _import(modules: Iterable[str]) -> None:
    """Import modules, and of ``module:attribute`` what a package imports only when it is asked for it.

    Exits where this has started threads, which forks would not have.
    """
    for name in modules:
        module, _, attribute = name.partition(":")
        getattr(import_module(module), attribute or "__name__")
    gc.freeze()
    if len(os.listdir("/proc/self/task")) > 1:
        sys.exit("not to be forked: something that was imported has started a thread")


def _receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Offer to fork; return what is asked for with the worker's streams, None where nobody waits any more."""
    connection.settimeout(_REQUEST_SECONDS)
    try:
        connection.sendall(b"?")
        message, streams, *_ = socket.recv_fds(connection, 1 << 16, 3)
        while part := connection.recv(1 << 16):
            message += part
        return json.loads(message), streams
    except (OSError, ValueError):  # nothing has come, or a part of it
        return None, []


def _take_settings(environment: Mapping[str, str]) -> None:
    """Take Ray's settings over from a request."""
    os.environ.update({name: value for name, value in environment.items() if name.startswith("RAY_")})


def _fork(connection: socket.socket, streams: Sequence[int]) -> int:
    """Fork, unless nobody waits for it any more; return the worker's id in the server and 0 in the worker."""
    poll = select.poll()
    poll.register(connection, 0)
    gone = bool(poll.poll(0))
    worker = -1 if gone else os.fork()
    if not worker:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    if worker > 0:
        try:
            connection.sendall(str(worker).encode())
        except OSError:
            os.kill(worker, signal.SIGKILL)
    return worker


def _become(request: Mapping[str, Any], path: Sequence[str]) -> None:
    """Make this fork what Python would be that was started with the request's command line."""
    os.setpgid(0, 0)  # when a worker dies, Ray ends its process group
    Path("/proc/self/oom_score_adj").write_text(request["oom_score"])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = request["command"]
    sys.path[:] = [str(Path(sys.argv[0]).parent), *path]
    numpy = sys.modules.get("numpy")
    if numpy is not None:  # of its global generator, forks would draw the same; Python seeds its own
        numpy.random.seed()
    gc.enable()


if __name__ == "__main__":
    main()
