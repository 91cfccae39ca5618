from __future__ import annotations

import pytest
import torch
from torch import Tensor

from common.weights.checksum import BLOCK_WORDS, checksum, sums_by_numpy, sums_by_torch

WORD, ALL = 8, 1 << 64


def mix(word: int) -> int:
    word %= ALL
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % ALL
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % ALL
    return word ^ (word >> 31)


def naive(data: bytes, key: int) -> int:
    """As the module's docstring says, in Python's integers."""
    golden, total = 0x9E3779B97F4A7C15, mix(key)
    words = [int.from_bytes(data[at : at + WORD], "little") for at in range(0, len(data), WORD)]
    for block, start in enumerate(range(0, len(words), BLOCK_WORDS)):
        of_block = enumerate(words[start : start + BLOCK_WORDS], start=1)
        total += mix(sum(word * (mix(place * golden) | 1) for place, word in of_block) + block * golden)
    return total % ALL


def some_bytes(words: int) -> Tensor:
    return torch.randint(
        0, 256, (words * WORD,), dtype=torch.uint8, generator=torch.Generator().manual_seed(words)
    )


@pytest.mark.parametrize("words", [1, BLOCK_WORDS - 1, BLOCK_WORDS, 3 * BLOCK_WORDS + 5])
def test_it_is_the_sum_that_is_described_whichever_operations_add_it_up(words: int) -> None:
    data = some_bytes(words)
    assert int(checksum(data, 77)) % ALL == naive(data.numpy().tobytes(), 77)
    assert torch.equal(sums_by_torch(data.view(torch.int64)), sums_by_numpy(data.view(torch.int64)))


def test_every_bit_every_place_and_the_key_count() -> None:
    data = some_bytes(2 * BLOCK_WORDS + 3)
    found = {int(checksum(data, 1)), int(checksum(data, 2))}
    for place in (0, 7, 8 * BLOCK_WORDS, data.numel() - 1):
        for bit in (0, 7):
            data[place] ^= 1 << bit
            found.add(int(checksum(data, 1)))
            data[place] ^= 1 << bit
    blocks = data[: 2 * BLOCK_WORDS * WORD].view(2, -1).flip(0).reshape(-1)
    found.add(int(checksum(torch.cat([blocks, data[blocks.numel() :]]), 1)))
    assert len(found) == 11
