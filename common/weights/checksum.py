"""A checksum of bytes that has one value on every device: exact arithmetic of integers modulo 2^64.

The bytes are read as little-endian words of 64 bits, in blocks of ``BLOCK_WORDS``. A block's sum is that of its
words, each times an odd number that belongs to its place; the checksum adds up the blocks' sums, each mixed with
the block's place. A single wrong word is always found, whatever it was. Words that changed places in a block are
found unless they differ in their highest bits only, where one such pair in some hundreds is missed.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

#: So few that their multipliers stay in a core's nearest cache.
BLOCK_WORDS = 1 << 10
#: What a device multiplies at a time, as the products take as much memory again.
_DEVICE_BLOCKS = 1 << 13
_BITS = 64
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def checksum(data: Tensor, key: int) -> Tensor:
    """Return the checksum of bytes [n], n divisible by 8, under a key: an int64 [] on the device of ``data``.

    On a GPU nothing waits for it.
    """
    words = data.view(torch.int64)
    sums = sums_by_numpy(words) if words.device.type == "cpu" else sums_by_torch(words)
    places = torch.arange(sums.numel(), device=sums.device) * _signed(_GOLDEN)
    return (_mixed(sums + places).sum() + _signed(_mix(key))).reshape(())


def sums_by_numpy(words: Tensor) -> Tensor:
    """Return the sums [b] of all blocks; numpy multiplies and adds in one pass."""
    values, factors = words.numpy().view(np.uint64), _multipliers()
    whole = len(values) // BLOCK_WORDS * BLOCK_WORDS
    sums = np.einsum("bw,w->b", values[:whole].reshape(-1, BLOCK_WORDS), factors)
    rest = values[whole:]
    if len(rest):
        sums = np.append(sums, np.einsum("w,w->", rest, factors[: len(rest)]))
    return torch.from_numpy(sums.view(np.int64))


def sums_by_torch(words: Tensor) -> Tensor:
    """Return the sums [b] of all blocks, by operations of the device that holds them."""
    factors = torch.from_numpy(_multipliers().view(np.int64)).to(words.device)
    whole = words.numel() // BLOCK_WORDS * BLOCK_WORDS
    rest = words[whole:]
    parts = [
        (part.view(-1, BLOCK_WORDS) * factors).sum(1)
        for part in torch.split(words[:whole], BLOCK_WORDS * _DEVICE_BLOCKS)
    ]
    if rest.numel():
        parts.append((rest * factors[: rest.numel()]).sum(0, keepdim=True))
    return torch.cat(parts)


@cache
def _multipliers() -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.array([_mix((place + 1) * _GOLDEN) | 1 for place in range(BLOCK_WORDS)], dtype=np.uint64)


def _mix(word: int) -> int:
    """Scatter the bits of a word: SplitMix64 (Steele, Lea and Flood, 2014)."""
    word %= 1 << _BITS
    word = (word ^ (word >> 30)) * _MIX_1 % (1 << _BITS)
    word = (word ^ (word >> 27)) * _MIX_2 % (1 << _BITS)
    return word ^ (word >> 31)


def _mixed(words: Tensor) -> Tensor:
    """As :meth:`_mix`, for a tensor of int64, whose products wrap around and whose shifts keep the sign."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        words = (words ^ _shifted(words, shift)) * _signed(factor)
    return words ^ _shifted(words, 31)


def _shifted(words: Tensor, bits: int) -> Tensor:
    return (words >> bits) & ((1 << (_BITS - bits)) - 1)


def _signed(word: int) -> int:
    return word - (1 << _BITS) if word >= 1 << (_BITS - 1) else word
