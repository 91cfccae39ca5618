"""What a layer computes element by element where products are in bf16: one pass over memory between two of them.

Hidden states stay in fp32, and each pass writes in bf16 what the next product reads: left to autocast, all of it
would be read and written once more for each product. As plain torch a pass is still a few operations; compiled,
which pays on a GPU, it is one kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Divide fp32 rows x [N, H] by their root mean square, and multiply them by ``weight`` [H]: [N, H] in bf16."""
    return (x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight).bfloat16()


def added(x: Tensor, update: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Add an update [N, H] in bf16 to fp32 rows x [N, H]: return the sum in fp32, and that :func:`normed`."""
    x = x + update
    return x, normed(x, weight, eps)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to x [N, heads, d] in bf16; cos and sin [N, 1, d], and the sums, are in fp32.

    Both halves of cos and sin are the same.
    """
    half = x.shape[-1] // 2
    # The second half comes to the first one with the other sign.
    signed = torch.where(torch.arange(x.shape[-1], device=x.device) < half, -sin, sin)
    return (x * cos + x.roll(half, -1) * signed).bfloat16()


def gated(both: Tensor) -> Tensor:
    """Compute silu(gate) * up [N, I] of gate and up side by side [N, 2 I]."""
    gate, up = both.chunk(2, -1)
    return F.silu(gate) * up


@dataclass(frozen=True)
class NarrowPasses:
    """The passes, plain or compiled."""

    normed: Callable[[Tensor, Tensor, float], Tensor] = normed
    added: Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]] = added
    turned: Callable[[Tensor, Tensor, Tensor], Tensor] = turned
    gated: Callable[[Tensor], Tensor] = gated

    @classmethod
    def compiled(cls) -> NarrowPasses:
        """Have each pass compiled when it is first called; whatever the compiler fails of is raised then."""
        plain = cls()
        made: dict[str, Any] = {
            field.name: torch.compile(getattr(plain, field.name), dynamic=True) for field in fields(cls)
        }
        return cls(**made)
