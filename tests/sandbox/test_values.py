from __future__ import annotations

import collections
import enum
import math

import pytest

from sandbox.inside.values import ValueRefusedError, decode, encode

PLAIN = [
    None,
    True,
    0,
    -1,
    2**53,
    -(10**6000),
    1.5,
    -0.0,
    float("inf"),
    1e308,
    "",
    "é\ud800",
    b"\0\xff",
    [],
    [1, [2, (3,)]],
    (),
    {1, 2},
    frozenset({(1, 2)}),
    {},
    {"a": [1], (1, 2): None, 1.5: {}},
    1 + 2j,
    complex(float("inf"), -0.0),
    range(1, 10, 3),
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_round_trip(value: object) -> None:
    back = decode(encode(value, 1 << 20))
    assert back == value
    assert type(back) is type(value)


def test_nan_comes_back() -> None:
    assert math.isnan(decode(encode(float("nan"), 100)))


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __int__(self) -> int:
        return 99


class Color(enum.IntEnum):
    RED = 4


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Liar(3), 3),
        (Color.RED, 4),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.Counter("aa"), {"a": 2}),
        (collections.namedtuple("P", "x y")(1, 2), (1, 2)),
    ],
)
def test_subclasses_collapse(value: object, base: object) -> None:
    back = decode(encode(value, 1000))
    assert back == base
    assert type(back) is type(base)


@pytest.mark.parametrize("value", [object(), len, iter([]), collections.deque(), [object()], type])
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises(ValueRefusedError, match="cannot be returned"):
        encode(value, 1000)


def test_size_and_depth_are_bounded() -> None:
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValueRefusedError, match="deep"):
        encode(deep, 1 << 20)
    with pytest.raises(ValueRefusedError, match="large"):
        encode("x" * 1000, 100)
    with pytest.raises(ValueRefusedError, match="large"):
        encode([None] * 2_000_001, 1 << 30)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b"NaN",
        b'["q",1]',
        b'["i","zz"]',
        b'["i",5]',
        b'["f","1e5"]',
        b'["b","0"]',
        b'["d",1]',
        b'["d",["l"],1]',
        b'["s",["l"]]',
        b'["r",1,2,0]',
        b'["r",1,2]',
        b'["c",1,2]',
        b"[" * 100_000,
        b'["l",' * 60 + b"1" + b"]" * 60,
        b"9" * 10_000,
        b"\xff",
        b"[1] trailing",
        b'["s",' + b",".join(b"%d" % i for i in range(20_000)) + b"]",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueRefusedError):
        decode(data)
