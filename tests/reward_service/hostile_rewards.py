"""Reward functions that go wrong in every way, and some that go well."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from common.records import Task
from reward_service.user_rewards import Completion, UnknownRewardError

seen: list[str] = []
hoard: list[bytes] = []
NUMBERS: dict[str, Any] = {
    "float32": np.float32(0.5),
    "bool": True,
    "numpy bool": np.bool_(True),
    "array": np.array(2),
}


def obedient(task: Task, completion: Completion) -> Any:
    """Do what the text says; return how many completions this process has seen."""
    seen.append(completion.text)
    match completion.text:
        case "sleep":
            time.sleep(1e6)
        case "crash":
            ctypes.string_at(0)
        case "raise":
            raise KeyError("judge")
        case "print":
            os.system("echo said by a child")
        case "alarm":
            signal.signal(signal.SIGALRM, lambda *_: None)  # which only a main thread may
        case "unknown":
            raise UnknownRewardError("the judge is down")
        case "leak":
            hoard.append(os.urandom(64 << 20))
        case "fork and exit":
            subprocess.Popen(["sleep", "600"], close_fds=False)
            os._exit(4)
        case text if text in NUMBERS:
            return NUMBERS[text]
    return len(seen)


def process_id(task: Task, completion: Completion) -> int:
    time.sleep(0.1)
    return os.getpid()


def all_processes(task: Task, completions: Sequence[Completion]) -> list[int]:
    time.sleep(0.2)
    return [os.getpid()] * len(completions)


async def holds_the_loop(task: Task, completion: Completion) -> float:
    await asyncio.sleep(0)
    if completion.text == "hold":
        time.sleep(1e6)
    return 1.0
