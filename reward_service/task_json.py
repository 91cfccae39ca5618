"""A task as JSON, made so that a task of very many tests holds nobody up."""

from __future__ import annotations

import json
from collections.abc import Collection

from common.records import Task


def task_json(task: Task, fields: Collection[str]) -> str:
    """Return some fields of a task, one at least, and all its tests, as JSON of ASCII.

    A test at a time: what encodes all at once holds the lock that the other threads, and the event loop, wait for.
    """
    own = json.dumps(task.model_dump(include=set(fields)))
    tests = ",".join(json.dumps(test.model_dump()) for test in task.tests)
    return f'{own[:-1]},"tests":[{tests}]}}'
