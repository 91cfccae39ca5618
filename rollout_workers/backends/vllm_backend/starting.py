"""The start of vLLM's processes: it has a deadline, can be stopped, and leaves nothing behind where it fails."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from multiprocessing import active_children
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from rollout_workers.backends.vllm_backend.environment import LOG
from rollout_workers.backends.vllm_backend.errors import VllmError
from rollout_workers.backends.vllm_backend.installation import VllmUnusableError
from rollout_workers.backends.vllm_backend.names import multiproc_executor
from rollout_workers.backends.vllm_backend.started_process import FOLDER, OUTPUT

Started = TypeVar("Started")

_LOOK_SECONDS = 0.1
#: vLLM is given this long to notice that its processes are gone.
_END_SECONDS = 15.0
_LINES_SHOWN = 5
#: Where vLLM puts its sockets, and how many characters the path of one may have.
_SOCKETS, _SOCKET_PATH = "VLLM_RPC_BASE_PATH", 107


def start(
    build: Callable[[], Started], folder: Path, seconds: float, check: Callable[[], None] = lambda: None
) -> Started:
    """Return what ``build`` returns, which starts processes of vLLM's; these keep their files in ``folder``.

    ``check`` is called several times a second, and may raise. Raises that, VllmError for a start that fails or
    takes more than ``seconds``, VllmUnusableError where there is no place for sockets, and ValueError for what
    vLLM does not accept; no process is left then.
    """
    ensure_running()  # what it starts, it starts by unblocking SIGINT
    before = set(active_children())
    started: Future[Started] = Future()
    end = time.monotonic() + seconds
    with _told_to_processes(folder), ExitStack() as failed:
        failed.callback(_end_processes, before, started)
        threading.Thread(target=_run, args=(build, started), daemon=True, name="vllm-start").start()
        while not wait([started], _LOOK_SECONDS).done:
            check()
            if time.monotonic() > end:
                raise VllmError(
                    f"vLLM was not ready within {seconds:g} s (deadlines.start_seconds); is the machine busy, or "
                    f"the memory of a GPU taken? {_last_words(folder)}"
                )
        try:
            built = started.result()
        except ValueError:
            raise
        except Exception as error:  # vLLM raises no other for what its processes met
            check()  # SIGTERM to all processes may be why
            raise VllmError(f"vLLM did not start: {error} {_last_words(folder)}") from error
        failed.pop_all()
    return built


def _run(build: Callable[[], Started], started: Future[Started]) -> None:
    """Build in a thread of its own, so that the main one can wait, and act upon signals."""
    # Ctrl-C reaches every process of the terminal; the parent decides what it means. A process inherits this mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        started.set_result(build())
    except BaseException as error:  # noqa: BLE001
        started.set_exception(error)


@contextmanager
def _told_to_processes(folder: Path) -> Iterator[None]:
    """Have the processes that are started meanwhile find their folder, with their sockets and where they meet."""
    longest = len(f"{folder}/{uuid4()}")
    if longest > _SOCKET_PATH:
        raise VllmUnusableError(
            f"the folder of temporary files, {folder.parent}, has a path that is too long for vLLM's sockets",
            "set TMPDIR to a shorter one",
        )
    usual = multiproc_executor.get_file_store_init_method
    multiproc_executor.get_file_store_init_method = lambda: f"file://{folder / folder.name}"
    os.environ |= {FOLDER: str(folder), _SOCKETS: str(folder)}
    try:
        yield
    finally:
        del os.environ[FOLDER], os.environ[_SOCKETS]
        multiproc_executor.get_file_store_init_method = usual


def _end_processes(before: set[BaseProcess], started: Future[Started]) -> None:
    """Kill what was started, until the thread that starts it has come to its end."""
    end = time.monotonic() + _END_SECONDS
    while time.monotonic() < end:
        for process in set(active_children()) - before:
            process.kill()
        if wait([started], _LOOK_SECONDS).done:
            return


def _last_words(folder: Path) -> str:
    """Say what the processes wrote last, or how to see what they write."""
    file = folder / OUTPUT
    lines = file.read_text(errors="replace").splitlines() if file.exists() else []
    if not lines:
        return f"(${LOG}=INFO shows what vLLM does)"
    return "\n".join(["Its processes wrote last:", *(f"  {line[:300]}" for line in lines[-_LINES_SHOWN:])])
