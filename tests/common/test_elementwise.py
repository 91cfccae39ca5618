"""Each function and its gradient against torch's own operators, in blocks of a few rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.models import elementwise
from common.models.elementwise import gated, rms_norm, rotate

#: Bytes of two rows of 8 doubles: the last block is smaller than the others.
TWO_ROWS = 2 * 8 * 8


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elementwise, "_CACHE_BYTES", TWO_ROWS)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def angles(rows: int, width: int) -> tuple[Tensor, Tensor]:
    half = drawn(rows, 1, width // 2)
    both = torch.cat([half, half], dim=-1)
    return both.cos(), both.sin()


def plainly_rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *arguments: Tensor) -> None:
    inputs = [argument.requires_grad_() for argument in arguments]
    found, expected = ours(*inputs), theirs(*inputs)
    torch.testing.assert_close(found, expected)
    slope = drawn(*found.shape)
    for one, other in zip(
        torch.autograd.grad(found, inputs, slope), torch.autograd.grad(expected, inputs, slope), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_gated(rows: int) -> None:
    same(gated, lambda gate, up: F.silu(gate) * up, drawn(rows, 8), drawn(rows, 8) + 1.0)


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_rms_norm(rows: int) -> None:
    same(
        lambda x, weight: rms_norm(x, weight, 1e-3),
        lambda x, weight: F.rms_norm(x, (8,), weight, 1e-3),
        drawn(rows, 8),
        drawn(8),
    )


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_rotate(rows: int) -> None:
    cos, sin = angles(rows, 4)
    same(lambda x: rotate(x, cos, sin), lambda x: plainly_rotated(x, cos, sin), drawn(rows, 2, 4))


def test_what_is_rotated_by_wider_angles_is_not_rounded() -> None:
    narrow = drawn(5, 2, 4).bfloat16().requires_grad_()
    cos, sin = (table.float() for table in angles(5, 4))
    found = rotate(narrow, cos, sin)
    assert found.dtype is torch.float32
    torch.testing.assert_close(found, plainly_rotated(narrow.float(), cos, sin))
    (slope,) = torch.autograd.grad(found.sum(), narrow)
    assert slope.dtype is torch.bfloat16
