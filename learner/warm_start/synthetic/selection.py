"""Choose the tests of a task so that they tell the right program from its wrong relatives."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from common.records import TestCase
from learner.warm_start.synthetic.blueprint import ALWAYS_TESTED, Arguments, Blueprint
from learner.warm_start.synthetic.trusted import load_function, outcome

TESTS_PER_TASK = 8


def outcomes(parameters: str, expression: str, inputs: Sequence[Arguments]) -> tuple[str, ...]:
    function = _function(parameters, expression)
    return tuple(outcome(function, arguments) for arguments in inputs)


def _function(parameters: str, expression: str) -> Callable[..., object]:
    return load_function(f"def f({parameters}):\n    return {expression}\n")


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
        function = _function(blueprint.parameters, expression)
        if any(outcome(function, inputs[i]) != expected[i] for i in chosen.values()):
            continue
        telling = [i for i, arguments in enumerate(inputs) if outcome(function, arguments) != expected[i]]
        if not telling:
            return None
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
