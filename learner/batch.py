"""Samples on their way into the model: from trajectories to packed views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.models.packing import Packing
from learner.estimator import Views


@dataclass(frozen=True)
class TrainingSample:
    """One completion as the update sees it; ``valid_tokens`` counts those up to and including end-of-text."""

    group: int
    sample: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    valid_tokens: int
    advantage: float


@dataclass(frozen=True)
class PackedViews:
    """Every view of a micro-batch of n samples (V views each), packed into one row of N tokens.

    ``ids`` [N]; ``rows`` [m] are the flat positions whose tokens are scored and ``tokens`` [m] those tokens;
    ``cells`` [m] say where their log-probability belongs in a flat [n * V * L] table; ``weights`` [n, V, L].
    """

    ids: Tensor
    packing: Packing
    rows: Tensor
    tokens: Tensor
    cells: Tensor
    weights: Tensor


def pack_views(
    samples: Sequence[TrainingSample], views: Sequence[Views], mask_token_id: int, device: torch.device
) -> PackedViews:
    """Lay out all views. Only masked, valid positions are scored: the others carry no weight in the loss."""
    length = len(samples[0].completion_ids)
    count = len(views[0].masks)
    sequences: list[list[int]] = []
    scored = np.zeros((len(samples), count, length), dtype=bool)
    targets = np.zeros((len(samples), count, length), dtype=np.int64)
    for i, (sample, view) in enumerate(zip(samples, views, strict=True)):
        completion = np.asarray(sample.completion_ids)
        targets[i] = completion
        scored[i] = view.masks
        scored[i, :, sample.valid_tokens :] = False
        for mask in view.masks:
            canvas = np.where(mask, mask_token_id, completion)
            sequences.append([*sample.prompt_ids, *canvas.tolist()])
    packing = Packing.of([len(sequence) for sequence in sequences], device)
    first = np.asarray(packing.starts).reshape(len(samples), count) + np.asarray(
        [[len(sample.prompt_ids)] for sample in samples]
    )
    positions = first[..., None] + np.arange(length)
    return PackedViews(
        ids=packing.pack(sequences),
        packing=packing,
        rows=torch.from_numpy(positions[scored]).to(device),
        tokens=torch.from_numpy(targets[scored]).to(device),
        cells=torch.from_numpy(np.flatnonzero(scored)).to(device),
        weights=torch.from_numpy(np.stack([view.weights for view in views])).float().to(device),
    )
