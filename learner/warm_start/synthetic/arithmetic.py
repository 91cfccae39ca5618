"""Arithmetic on two arguments: each is shifted or scaled, then the two are combined."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from learner.warm_start.synthetic.blueprint import Arguments, Blueprint, systematic

_REACH = 12
_PROBES: tuple[Arguments, ...] = tuple(
    (a, b) for a in range(-30, 31, 3) for b in (-23, -9, -2, 0, 1, 5, 8, 14, 31)
)


@dataclass(frozen=True)
class _Combination:
    """Texts and codes take the two terms as {a} and {b}; ``tight``: that term needs brackets round a sum."""

    first: str
    second: str
    code: str
    rival: str | None
    systematic: bool
    tight: tuple[bool, bool] = (False, False)


_COMBINATIONS = (
    _Combination(
        "Return the larger of {a} and {b}.",
        "Of {a} and {b}, return the larger.",
        "max({a}, {b})",
        "min({a}, {b})",
        True,
    ),
    _Combination(
        "Return the smaller of {a} and {b}.",
        "Of {a} and {b}, return the smaller.",
        "min({a}, {b})",
        "max({a}, {b})",
        False,
    ),
    _Combination(
        "Return whether {a} is greater than {b}.", "Is {a} greater than {b}?", "{a} > {b}", "{a} >= {b}", True
    ),
    _Combination(
        "Return whether {a} is less than {b}.", "Is {a} less than {b}?", "{a} < {b}", "{a} <= {b}", False
    ),
    _Combination("Return the sum of {a} and {b}.", "Of {a} and {b}, return the sum.", "{a} + {b}", None, False),
    _Combination(
        "Return the difference of {a} and {b}.",
        "Of {a} and {b}, return the difference.",
        "{a} - {b}",
        None,
        False,
        (False, True),
    ),
    _Combination(
        "Return the product of {a} and {b}.",
        "Of {a} and {b}, return the product.",
        "{a} * {b}",
        None,
        False,
        (True, True),
    ),
)


def _divisibility(k: int) -> _Combination:
    asked = f"the sum of {{a}} and {{b}}{{is_}} divisible by {k}"
    return _Combination(
        f"Return whether {asked.replace('{is_}', ' is')}.",
        f"Is {asked.replace('{is_}', '')}?",
        f"({{a}} + {{b}}) % {k} == 0",
        f"({{a}} + {{b}}) // {k} == 0",
        True,
    )


def _terms(name: str) -> Iterator[tuple[str, str, bool]]:
    """Words, code, and whether the code is a sum."""
    yield name, name, False
    for k in range(1, 10):
        yield f"{name} plus {k}", f"{name} + {k}", True
        yield f"{name} minus {k}", f"{name} - {k}", True
        if k > 1:
            yield f"{name} times {k}", f"{name} * {k}", False


def _inputs(rng: random.Random) -> list[Arguments]:
    grid: list[Arguments] = [(a, b) for a in range(-_REACH, _REACH + 1) for b in range(-_REACH, _REACH + 1)]
    rng.shuffle(grid)
    tie = rng.randint(2, _REACH)
    return [
        (0, 0),
        (tie, tie),
        (-rng.randint(1, _REACH), rng.randint(1, _REACH)),
        (rng.randint(1, 9), 0),
        *grid,
    ]


def _blueprint(how: _Combination, a: tuple[str, str, bool], b: tuple[str, str, bool], weight: float) -> Blueprint:
    codes = {
        name: f"({code})" if is_sum and tight else code
        for name, (_, code, is_sum), tight in zip("ab", (a, b), how.tight, strict=True)
    }
    rivals = [] if how.rival is None else [(how.rival.format(**codes), how.systematic)]
    wrong, near = systematic(rivals, "")
    return Blueprint(
        family="arithmetic",
        parameters="a, b",
        phrasings=(how.first.format(a=a[0], b=b[0]), how.second.format(a=a[0], b=b[0])),
        expression=how.code.format(**codes),
        wrong=wrong,
        near=near,
        inputs=_inputs,
        probes=_PROBES,
        weight=weight,
    )


def blueprints() -> list[Blueprint]:
    """Every two-argument task. Each way to combine gets the same total weight."""
    tasks = []
    firsts, seconds = list(_terms("a")), list(_terms("b"))
    for how in _COMBINATIONS:
        weight = 1.0 / (len(firsts) * len(seconds))
        tasks += [_blueprint(how, a, b, weight) for a in firsts for b in seconds]
    for k in range(2, 10):
        # The second term stays plain: the completion would grow too long.
        tasks += [_blueprint(_divisibility(k), a, seconds[0], 1.0 / (8 * len(firsts))) for a in firsts]
    return tasks
