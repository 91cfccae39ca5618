"""Programs that hang, each beside an innocent one; ``python -m tests.reward_service.hang_trials`` tries all."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

import click

from common.records import Task, TestCase, Verdict
from reward_service.scoring import Scorer
from sandbox.jail.backend import JailSandbox
from sandbox.types import Limits
from tests.reward_service.ways_to_hang import SPENT, ways

_TESTS = 50
_LIMITS = Limits(cpu_s=0.2, wall_s=1.0, memory_mb=128, out_bytes=1 << 16, file_mb=4, files=256)
CALLS = Task(
    id="calls", prompt="", tests=tuple(TestCase(call=f"f({i})", expected=str(2 * i)) for i in range(_TESTS))
)
SCRIPTS = Task(
    id="scripts",
    prompt="",
    tests=tuple(TestCase(kind="script", script=f"assert f({i}) == {2 * i}") for i in range(_TESTS)),
    exports=("f",),
    reference="def f(x): return 2 * x\n",
)
STDIN = Task(
    id="stdin",
    prompt="",
    tests=tuple(TestCase(kind="stdin", stdin=f"{i}\n", expected=str(2 * i)) for i in range(20)),
)
TASKS = (CALLS, SCRIPTS, STDIN)


@dataclass(frozen=True)
class Trial:
    """By name: programs that were ``excluded`` or ``passed`` a test, and those whose neighbour did not pass."""

    excluded: list[str]
    passed: list[str]
    harmful: list[str]


def innocent(number: int) -> str:
    """Return a right program of all tasks, unlike any other."""
    return f"def f(x): return 2 * x\nif __name__ == '__main__': print({number} * 0 + f(int(input())))\n"


def tried(sandbox: JailSandbox, task: Task, hostile: Mapping[str, str]) -> Trial:
    """Score them in one group, each before an innocent one."""
    calls = "f(1)\n" if task is STDIN else ""
    pairs = {name: (source + calls, innocent(number)) for number, (name, source) in enumerate(hostile.items())}
    return _scored(sandbox, task, pairs)


def _scored(sandbox: JailSandbox, task: Task, pairs: Mapping[str, tuple[str, str]]) -> Trial:
    scorer = Scorer(sandbox, limits=_LIMITS, timeouts=1, program_s=0.4, deadline_s=600.0)
    scores = scorer.score_group(task, [text for pair in pairs.values() for text in pair])
    scorer.close()
    named = list(zip(pairs, scores[::2], scores[1::2], strict=True))
    return Trial(
        [name for name, bad, _ in named if bad.excluded],
        [name for name, bad, _ in named if Verdict.PASSED in bad.verdicts],
        [name for name, _, good in named if not good.passed],
    )


def spending(script: str) -> Task:
    """Make a task of tests that spend an answer."""
    right = "def f(x):\n    return 2 if callable(x) or hasattr(x, '__next__') else 2 * x if x == 1 else [2]\n"
    tests = (TestCase(kind="script", script=script),) * 20
    return Task(id="spends", prompt="", tests=tests, exports=("f",), reference=right)


def spent(sandbox: JailSandbox, names: Collection[str]) -> Trial:
    """Score a program whose answers make the tests hang, before a right one, for each of ``SPENT``."""
    trials = []
    for name in names:
        script, answer = SPENT[name]
        task = spending(script)
        right = task.reference or ""
        trials.append(_scored(sandbox, task, {name: (f"def f(x):\n    return {answer}\n", right)}))
    return Trial(*([name for trial in trials for name in getattr(trial, each.name)] for each in fields(Trial)))


def main() -> int:
    """Try every way against every kind of test; print a line for each, and what went wrong."""
    failed = 0
    with JailSandbox(2) as sandbox:
        trial = spent(sandbox, SPENT)
        wrong = [*trial.excluded, *trial.passed, *trial.harmful]
        failed += len(wrong)
        click.echo(
            "\n  ".join([f"spent: {len(SPENT)} tests that an answer makes hang, {len(wrong)} wrong", *wrong])
        )
        for task in TASKS:
            found = [tried(sandbox, task, ways(part)) for part in range(3)]
            wrong = [one for trial in found for one in (*trial.excluded, *trial.passed, *trial.harmful)]
            failed += len(wrong)
            count = sum(len(ways(part)) for part in range(3))
            click.echo("\n  ".join([f"{task.id}: {count} ways to hang, {len(wrong)} wrong", *wrong]))
    return failed


if __name__ == "__main__":
    sys.exit(main() > 0)
