"""What a program answers costs the host little, whatever it forges."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sandbox.inside.values import ValueRefusedError, decode, encode, refuse_collisions

_MODULUS = (1 << 61) - 1
_COLLIDING = [k * _MODULUS for k in range(1, 2000)]


def _integers() -> str:
    return ",".join(f'["i","{hex(number)}"]' for number in _COLLIDING)


FORGED: dict[str, Callable[[], str]] = {
    "a set": lambda: f'["s",{_integers()}]',
    "a frozenset": lambda: f'["z",{_integers()}]',
    "a dictionary": lambda: '["d",' + ",".join(f'["i","{hex(number)}"],0' for number in _COLLIDING) + "]",
    "a set of tuples": lambda: '["s",' + ",".join(f'["t",["i","{hex(n)}"]]' for n in _COLLIDING) + "]",
    "a set in a list": lambda: f'["l",["s",{_integers()}]]',
    "floats among them": lambda: f'["s",{_integers()},0.5]',
    "objects of JSON": lambda: "[" + ",".join(f'{{"{n}":1}}' for n in range(1000)) + "]",
    "a whole number that has the hash of a Decimal": lambda: (
        f'["s",["decimal","3"],["i","{hex((_MODULUS << 61000) + 3)}"]]'
    ),
    "a whole number, and a Decimal in a tuple": lambda: f'["l",["i","{hex(1 << 99999)}"],["t",["decimal","3"]]]',
    "more items than are read": lambda: '["l"' + ",0" * 2_000_001 + "]",
}


@pytest.mark.parametrize("forged", FORGED)
def test_what_is_made_to_be_slow_to_read_is_refused(forged: str) -> None:
    with pytest.raises(ValueRefusedError):
        decode(FORGED[forged]().encode())


@pytest.mark.parametrize(
    "value",
    [
        set(range(-3000, 3000)),
        {(x, y) for x in range(60) for y in range(60)},
        {float(number) / 3 for number in range(5000)},
        {frozenset({number, number + 1}): None for number in range(1500)},
        {str(number): number for number in range(4000)},
        {2**k for k in range(1500)},
        {-(2**k) for k in range(61)} | {10**k for k in range(300)},
    ],
    ids=["whole numbers", "pairs", "fractions", "sets", "words", "powers of two", "powers of ten"],
)
def test_what_is_not_made_to_collide_comes_back(value: object) -> None:
    assert decode(encode(value, 1 << 24)) == value


def test_a_few_values_may_share_a_hash() -> None:
    refuse_collisions([-1, -2, 0, _MODULUS])
    with pytest.raises(ValueRefusedError, match="share a hash"):
        refuse_collisions(_COLLIDING[:300])
