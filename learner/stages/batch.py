"""Noised segments in micro-batches, and each of them in one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.models.packing import Packing
from learner.batch import PackedRows
from learner.partition import Size, partition
from learner.stages.noise import Noised

#: Parts of the ratios, and of the positions of a segment, that the loss is reported by.
TENTHS, EIGHTHS = 10, 8


@dataclass(frozen=True)
class NoisedRows(PackedRows):
    """The noised segments of a micro-batch, and the masked tokens that count in the loss.

    ``weights`` [m] are what the cross-entropy of each counts; ``tenth`` [m], which tenth of (0, 1] the ratio of
    its segment is in, and ``eighth`` [m], which eighth of its segment it is in, both from 0.
    """

    weights: Tensor
    tenth: Tensor
    eighth: Tensor


def micro_batches(noised: Sequence[Noised], ranks: int, rank: int, batch_tokens: int) -> list[list[Noised]]:
    """Form the micro-batches of a rank from whole segments, as :func:`learner.partition.micro_batches` does.

    An idle one is the shortest segment, with no part in the loss.
    """
    idle = [min(noised, key=len).idle()]
    numbers = partition([Size(len(segment)) for segment in noised], ranks, batch_tokens)[rank]
    return [[noised[number] for number in batch] or idle for batch in numbers]


def pack(segments: Sequence[Noised], mask_token_id: int, device: torch.device) -> NoisedRows:
    """Lay out a micro-batch. Only tokens with a weight are predicted."""
    packing = Packing.of([len(segment) for segment in segments], device)
    places = [np.flatnonzero(segment.weights) for segment in segments]
    measured = list(zip(segments, places, strict=True))

    def tensor(parts: list[Any], kind: torch.dtype = torch.long) -> Tensor:
        return torch.as_tensor(np.concatenate(parts), dtype=kind, device=device)

    return NoisedRows(
        ids=packing.pack([segment.canvas(mask_token_id) for segment in segments]),
        packing=packing,
        rows=tensor([start + place for start, place in zip(packing.starts, places, strict=True)]),
        targets=tensor([segment.ids[place] for segment, place in measured]),
        weights=tensor([segment.weights[place] for segment, place in measured], torch.float32),
        tenth=tensor([np.full(len(place), _tenth(segment.ratio)) for segment, place in measured]),
        eighth=tensor([place * EIGHTHS // len(segment) for segment, place in measured]),
    )


def _tenth(ratio: float) -> int:
    return min(int(ratio * TENTHS), TENTHS - 1)
