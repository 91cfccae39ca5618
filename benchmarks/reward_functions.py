"""What it costs to call reward functions in a process of their own, beside calling them in the one that asks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from common.config import RewardFunctionConfig
from common.records import Task, TestCase, Verdict
from reward_service.isolation.reward import start_reward_functions
from reward_service.user_rewards import Completion, Reward, load_reward_functions

_TESTS = 8


def brevity(task: Task, completion: Completion) -> float:
    """Return a reward that costs next to nothing."""
    return 1.0 / (1 + len(completion.text))


@dataclass(frozen=True)
class Cost:
    """Microseconds that a group's rewards take, the median of all rounds: called here, and in another process."""

    group_size: int
    characters: int
    here_us: float
    process_us: float

    @property
    def extra_us(self) -> float:
        """What the process costs beyond the call, for a completion."""
        return (self.process_us - self.here_us) / self.group_size


def run(group_size: int, characters: int, rounds: int, advance: Callable[[], None]) -> Cost:
    """Time the rewards of a group, in turns; each round is of one group in both ways."""
    task = Task(
        id="t",
        prompt="x" * characters,
        tests=tuple(TestCase(call=f"f({number})", expected="0") for number in range(_TESTS)),
    )
    text = "y" * characters
    group = [Completion(text, text, (Verdict.PASSED,) * _TESTS, form=1.0) for _ in range(group_size)]
    setting = RewardFunctionConfig(path=f"{__name__}:brevity")
    (here,), (apart,) = load_reward_functions([setting]), start_reward_functions([setting], {})
    seconds: dict[str, list[float]] = {"here": [], "apart": []}
    with closing(apart):
        apart.values(task, group)
        for _ in range(rounds):
            seconds["here"].append(_timed(here, task, group))
            seconds["apart"].append(_timed(apart, task, group))
            advance()
    medians = {name: statistics.median(found) * 1e6 for name, found in seconds.items()}
    return Cost(group_size, characters, medians["here"], medians["apart"])


def view(cost: Cost) -> Table:
    """Show the cost of a group, and of a completion."""
    table = Table(title=f"a group of {cost.group_size} completions of {cost.characters} characters")
    table.add_column("a cheap reward function, called")
    for name in ("µs a group", "µs a completion"):
        table.add_column(name, justify="right")
    for name, spent in (
        ("in the process that asks", cost.here_us),
        ("in a process of its own", cost.process_us),
    ):
        table.add_row(name, f"{spent:.0f}", f"{spent / cost.group_size:.1f}")
    return table


def as_json(cost: Cost) -> dict[str, Any]:
    """Return the cost as plain data."""
    return {**asdict(cost), "extra_us": cost.extra_us}


def _timed(reward: Reward, task: Task, group: list[Completion]) -> float:
    began = time.perf_counter()
    reward.values(task, group)
    return time.perf_counter() - began
