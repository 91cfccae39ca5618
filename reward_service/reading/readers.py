"""Ask the processes that parse what models wrote; as many as there are cores, started when they are needed."""

from __future__ import annotations

import atexit
import json
import os
from functools import cache
from typing import Any

from reward_service.reading import reader
from reward_service.reading.pool import ReaderPool


def ask(question: str, *arguments: object) -> Any:
    """Return the answer to one of ``reader.QUESTIONS`` about a text, as JSON has it.

    None for a text that cannot be read, or not within its budget. Raises StuckError, and OSError where no process
    can be started.
    """
    return ask_json(question, json.dumps(arguments))


def ask_json(question: str, arguments: str) -> Any:
    """As :func:`ask`, with the list of the arguments as JSON of ASCII."""
    asked = f"[{json.dumps(question)},{arguments}]"
    answer = _readers(os.getpid()).ask(asked.encode("ascii"))
    return None if answer is None else json.loads(answer[0])


@cache
def _readers(pid: int) -> ReaderPool:
    """Return those of this process: a fork must not speak on its parent's connections."""
    readers = ReaderPool(reader.__name__, len(os.sched_getaffinity(pid)))
    atexit.register(readers.close)
    return readers
