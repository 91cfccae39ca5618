"""One evaluation round: held-out tasks, completed by the current weights and scored by their tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.records import TrajectoryGroup


@dataclass(frozen=True)
class Evaluation:
    """Pass rates of a round. ``by_family``: family -> (completions that pass all tests, completions)."""

    version: int
    pass_rate: float
    by_family: dict[str, tuple[int, int]]
    programs: tuple[dict[str, Any], ...]

    def as_record(self) -> dict[str, Any]:
        """One line of evaluations.jsonl."""
        return {
            "step": self.version,
            "pass_rate": self.pass_rate,
            "tasks": len(self.programs),
            "by_family": self.by_family,
            "programs": self.programs,
        }


def evaluate(version: int, groups: Sequence[TrajectoryGroup]) -> Evaluation:
    """Sum up the groups of a round: a completion passes if it passes all tests; excluded ones are not counted.

    The pass rate is the mean over completions: pass@1, over as many samples per task as were drawn.
    """
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    programs = []
    for group in sorted(groups, key=lambda g: g.prompt.index):
        task = group.prompt.task
        scored = [(i, score) for i, score in enumerate(group.scores) if not score.excluded]
        for _, score in scored:
            total[task.family] += 1
            passed[task.family] += score.passed
        if scored and group.rollouts is not None:
            first, score = scored[0]
            programs.append(
                {
                    "task_id": task.id,
                    "family": task.family,
                    "prompt": task.prompt,
                    "completion": group.rollouts.rollouts[first].text,
                    "passed": score.passed,
                }
            )
    count = sum(total.values())
    return Evaluation(
        version=version,
        pass_rate=sum(passed.values()) / count if count else 0.0,
        by_family={family: (passed[family], total[family]) for family in sorted(total)},
        programs=tuple(programs),
    )
