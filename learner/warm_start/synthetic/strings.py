"""Strings: take a part of ``s`` or replace in it, then transform or count."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from learner.warm_start.synthetic.blueprint import Arguments, Blueprint, systematic

_LETTERS = "abcxyz"
_ALPHABET = _LETTERS + "ABCde"
_PROBES: tuple[Arguments, ...] = tuple(
    (text,) for text in ("", "a", "aXbzcYyxAe", "zzyaxcbabcxyzABdeC", "xyabcz", "bCaAyzxcadeBXzy", "cab", "ezbad")
)


@dataclass(frozen=True)
class _Part:
    """``of_s`` follows "Return", ``alone`` follows "From s, return"; ``rival`` has the slice off by one."""

    of_s: str
    alone: str
    code: str
    rival: str | None
    near: str | None = None


def _slices() -> Iterator[_Part]:
    for k in range(2, 8):
        first, last = f"the first {k} characters", f"the last {k} characters"
        yield _Part(f"{first} of s", first, f"s[:{k}]", f"s[:{k - 1}]", f"s[:{k + 1}]")
        yield _Part(f"{last} of s", last, f"s[-{k}:]", f"s[-{k - 1}:]", f"s[-{k + 1}:]")
        yield _Part(f"s without {first}", f"all without {first}", f"s[{k}:]", f"s[{k - 1}:]", f"s[{k + 1}:]")
        yield _Part(f"s without {last}", f"all without {last}", f"s[:-{k}]", f"s[:-{k - 1}]", f"s[:-{k + 1}]")


def _edits() -> Iterator[_Part]:
    for old in _LETTERS:
        yield _Part(f"s without '{old}'", f"all without '{old}'", f"s.replace('{old}', '')", None)
        for new in _LETTERS:
            if new != old:
                words = f"with '{old}' replaced by '{new}'"
                yield _Part(f"s {words}", f"all {words}", f"s.replace('{old}', '{new}')", None)


def _transforms() -> Iterator[tuple[str, str]]:
    yield "", "{}"
    yield "in upper case", "{}.upper()"
    yield "in lower case", "{}.lower()"
    yield "reversed", "{}[::-1]"
    yield "repeated 2 times", "{} * 2"
    yield "repeated 3 times", "{} * 3"


def _inputs(rng: random.Random) -> list[Arguments]:
    def text(size: int) -> str:
        return "".join(rng.choice(_ALPHABET) for _ in range(size))

    letters = list(_LETTERS)
    rng.shuffle(letters)
    fixed = ["", rng.choice(_LETTERS), "".join(letters), "".join(letters[:3]) * 3]
    return [(s,) for s in [*fixed, *(text(rng.randint(2, 12)) for _ in range(40))]]


def _blueprint(part: _Part, phrasings: tuple[str, str], template: str, weight: float) -> Blueprint:
    rivals = [
        (template.format(r), known) for r, known in ((part.rival, True), (part.near, False)) if r is not None
    ]
    wrong, near = systematic(rivals, "")
    return Blueprint(
        family="strings",
        parameters="s",
        phrasings=phrasings,
        expression=template.format(part.code),
        wrong=wrong,
        near=near,
        inputs=_inputs,
        probes=_PROBES,
        weight=weight,
    )


def blueprints() -> list[Blueprint]:
    """Every string task: slices and edits, each transformed, and letter counts in slices."""
    tasks = []
    for part, weight in [*((p, 1.0) for p in _slices()), *((p, 0.4) for p in _edits())]:
        for words, template in _transforms():
            phrasings = (
                f"Return {part.of_s}{' ' + words if words else ''}.",
                f"From s, return {part.alone}{', ' + words if words else ''}.",
            )
            tasks.append(_blueprint(part, phrasings, template, weight))
    for part in [_Part("s", "all", "s", None), *_slices()]:
        for letter in _LETTERS:
            phrasings = (
                f"Return the count of '{letter}' in {part.of_s}.",
                f"From s, count '{letter}' in {part.alone}.",
            )
            tasks.append(_blueprint(part, phrasings, f"{{}}.count('{letter}')", 0.4))
    return tasks
