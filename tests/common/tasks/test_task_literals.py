import math

import pytest

from common.tasks.literals import source_of

VALUES = [
    None,
    True,
    -3,
    10**5000,
    -0.0,
    1e300,
    "it's\n\0é",
    b"\xff",
    math.inf,
    -math.inf,
    1j,
    complex(1, -2.5),
    [],
    (),
    (1,),
    set(),
    {1},
    {},
    {"a": [(1, {2: None})]},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_source_gives_the_value_back_without_any_name(value: object):
    back = eval(source_of(value), {"__builtins__": {}})
    assert (back, type(back)) == (value, type(value))
    if isinstance(value, float):
        assert math.copysign(1, back) == math.copysign(1, value)


def test_nan_and_what_has_no_literal():
    assert math.isnan(eval(source_of(math.nan), {"__builtins__": {}}))
    with pytest.raises(TypeError, match="object has no literal"):
        source_of([object()])
