"""Copies of weights in a machine's memory, with a digest of what was copied taken on the way."""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

import torch
from torch import Tensor

from common.weights.layout import PAGE_BYTES

#: What is read once for the digest and the copy: it fits a processor's last cache several times.
_PIECE_BYTES = 4 << 20
#: So little ahead of its source in a page, a target slows memcpy down to a third.
_TOO_NEAR_BYTES = 1024


class Digest(Protocol):
    """A digest of bytes that come in parts."""

    def update(self, data: Any, /) -> None: ...


def copy(target: Tensor, source: Tensor) -> None:
    """Copy in place, rounding to the type of ``target``.

    A single thread on a CPU that has nothing to round copies by memcpy, which writes large memory without reading
    it first, from the size on that the environment of actors asks for; torch reads it, and gains by threads.
    """
    target, source = target.detach(), source.detach()
    # A processor takes what is read for what was just written where the lower bits of the addresses are the same.
    ahead = (target.data_ptr() - source.data_ptr()) % PAGE_BYTES
    plain = _on_host(target, source) and target.dtype == source.dtype
    if plain and torch.get_num_threads() == 1 and not 0 < ahead < _TOO_NEAR_BYTES:
        ctypes.memmove(target.data_ptr(), source.data_ptr(), target.nbytes)
    else:
        target.copy_(source)


def copy_digested(target: Tensor, source: Tensor, digest: Digest) -> None:
    """Copy as :func:`copy` does into contiguous memory of the CPU, and add the bytes of the copy to a digest.

    Both take one piece after another, so that the second finds it in a cache.
    """
    target, source = target.detach(), source.detach()
    if not _on_host(target, source):
        copy(target, source)
        digest.update(as_bytes(target))
        return
    count = _PIECE_BYTES // target.element_size()
    pieces = (torch.split(whole.view(-1), count) for whole in (target, source))
    for into, out in zip(*pieces, strict=True):
        if into.dtype == out.dtype:  # the source is read here, and the target is written only
            digest.update(as_bytes(out))
            copy(into, out)
        else:
            copy(into, out)
            digest.update(as_bytes(into))


def as_bytes(tensor: Tensor) -> Any:
    """View contiguous memory of the CPU as an array of bytes [size]."""
    return tensor.detach().view(-1).view(torch.uint8).numpy()


def _on_host(*tensors: Tensor) -> bool:
    return all(one.device.type == "cpu" and one.is_contiguous() for one in tensors)
