"""Draw distinct synthetic tasks and split them into training and held-out tasks."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

from common.records import Task
from learner.warm_start.synthetic import arithmetic, lists, strings
from learner.warm_start.synthetic.blueprint import Blueprint, weighted_order
from learner.warm_start.synthetic.selection import behaviour, choose_tests

_ARITHMETIC_SHARE = 0.20
_STRINGS_SHARE = 0.10


@dataclass(frozen=True)
class SyntheticTask:
    """A task and the completions that systematic misconceptions of its constructs lead to.

    ``misconceptions`` is empty where nobody errs systematically; the last one commits all of them at once.
    ``other_phrasing`` is the prompt this task would have had in the other phrasing.
    """

    task: Task
    misconceptions: tuple[str, ...]
    other_phrasing: str

    @property
    def reference(self) -> str:
        """The right completion."""
        if self.task.reference is None:
            raise ValueError(f"task {self.task.id} has no reference")
        return self.task.reference


@dataclass(frozen=True)
class SyntheticTasks:
    """No two tasks, in whatever split, share a text in any phrasing or behave alike."""

    train: tuple[SyntheticTask, ...]
    held_out: tuple[SyntheticTask, ...]


def generate(seed: int, train: int, held_out: int) -> SyntheticTasks:
    """Generate ``train`` and ``held_out`` tasks; the same arguments give the same tasks.

    Both splits hold about 70 % list, 20 % arithmetic and 10 % string tasks, in random order. Raises
    ValueError if there are not that many distinct tasks or a count is negative.
    """
    if train < 0 or held_out < 0:
        raise ValueError(f"train and held_out must not be negative, got {train} and {held_out}")
    rng = random.Random(seed)
    total = train + held_out
    splits: tuple[list[SyntheticTask], list[SyntheticTask]] = ([], [])
    pools = {
        "string": strings.blueprints(),
        "arithmetic": arithmetic.blueprints(),
        "list": lists.blueprints(),
    }
    train_counts, held_counts = _counts(train), _counts(held_out)
    for name, pool in pools.items():
        drawn = _draw(name, pool, train_counts[name] + held_counts[name], total, rng)
        # The draw puts heavy blueprints first; without this the splits would differ in kind.
        rng.shuffle(drawn)
        splits[0].extend(drawn[: train_counts[name]])
        splits[1].extend(drawn[train_counts[name] :])
    for split in splits:
        rng.shuffle(split)
    return SyntheticTasks(train=tuple(splits[0]), held_out=tuple(splits[1]))


def _counts(total: int) -> dict[str, int]:
    arithmetics, texts = round(_ARITHMETIC_SHARE * total), round(_STRINGS_SHARE * total)
    return {"list": total - arithmetics - texts, "arithmetic": arithmetics, "string": texts}


def _draw(name: str, pool: list[Blueprint], count: int, total: int, rng: random.Random) -> list[SyntheticTask]:
    """The first ``count`` distinct tasks of a weighted random order of the pool."""
    drawn: list[SyntheticTask] = []
    texts: set[str] = set()
    behaviours: set[tuple[str, ...]] = set()
    for blueprint in weighted_order(pool, [b.weight for b in pool], rng):
        if len(drawn) == count:
            return drawn
        behaves = behaviour(blueprint)
        if behaves in behaviours or not texts.isdisjoint(blueprint.phrasings):
            continue
        task = _task(blueprint, rng)
        if task is not None:
            drawn.append(task)
            texts.update(blueprint.phrasings)
            behaviours.add(behaves)
    if len(drawn) < count:
        raise ValueError(
            f"{total} tasks need {count} distinct {name} tasks, but only {len(drawn)} exist; ask for fewer"
        )
    return drawn


def _task(blueprint: Blueprint, rng: random.Random) -> SyntheticTask | None:
    tests = choose_tests(blueprint, rng)
    if tests is None:
        return None
    prompts = [f"# {text}\ndef f({blueprint.parameters}):\n" for text in blueprint.phrasings]
    rng.shuffle(prompts)
    prompt, other = prompts
    task = Task(
        id="synthetic-" + hashlib.sha256(prompt.encode()).hexdigest()[:12],
        family=blueprint.family,
        prompt=prompt,
        prefix=prompt,
        completion="continuation",
        entry_point="f",
        tests=tests,
        reference=_completion(blueprint.expression),
    )
    return SyntheticTask(task, tuple(map(_completion, blueprint.wrong)), other)


def _completion(expression: str) -> str:
    return f"    return {expression}\n"
