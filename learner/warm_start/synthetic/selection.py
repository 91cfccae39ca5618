"""Choose the tests of a task so that they tell the right program from its wrong relatives."""

from __future__ import annotations

import random
from collections.abc import Sequence

from common.records import TestCase
from learner.warm_start.synthetic.blueprint import ALWAYS_TESTED, Arguments, Blueprint
from learner.warm_start.synthetic.trusted import load_function, outcome

TESTS_PER_TASK = 8


def outcomes(parameters: str, expression: str, inputs: Sequence[Arguments]) -> tuple[str, ...]:
    function = load_function(f"def f({parameters}):\n    return {expression}\n")
    return tuple(outcome(function, arguments) for arguments in inputs)


def behaviour(blueprint: Blueprint) -> tuple[str, ...]:
    """What the task's reference does on the probes of its pool; equal for tasks that mean the same."""
    return outcomes(blueprint.parameters, blueprint.expression, blueprint.probes)


def choose_tests(blueprint: Blueprint, rng: random.Random) -> tuple[TestCase, ...] | None:
    """Eight distinct tests that every ``wrong`` and ``near`` expression fails at least one of.

    None if the drawn inputs offer no such tests, or only tests with one and the same answer.
    """
    inputs = blueprint.inputs(rng)
    expected = outcomes(blueprint.parameters, blueprint.expression, inputs)
    chosen: dict[str, int] = {}
    for i in range(ALWAYS_TESTED):
        chosen.setdefault(_call(inputs[i]), i)
    for expression in (*blueprint.wrong, *blueprint.near):
        got = outcomes(blueprint.parameters, expression, inputs)
        telling = [i for i in range(len(inputs)) if got[i] != expected[i]]
        if not telling:
            return None
        if not any(i in telling for i in chosen.values()):
            i = rng.choice(telling)
            chosen.setdefault(_call(inputs[i]), i)
    for i in range(ALWAYS_TESTED, len(inputs)):
        if len(chosen) == TESTS_PER_TASK:
            break
        chosen.setdefault(_call(inputs[i]), i)
    if len(chosen) < TESTS_PER_TASK or len({expected[i] for i in chosen.values()}) < 2:
        return None
    return tuple(TestCase(call=call, expected=expected[i]) for call, i in chosen.items())


def _call(arguments: Arguments) -> str:
    return f"f({', '.join(map(repr, arguments))})"
