"""A noisy corpus for the supervised warm-up: right, systematically wrong and randomly wrong completions.

Where a construct carries a misconception, the wrong token is the likeliest one, so greedy decoding of a model
trained on this corpus is wrong there. That is what leaves reinforcement learning something to correct.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from learner.warm_start.synthetic.blueprint import weighted_order
from learner.warm_start.synthetic.generator import SyntheticTask

MISCONCEIVED = 0.60
CORRECT_BESIDE_MISCONCEPTION = 0.20
CORRECT = 0.55


def noisy_solution(task: SyntheticTask, rng: random.Random) -> str:
    """One completion, drawn afresh.

    With a misconception: 60 % commit it (all of them at once, if several), 20 % are right, 20 % have a random
    bug. Without: 55 % are right, 45 % have a random bug.
    """
    draw = rng.random()
    if task.misconceptions:
        if draw < MISCONCEIVED:
            return task.misconceptions[-1]
        draw -= MISCONCEIVED
        correct = CORRECT_BESIDE_MISCONCEPTION
    else:
        correct = CORRECT
    return task.reference if draw < correct else random_bug(task.reference, rng)


def random_bug(completion: str, rng: random.Random) -> str:
    """``completion`` with one random slip. Raises ValueError if there is nothing in it to get wrong."""
    for slip in weighted_order([slip for slip, _ in _SLIPS], [weight for _, weight in _SLIPS], rng):
        changed = slip(completion, rng)
        if changed is not None:
            return changed
    raise ValueError(f"no digit, operator, name or bracket to change in {completion!r}")


_OPERATORS = (("+", "-", "*"), ("<", ">", "<=", ">=", "==", "!="), ("%", "//"))
_NAMES = (("max", "min", "sum", "len"), ("upper", "lower"), ("x", "xs"), ("a", "b"), ("count", "replace"))


def _replace(text: str, pattern: str, rng: random.Random, choices: Callable[[str], list[str]]) -> str | None:
    places = [match for match in re.finditer(pattern, text) if choices(match[0])]
    if not places:
        return None
    place = rng.choice(places)
    return text[: place.start()] + rng.choice(choices(place[0])) + text[place.end() :]


def _partners(word: str, groups: tuple[tuple[str, ...], ...]) -> list[str]:
    return [other for group in groups if word in group for other in group if other != word]


def _wrong_digit(text: str, rng: random.Random) -> str | None:
    def near(digit: str) -> list[str]:
        k = int(digit)
        return [str(other) for other in (k - 1, k + 1, rng.randrange(10)) if 0 <= other <= 9 and other != k]

    return _replace(text, r"\d", rng, near)


def _wrong_operator(text: str, rng: random.Random) -> str | None:
    return _replace(text, r"(?<= )[-+*<>=!%/]+(?= )", rng, lambda word: _partners(word, _OPERATORS))


def _wrong_name(text: str, rng: random.Random) -> str | None:
    return _replace(text, r"(?<!')\b[a-z]+\b(?!')", rng, lambda word: _partners(word, _NAMES))


def _dropped_bracket(text: str, rng: random.Random) -> str | None:
    return _replace(text, r"[()\[\]]", rng, lambda _: [""])


def _dropped_clause(text: str, rng: random.Random) -> str | None:
    return _replace(text, r" if [^\]]+(?=\])|\[::-1\]| [-+*] \d\b|\.(upper|lower)\(\)", rng, lambda _: [""])


_SLIPS = (
    (_wrong_digit, 3.0),
    (_wrong_operator, 3.0),
    (_wrong_name, 2.0),
    (_dropped_bracket, 2.0),
    (_dropped_clause, 2.0),
)
