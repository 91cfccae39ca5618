"""Refuse the tasks that ``couplet score`` refuses: a client may send what no file of tasks was read for."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from common.records import Task
from reward_service.reading import readers
from reward_service.task_json import task_json

_FIELDS = {
    *("test_setup", "exports", "in_process", "shown_tests"),
    *("reference", "completion", "suffix", "language"),
}
_REMEMBERED = 4096
_known: OrderedDict[bytes, str] = OrderedDict()
_lock = threading.Lock()


def problem_of(task: Task) -> str:
    """Say what is wrong with a task's tests, with the field and the remedy; empty where they can be run.

    Raises what :func:`reward_service.reading.readers.ask_json` does.
    """
    described = task_json(task, _FIELDS)
    digest = hashlib.sha256(described.encode("ascii")).digest()
    with _lock:
        known = _known.get(digest)
    if known is None:
        found = readers.ask_json("task_problem", f"[{described}]")
        known = "tests: cannot be read; make them smaller" if found is None else str(found)
        with _lock:
            _known[digest] = known
            while len(_known) > _REMEMBERED:
                _known.popitem(last=False)
    return f"task {task.id!r}, {known}" if known else ""
