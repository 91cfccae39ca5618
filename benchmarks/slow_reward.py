"""A reward function that takes its time for a few tasks, to see what one slow group costs all others."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from hashlib import blake2b

from common.records import Task
from reward_service.user_rewards import Completion

#: Environment variable with the seconds that a slow group takes, and after a comma how many groups have one.
SLOW = "COUPLET_BENCH_SLOW_GROUPS"


def slow(task: Task, completions: Sequence[Completion]) -> list[float]:
    """Return 0 for each completion: at once, or after a while for the tasks that a hash of their names chooses."""
    seconds, every = os.environ[SLOW].split(",")
    if is_slow(task.id, int(every)):
        time.sleep(float(seconds))
    return [0.0] * len(completions)


def is_slow(task: str, every: int) -> bool:
    """Choose one in ``every`` tasks by a hash of its id."""
    return int.from_bytes(blake2b(task.encode(), digest_size=8).digest()) % every == 0
