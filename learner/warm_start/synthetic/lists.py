"""List pipelines: filter the numbers of ``xs``, map them, reduce what is left."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from learner.warm_start.synthetic.blueprint import Arguments, Blueprint, systematic

_SPREAD = [7, -3, 12, 0, 25, 1, -8, 30, 4, 9, -1, 16, 2, 21, -12, 5, 10, 3, 18, 6, 8, 14, -5, 11, 27, 40]
# Single numbers show filter and map one by one, the long lists show the reduction.
_PROBES: tuple[Arguments, ...] = (([],), (_SPREAD,), (_SPREAD[::-1],), *(([x],) for x in range(-9, 22)))


@dataclass(frozen=True)
class _Filter:
    words: str
    code: str
    rival: str | None = None
    systematic: bool = False
    constant: int = 0
    family: str = ""
    weight: float = 1.0


@dataclass(frozen=True)
class _Reduction:
    words: str
    template: str
    family: str
    weight: float
    rival: str | None = None
    near: str | None = None


def _filters() -> Iterator[_Filter]:
    yield _Filter("", "")
    yield _Filter("even", "x % 2 == 0", constant=2)
    yield _Filter("odd", "x % 2 == 1", constant=2)
    for k in range(10):
        yield _Filter(f"greater than {k}", f"x > {k}", f"x >= {k}", True, k, "greater than", 1.2)
    for k in range(1, 6):
        yield _Filter(f"different from {k}", f"x != {k}", f"x == {k}", False, k)
    for k in range(1, 9):
        yield _Filter(f"less than {k}", f"x < {k}", f"x <= {k}", False, k)
    for k in range(2, 8):
        yield _Filter(f"at least {k}", f"x >= {k}", f"x > {k}", False, k)
        yield _Filter(f"at most {k}", f"x <= {k}", f"x < {k}", False, k)
    for k in range(2, 10):
        yield _Filter(f"divisible by {k}", f"x % {k} == 0", f"x // {k} == 0", True, k, "divisible")
    for k in range(2, 5):
        yield _Filter(f"not divisible by {k}", f"x % {k} != 0", f"x // {k} != 0", True, k, "divisible")


def _maps() -> Iterator[tuple[str, str]]:
    yield "", "x"
    yield "squared", "x * x"
    for k in range(1, 10):
        yield f"plus {k}", f"x + {k}"
        yield f"minus {k}", f"x - {k}"
        if k > 1:
            yield f"times {k}", f"x * {k}"


def _reductions() -> Iterator[_Reduction]:
    yield _Reduction("list", "{}", "plain list", 1.2)
    yield _Reduction("sum", "sum({})", "sum/count", 1.2)
    # A map does not change a count, so few counts are distinct; the weight keeps them from being too rare.
    yield _Reduction("count", "len({})", "sum/count", 8.0)
    yield _Reduction("largest", "max({}, default=0)", "largest/smallest", 0.42, "max({})")
    yield _Reduction("smallest", "min({}, default=0)", "largest/smallest", 0.42, "min({})")
    for k in range(2, 5):
        yield _Reduction(f"first {k}", f"{{}}[:{k}]", "first k", 0.1, f"{{}}[:{k - 1}]", f"{{}}[:{k + 1}]")


def _phrasings(reduction: str, mapped: str, kept: str) -> tuple[str, str]:
    of_all = f"{reduction} of the numbers"
    first = (
        f"Return the {of_all}"
        + (f" {mapped}" if mapped else "")
        + " in xs"
        + (f" that are {kept}" if kept else "")
    )
    second = (
        "Of the numbers in xs" + (f" that are {kept}" if kept else "") + (f", each {mapped}" if mapped else "")
    )
    return f"{first}.", f"{second}, return the {reduction}."


def _inputs(constant: int, rng: random.Random) -> list[Arguments]:
    k = constant
    near = [k, k + 1, k - 1, 2 * k, -k, k + 1, 3 * k, 1, 2 * k + 1]
    rng.shuffle(near)
    lists = [[], near, [k], [-rng.randint(1, 12) for _ in range(rng.randint(2, 5))]]
    for _ in range(24):
        size = rng.randint(1, 8)
        drawn = [rng.choice(near) if rng.random() < 0.3 else rng.randint(-12, 30) for _ in range(size)]
        lists.append(drawn)
    return [(numbers,) for numbers in lists]


def _inputs_of(constant: int) -> Callable[[random.Random], list[Arguments]]:
    return functools.partial(_inputs, constant)


def _blueprint(keep: _Filter, mapped: str, code: str, reduction: _Reduction) -> Blueprint:
    def body(template: str, condition: str) -> str:
        return template.format(f"[{code} for x in xs{' if ' + condition if condition else ''}]")

    rivals = []
    if keep.rival is not None:
        rivals.append((body(reduction.template, keep.rival), keep.systematic))
    if reduction.rival is not None:
        rivals.append((body(reduction.rival, keep.code), True))
    if keep.code:
        rivals.append((body(reduction.template, ""), False))
    if reduction.near is not None:
        rivals.append((body(reduction.near, keep.code), False))
    joint = body(reduction.rival or reduction.template, keep.rival or keep.code)
    wrong, near = systematic(rivals, joint)
    return Blueprint(
        family=reduction.family if reduction.rival else (keep.family or reduction.family),
        parameters="xs",
        phrasings=_phrasings(reduction.words, mapped, keep.words),
        expression=body(reduction.template, keep.code),
        wrong=wrong,
        near=near,
        inputs=_inputs_of(keep.constant),
        probes=_PROBES,
        weight=reduction.weight * keep.weight,
    )


def blueprints() -> list[Blueprint]:
    """Every list task. Sum, count, and by ``default=0`` also largest and smallest, of nothing are 0."""
    return [
        _blueprint(keep, mapped, code, reduction)
        for keep in _filters()
        for mapped, code in _maps()
        for reduction in _reductions()
        if not (mapped and reduction.words == "count")
    ]
