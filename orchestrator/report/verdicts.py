"""Compare the verdicts of two evaluations on held-out tasks, and say how likely the change is by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.report.text import clean

Evaluation = Mapping[str, Any]


def programs_by_task(evaluation: Evaluation) -> dict[str, Mapping[str, Any]]:
    """Return the program kept of each task of a record of evaluations.jsonl, by task id."""
    first: dict[str, Mapping[str, Any]] = {}
    for record in evaluation.get("programs") or []:
        if isinstance(record, Mapping):
            first.setdefault(str(record.get("task_id")), record)
    return first


def changed(
    before: Evaluation, after: Evaluation, *, passes: bool
) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return programs (before, after) of tasks whose verdict became ``passes``; families take turns."""
    old, new = programs_by_task(before), programs_by_task(after)
    by_family: dict[str, list[str]] = {}
    for task in sorted(old.keys() & new.keys()):
        if bool(old[task].get("passed")) is not passes and bool(new[task].get("passed")) is passes:
            by_family.setdefault(str(old[task].get("family", "")), []).append(task)
    turns = sorted((turn, name, t) for name, tasks in by_family.items() for turn, t in enumerate(tasks))
    return [(old[task], new[task]) for _, _, task in turns]


def families(before: Evaluation, after: Evaluation) -> list[tuple[str, int, float, float | None]]:
    """Return (name, tasks, share passed before, share passed after) of every family, the largest first."""
    old, new = before.get("by_family") or {}, after.get("by_family") or {}
    rows = []
    for name, (passed, total) in old.items():
        later = new.get(name)
        share = later[0] / later[1] if later and later[1] else None
        if total:
            rows.append((clean(name) or "(no family)", int(total), passed / total, share))
    return sorted(rows, key=lambda row: (-row[1], row[0]))


def interval(share: float, total: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of ``total`` tasks (Wilson 1927)."""
    z, n = 1.96, max(total, 1.0)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def is_complete(evaluation: Evaluation) -> bool:
    """Return whether a program of every task is kept, so that tasks can be counted by their programs."""
    tasks = evaluation.get("tasks")
    return bool(tasks) and len(programs_by_task(evaluation)) == tasks


def chance(gained: int, lost: int) -> float:
    """Return the p-value of a two-sided sign test on the changed tasks: gained against lost."""
    changes, fewer = gained + lost, min(gained, lost)
    ways = sum(math.comb(changes, i) for i in range(fewer + 1))
    return min(1.0, float(2 * ways / 2**changes))
