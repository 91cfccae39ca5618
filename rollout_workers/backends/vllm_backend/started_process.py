"""What each process that was started here for vLLM does first: it falls silent, and never outlives its parent.

Imports nothing of vLLM.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path

from rollout_workers.backends.vllm_backend.environment import shown_level

#: The folder of the start that a process belongs to, in its environment.
FOLDER = "COUPLET_VLLM_FOLDER"
#: The file in that folder with what the processes write to standard output and standard error.
OUTPUT = "output.log"
#: What vLLM calls the processes that hold the model, with their rank behind it.
_NAME = "VllmWorker-"


def settle_in() -> None:
    """Watch the parent and redirect the output of this process, if it holds a model and was started from here."""
    folder, parent = os.environ.get(FOLDER), multiprocessing.parent_process()
    if folder is None or parent is None or not multiprocessing.current_process().name.startswith(_NAME):
        return
    _end_with(parent, Path(folder))
    _redirect_output(Path(folder))


def _end_with(parent: BaseProcess, folder: Path) -> None:
    """End this process as soon as the one that started it is gone, and remove what that one leaves.

    vLLM's own watch begins late, and asks the process to end between two calls; one call may take minutes, and
    the GPU is needed.
    """

    def watch() -> None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _redirect_output(folder: Path) -> None:
    """Write to the folder, errors too, or where the log is shown to standard error; C++ code does so as well."""
    if shown_level() is None:
        log = logging.getLogger("vllm")
        log.setLevel(logging.ERROR)
        for handler in log.handlers:
            handler.setLevel(logging.ERROR)
        file = os.open(folder / OUTPUT, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(file, 2)
        os.close(file)
    os.dup2(2, 1)
