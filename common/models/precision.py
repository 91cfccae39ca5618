"""bf16 products, also on a CPU that has no instructions for them.

There, torch's own bf16 kernels take several times as long as fp32. The same numbers come from fp32 products of
values rounded to bf16: a product of two bf16 numbers is exact in fp32, and both ways add up in fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from common.models.elementwise import rms_norm


@lru_cache
def cpu_multiplies_bf16() -> bool:
    """Return whether this CPU has kernels for bf16 products that are worth using."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def emulates_bf16(device: torch.device) -> bool:
    """Return whether bf16 was asked for, by autocast, on a CPU that has no instructions for it."""
    return device.type == "cpu" and _wants_bf16(device) and not cpu_multiplies_bf16()


def multiplies_bf16(device: torch.device) -> bool:
    """Return whether bf16 was asked for, by autocast, on a device that has instructions for it."""
    return _wants_bf16(device) and (device.type != "cpu" or cpu_multiplies_bf16())


def _wants_bf16(device: torch.device) -> bool:
    return torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.bfloat16


def rounded(values: Tensor) -> Tensor:
    """Round to bf16; the result is in fp32."""
    return values.bfloat16().float()


def operand_type(device: torch.device) -> Callable[[Tensor], Tensor]:
    """How autocast, as it stands, has the operands of a product written: as they are, in bf16, or rounded to
    it."""
    if emulates_bf16(device):
        return rounded
    if torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.bfloat16:
        return Tensor.bfloat16
    return Tensor.float


class Linear(nn.Linear):
    """``nn.Linear`` whose bf16 products are emulated where the CPU has none.

    ``holds_bf16`` says that the parameters are bf16 values already, so that no pass has to round them.
    """

    holds_bf16 = False

    def forward(self, x: Tensor, widen: bool = False) -> Tensor:
        """``widen`` gives fp32 results, unrounded where the sums are at hand in fp32."""
        if not emulates_bf16(x.device):
            out = super().forward(x)
            return out.float() if widen else out
        weight: Tensor = self.weight
        bias: Tensor | None = self.bias
        if not self.holds_bf16:
            weight, bias = rounded(weight), None if bias is None else rounded(bias)
        with torch.autocast("cpu", enabled=False):
            out = F.linear(rounded(x), weight, bias)
        return out if widen else out.bfloat16()

    @torch.no_grad()
    def hold(self, dtype: torch.dtype) -> None:
        """Keep the parameters as values of ``dtype`` from now on; for inference."""
        if dtype is not torch.bfloat16:
            return
        native = self.weight.device.type != "cpu" or cpu_multiplies_bf16()
        for parameter in self.parameters():
            if native:
                parameter.data = parameter.data.bfloat16()
            else:  # in place: the parameter may be a part of a larger one
                parameter.data.copy_(rounded(parameter.data))
        self.holds_bf16 = True


class Embedding(nn.Embedding):
    """``nn.Embedding`` whose rows come in fp32, whatever type they are held in."""

    def forward(self, ids: Tensor) -> Tensor:
        if self.weight.dtype == torch.float32:
            return super().forward(ids)
        rows: Tensor = _Lookup.apply(ids, self.weight)  # type: ignore[no-untyped-call]
        return rows


class _Lookup(Function):
    """Rows of a table of a narrower type than fp32, in fp32.

    Torch would add up the gradient of a row in the type of the table: a token that occurs thousands of times, as
    the mask token does, gets little of it after the first few hundred.
    """

    @staticmethod
    def forward(ctx: Any, ids: Tensor, table: Tensor) -> Tensor:
        ctx.ids, ctx.shape, ctx.dtype = ids, table.shape, table.dtype
        return table[ids].float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None]:
        if not ctx.needs_input_grad[1]:
            return None, None
        rows, place = ctx.ids.unique(return_inverse=True)
        sums = gradient.new_zeros(len(rows), ctx.shape[1]).index_add_(0, place, gradient)
        to_table = torch.zeros(ctx.shape, dtype=ctx.dtype, device=gradient.device)
        to_table[rows] = sums.to(ctx.dtype)
        return None, to_table


class RMSNorm(nn.RMSNorm):
    """``nn.RMSNorm`` whose weight may be held in another type than the hidden states, which keep theirs."""

    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight
        if x.is_cuda:  # where it is one kernel
            return F.rms_norm(x, self.normalized_shape, weight.to(x.dtype), self.eps)
        return rms_norm(x, weight.to(x.dtype), self.eps)


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None = None) -> Tensor:
    """Compute attention of q [n, heads, queries, d] over k, v [n, kv heads, keys, d].

    It is full, or where ``visible`` [queries, keys] is given, over the keys for which that is true.
    """
    grouped = k.shape[1] != q.shape[1]
    if visible is not None and grouped:
        # On a GPU, torch's kernels that keep no table of all scores take a mask, or heads that share keys, but not
        # both.
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], dim=1) for t in (k, v))
        grouped = False
    if not emulates_bf16(q.device):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=visible, enable_gqa=grouped)
    with torch.autocast("cpu", enabled=False):
        out = F.scaled_dot_product_attention(
            rounded(q), rounded(k), rounded(v), attn_mask=visible, enable_gqa=grouped
        )
    return out.bfloat16()
