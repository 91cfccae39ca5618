"""What a layer does element by element, each as one function with a gradient of its own.

Torch would record operator after operator, each of which reads and writes all rows. Here a function keeps its
arguments and computes again, in the backward pass, what takes a few operations an element. On a CPU it goes over
as many rows at a time as a core's cache holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

#: On a CPU, rows of one tensor that are computed at a time; a function reads and writes a few tensors.
_CACHE_BYTES = 256 << 10


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """Compute silu(gate) * up, of two tensors [N, I]."""
    if torch.compiler.is_compiling():
        return F.silu(gate) * up
    out: Tensor = _Gated.apply(gate, up)  # type: ignore[no-untyped-call]
    return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to x [N, heads, d], with cos and sin [N, 1, d] of angles that both halves share."""
    out: Tensor = _Rotation.apply(x, cos, sin)  # type: ignore[no-untyped-call]
    return out


def rms_norm(x: Tensor, weight: Tensor, eps: float | None) -> Tensor:
    """Divide the rows of x [N, H] by their root mean square, and multiply them by ``weight`` [H].

    ``eps`` is added to the mean square; None stands for the smallest step from 1 in the type of x.
    """
    out: Tensor = _RmsNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
    return out


def turn(x: Tensor, cos: Tensor, sin: Tensor, out: Tensor, sign: float = 1.0) -> Tensor:
    """Write :func:`rotate` of x into ``out``, or with ``sign`` -1 the rotation back; records no gradient."""
    half = x.shape[-1] // 2
    torch.mul(x, cos, out=out)
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-sign)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:], value=sign)
    return out


def inverse_rms(x: Tensor, eps: float | None, out: Tensor | None = None) -> Tensor:
    """Compute what rows of x [N, H] are multiplied by in :func:`rms_norm`: [N, 1]; records no gradient."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True, out=out)
    added = torch.finfo(x.dtype).eps if eps is None else eps
    return length.square_().div_(x.shape[-1]).add_(added).rsqrt_()


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        out = torch.empty_like(gate)
        for some_gate, some_up, some in _blocks(gate, up, out):
            torch.ops.aten.silu.out(some_gate, out=some).mul_(some_up)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        to_gate, to_up = torch.empty_like(gate), torch.empty_like(up)
        for some, some_gate, some_up, gate_slope, up_slope in _blocks(slope, gate, up, to_gate, to_up):
            torch.ops.aten.silu.out(some_gate, out=up_slope).mul_(some)
            torch.mul(some, some_up, out=gate_slope)
            torch.ops.aten.silu_backward.grad_input(gate_slope, some_gate, grad_input=gate_slope)
        return to_gate, to_up


class _Rotation(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.dtype = x.dtype
        ctx.save_for_backward(cos, sin)
        return _rotated(x, cos, sin, 1.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotated(slope, cos, sin, -1.0).to(ctx.dtype), None, None


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float | None) -> Tensor:
        out, scale = torch.empty_like(x), x.new_empty(len(x), 1)
        for rows, factor, some in _blocks(x, scale, out):
            inverse_rms(rows, eps, factor)
            torch.mul(rows, factor, out=some).mul_(weight)
        ctx.save_for_backward(x, weight, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, scale = ctx.saved_tensors
        to_x, to_weight = torch.empty_like(x), torch.zeros_like(weight)
        for some, rows, factor, moved in _blocks(slope, x, scale, to_x):
            unit = rows * factor
            product = some * unit
            to_weight += product.sum(0)
            along = product.mul_(weight).sum(1, keepdim=True).div_(x.shape[-1])
            torch.mul(some, weight, out=moved).sub_(unit.mul_(along)).mul_(factor)
        return to_x, to_weight, None


def _rotated(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    out = torch.empty_like(x, dtype=torch.promote_types(x.dtype, cos.dtype))
    for rows, some_cos, some_sin, some in _blocks(x, cos, sin, out):
        turn(rows, some_cos, some_sin, some, sign)
    return out


def _blocks(first: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Cut tensors of N rows each into the same blocks of rows."""
    at_once = len(first)
    if first.device.type == "cpu":
        row = prod(first.shape[1:]) * first.element_size()
        at_once = max(1, _CACHE_BYTES // row)
    return zip(*(torch.split(tensor, at_once) for tensor in (first, *others)), strict=True)
