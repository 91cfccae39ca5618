"""What counts as the same weights: the same bits, as they are held."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from common.weights.comparison import HeldTensors, corrupt, differing


def own() -> dict[str, Tensor]:
    return {"a": torch.tensor([[1.0, 0.0], [2.0, 3.0]]), "b": torch.tensor([1.5, -2.0]).bfloat16()}


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("a", torch.tensor([[1.0, 0.0], [2.0, math.nextafter(3.0, 4.0)]], dtype=torch.float64)),
        ("b", torch.tensor([1.5, -2.0])),
    ],
)
def test_what_differs_by_less_than_its_type_holds_is_the_same(name: str, sent: Tensor) -> None:
    assert differing(own().items(), (own() | {name: sent}).items()) == []


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("a", torch.tensor([[1.0, -0.0], [2.0, 3.0]])),
        ("a", torch.tensor([[1.0, 0.0], [2.0, 3.0000002]])),
        ("a", torch.tensor([[1.0, 0.0], [2.0, math.nan]])),
        ("a", torch.tensor([1.0, 0.0, 2.0, 3.0])),
        ("b", torch.tensor([1.5, -2.015625])),
    ],
)
def test_a_tensor_that_is_not_the_same_bits_is_named(name: str, sent: Tensor) -> None:
    assert differing(own().items(), (own() | {name: sent}).items()) == [name]


def test_what_is_on_one_side_only_is_named() -> None:
    assert differing(own().items(), {"a": own()["a"], "c": torch.zeros(1)}.items()) == ["c", "b"]
    assert differing({}.items(), {}.items()) == []


def test_nothing_is_the_same_once_corrupted_and_everything_once_loaded() -> None:
    held = own()
    corrupt(held.values())
    assert differing(held.items(), own().items()) == ["a", "b"]
    assert all(bool(tensor.isnan().all()) for tensor in held.values())
    weights = HeldTensors(held)
    weights.load(own().items())
    assert weights.differing(own().items()) == []


def test_rows_of_a_transposed_tensor_are_compared_by_place() -> None:
    held = {"a": torch.arange(6.0).view(2, 3).T}
    assert differing(held.items(), {"a": held["a"].clone()}.items()) == []
    assert differing(held.items(), {"a": torch.arange(6.0).view(3, 2)}.items()) == ["a"]
