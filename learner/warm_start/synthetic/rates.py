"""How noisy a corpus is: which shares pass the tests, compile, and come from tasks with a misconception."""

from __future__ import annotations

import ast
import random
from collections.abc import Sequence
from dataclasses import dataclass

from learner.warm_start.synthetic.generator import SyntheticTask
from learner.warm_start.synthetic.noise import noisy_solution
from learner.warm_start.synthetic.trusted import load_function, outcome


@dataclass(frozen=True)
class CorpusRates:
    """Shares of ``samples`` drawn completions, each in [0, 1]; ``misconception`` is a share of the tasks."""

    samples: int
    passes: float
    compiles: float
    misconception: float


def passes(task: SyntheticTask, completion: str) -> bool:
    """Whether a completion written by this package passes the task's tests; run in this process.

    Raises SyntaxError where it does not compile.
    """
    function = load_function(task.task.prefix + completion)
    return all(
        outcome(function, ast.literal_eval(f"({test.call[2:-1]},)")) == test.expected for test in task.task.tests
    )


def corpus_rates(tasks: Sequence[SyntheticTask], rng: random.Random, draws: int = 1) -> CorpusRates:
    """Draw ``draws`` noisy solutions of every task and count. Raises ValueError without tasks or draws."""
    samples = len(tasks) * draws
    if samples < 1:
        raise ValueError("corpus rates need at least one task and one draw")
    passed = compiled = 0
    for task in tasks:
        for _ in range(draws):
            try:
                passed += passes(task, noisy_solution(task, rng))
            except SyntaxError:
                continue
            compiled += 1
    with_misconception = sum(bool(task.misconceptions) for task in tasks)
    return CorpusRates(samples, passed / samples, compiled / samples, with_misconception / len(tasks))
