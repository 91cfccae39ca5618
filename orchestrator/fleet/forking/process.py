"""The fork server as the driver starts it, and the workers that are forked from it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from common.processes import die_with_parent
from orchestrator.fleet.actor_environment import ACTOR_ENVIRONMENT
from orchestrator.fleet.failure_log import keep
from orchestrator.fleet.forking import setup_worker

#: Actors that may wait to be forked at a time; one more starts as Ray starts it.
_WAITING = 128


@contextmanager
def fork_server(libraries: Sequence[str], actors: Sequence[str]) -> Iterator[None]:
    """Have the actors of a local Ray that is started in the context forked from a process that has imported both.

    It imports ``libraries`` beside what this process does, and ``actors``, modules that import Ray, when the first
    actor is to be started. It has no GPUs: a process that has used one cannot be forked. An actor that it cannot
    fork, as where an import fails or starts a thread, imports everything itself, and the failure log says why.
    """
    # In a folder that no other user may enter.
    with (
        tempfile.TemporaryDirectory(prefix="couplet-") as folder,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        with setup_worker.socket_in(folder) as path:
            listener.bind(path)
        listener.listen(_WAITING)
        arguments = [str(listener.fileno()), *map(json.dumps, (sys.path, libraries, actors))]
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py")), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            # C libraries read theirs when they are loaded. Ray has an actor's OpenMP begin with one thread, too.
            env={"OMP_NUM_THREADS": "1", **os.environ, **ACTOR_ENVIRONMENT, "CUDA_VISIBLE_DEVICES": ""},
            pass_fds=[listener.fileno()],
            start_new_session=True,  # Ctrl-C is the driver's to answer
            preexec_fn=die_with_parent,
        )
        listener.close()
        os.environ[setup_worker.SERVER_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[setup_worker.SERVER_VARIABLE]
            ended = process.poll()
            process.kill()
            process.wait()
            if ended is not None:
                errors.seek(0)
                keep(f"actors were not forked, which takes longer: the server ended with {ended}\n{errors.read()}")


def forked_for(pid: int) -> int:
    """Return the worker that was forked for a process of ``setup_worker.py``; any other process for itself."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return pid
    found = re.fullmatch(r"for (\d+)\n", name)
    return int(found[1]) if found else pid
