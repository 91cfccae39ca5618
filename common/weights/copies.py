"""Copies of weights in a machine's memory, with a digest of what was copied taken on the way."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
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

    Both take one piece after another, so that the second finds it in a cache. Where there is more than one, a
    thread adds the bytes while this one copies: in little more than the time of the copy, if a core is idle.
    """
    target, source = target.detach(), source.detach()
    if not _on_host(target, source):
        copy(target, source)
        digest.update(as_bytes(target))
        return
    count = _PIECE_BYTES // target.element_size()
    pieces = list(zip(*(torch.split(whole.view(-1), count) for whole in (target, source)), strict=True))
    with _digesting(digest, beside=len(pieces) > 1) as add:
        for into, out in pieces:
            if into.dtype == out.dtype:  # the source is read here, and the target is written only
                add(as_bytes(out))
                copy(into, out)
            else:
                copy(into, out)
                add(as_bytes(into))


@contextmanager
def _digesting(digest: Digest, beside: bool) -> Iterator[Callable[[Any], object]]:
    """Yield what adds bytes to a digest, in order: at once, or by a thread ``beside`` this one before the end."""
    if not beside:
        yield digest.update
        return
    added: list[Future[None]] = []
    try:
        yield lambda data: added.append(_beside().submit(digest.update, data))
    finally:
        for one in added:
            one.result()


@cache
def _beside() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "digest")


def as_bytes(tensor: Tensor) -> Any:
    """View contiguous memory of the CPU as an array of bytes [size]."""
    return tensor.detach().view(-1).view(torch.uint8).numpy()


def _on_host(*tensors: Tensor) -> bool:
    return all(one.device.type == "cpu" and one.is_contiguous() for one in tensors)
