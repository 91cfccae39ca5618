from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import math

import numpy as np
import pytest

from sandbox.inside.values import Record, ValueRefusedError, decode, decode_trusted, encode, encode_trusted

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
    bytearray(b"\0\xff"),
    collections.deque([1, [2]], maxlen=5),
    {"a": 1}.keys(),
    {"a": [1]}.items(),
    decimal.Decimal("-1.50"),
    decimal.Decimal("Infinity"),
    fractions.Fraction(-7, 3),
    datetime.date(2024, 2, 29),
    datetime.time(23, 59, 1, 5),
    datetime.datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=datetime.UTC),
    datetime.timedelta(days=-1, microseconds=3),
    set(range(12_000)),
    {number: number for number in range(5_001)},
]


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: type(value).__name__)
def test_round_trip(value: object) -> None:
    for back in (decode(encode(value, 1 << 20)), decode_trusted(encode_trusted(value, 1 << 20), _refuse)):
        assert back == value
        assert type(back) is type(value)


def _refuse(data: object) -> object:
    raise AssertionError(f"{data} stands for nothing")


def test_nan_comes_back() -> None:
    assert math.isnan(decode(encode(float("nan"), 100)))


def test_instances_of_data_classes_come_back_as_their_fields() -> None:
    @dataclasses.dataclass
    class Point:
        x: int
        seen: list[int] = dataclasses.field(default_factory=list, compare=False)

        def __eq__(self, other: object) -> bool:
            return True

    assert decode(encode([Point(1)], 100)) == [Record("Point", {"x": 1})]
    assert decode(encode(Point(1), 100)) != decode(encode(Point(2), 100))


def test_the_values_of_a_dictionary_come_back_as_a_view() -> None:
    back = decode(encode({"a": [1], "b": 2}.values(), 100))
    assert type(back) is type({}.values())
    assert list(back) == [[1], 2]


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __int__(self) -> int:
        return 99


class Exact(decimal.Decimal):
    def __str__(self) -> str:
        return "99"


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
        (collections.OrderedDict(a=1).keys(), {"a": 1}.keys()),
        (Exact("1.5"), decimal.Decimal("1.5")),
    ],
)
def test_subclasses_collapse(value: object, base: object) -> None:
    back = decode(encode(value, 1000))
    assert back == base
    assert type(back) is type(base)


@pytest.mark.parametrize("value", [object(), len, iter([]), collections.UserList(), [object()], type])
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


COLLIDING = b",".join(b'["i","%x"]' % (number * (2**61 - 1)) for number in range(1 << 60, (1 << 60) + 258))


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
        b'["s",' + COLLIDING + b"]",
        b'["keys",' + COLLIDING + b"]",
        b'["d",' + COLLIDING + b"]",
        b'["items",["l",1,2]]',
        b'["deque",-1]',
        b'["deque"]',
        b'["record"]',
        b'["record","P","x"]',
        b'["record","P",["l"],1]',
        b'["decimal","1' + b"0" * 10_000 + b'"]',
        b'["decimal","x"]',
        b'["fraction","1/0"]',
        b'["fraction","1/-3"]',
        b'["date","2024-13-01"]',
        b'["timedelta","1 2"]',
        b'["timedelta","9999999999 0 0"]',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueRefusedError):
        decode(data)


def refuse(_: object) -> object:
    raise ValueRefusedError("no object")


def test_counters_and_named_tuples_cross_where_objects_do() -> None:
    pair = collections.namedtuple("pair", "x count")
    for value in (collections.Counter("aab"), pair(1, [2])):
        back = decode(encode(value, 1000, refuse), refuse)
        assert back == value
        assert isinstance(back, collections.Counter) == isinstance(value, collections.Counter)
        assert getattr(back, "_fields", None) == getattr(value, "_fields", None)
        assert type(decode(encode(value, 1000))) in (dict, tuple)


class Fake(tuple[int, ...]):
    _fields = ("x", "_y")


def test_a_class_that_only_looks_like_a_named_tuple_is_no_reason_to_make_one() -> None:
    with pytest.raises(ValueRefusedError):
        decode(encode(Fake((1, 2)), 1000, refuse), refuse)
    assert type(decode(encode(Fake((1, 2, 3)), 1000, refuse), refuse)) is tuple


@pytest.mark.parametrize("kind", ["<f8", ">i4", "|b1", "<c16"])
def test_arrays_of_numbers_cross_to_the_solution(kind: str) -> None:
    value = np.arange(6).astype(kind).reshape(2, 3)
    for given in (value, value.T, value[:, ::2], value[:0]):
        back = decode(encode(given, 1000, refuse, arrays=True), refuse, arrays=True)
        assert isinstance(back, np.ndarray)
        assert (back.dtype, back.shape) == (given.dtype, given.shape)
        assert (back == given).all()
        assert back.flags.writeable
    assert decode(encode(np.array([None, "a"]), 1000, refuse, arrays=True), refuse, arrays=True) == [None, "a"]
    assert decode(encode(value, 1000)) == value.tolist()


@pytest.mark.parametrize(
    "data",
    [
        b'["named",["l","P","x","x"],1,2]',
        b'["named",["l","P","x y"],1]',
        b'["named",["l","P","_x"],1]',
        b'["named",["l","P","def"],1]',
        b'["named",["l","P","x"],1,2]',
        b'["named",["l","P",1],1]',
        b'["named"]',
        b'["counter",1]',
        b'["counter",["l"],1]',
        b'["array","<f8",["l",2],"AAAAAAAA8D8="]',
        b'["array","|O",["l",1],"AAAAAAAA8D8="]',
        b'["array","<f8",["l",-1],"AAAAAAAA8D8="]',
        b'["array","<f8",["l",1],"!"]',
        b'["array","<f8",["l",1.5],"AAAAAAAA8D8="]',
        b'["array","(2,)<f4",["l",1],"AAAAAAAA8D8="]',
        b'["array",1,["l",1],"AAAAAAAA8D8="]',
    ],
    ids=lambda data: repr(data[:40]),
)
def test_hostile_bytes_between_processes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueRefusedError):
        decode(data, refuse, arrays=True)
    with pytest.raises(ValueRefusedError):
        decode(data)
