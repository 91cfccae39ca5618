"""What counts as a number among the things that reward functions return."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from reward_service.numbers import NotANumberError, finite_number

NUMBERS = [
    (1, 1.0),
    (True, 1.0),
    (Fraction(1, 4), 0.25),
    (Decimal("0.5"), 0.5),
    (np.float16(0.5), 0.5),
    (np.int64(-3), -3.0),
    (np.bool_(False), 0.0),
    (np.array(2.5), 2.5),
    (np.array(True), 1.0),
    (torch.tensor(1.5, requires_grad=True), 1.5),
    (torch.tensor(7), 7.0),
]
OTHERS = [
    None,
    "1.0",
    b"1",
    1j,
    [1.0],
    np.array([1.0]),
    torch.tensor([1.0]),
    np.array("1"),
    np.datetime64("2020-01-01"),
    float("nan"),
    float("-inf"),
    np.float32("inf"),
    torch.tensor(float("nan")),
    Decimal("NaN"),
    Decimal("sNaN"),
    10**400,
    10**5000,
    object(),
]


@pytest.mark.parametrize(("value", "number"), NUMBERS, ids=repr)
def test_a_scalar_of_any_library_is_a_number(value: Any, number: float) -> None:
    found = finite_number(value)
    assert (found, type(found)) == (number, float)


@pytest.mark.parametrize("value", OTHERS, ids=lambda value: type(value).__name__)
def test_what_is_no_finite_number_is_shown_in_short(value: Any) -> None:
    with pytest.raises(NotANumberError, match=r"^returned .+, not a finite number") as error:
        finite_number(value)
    assert len(str(error.value)) < 250
