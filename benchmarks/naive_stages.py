"""A stage's step as a plain training loop does it, on transformers' own model.

Every segment is a row of its own, padded to the longest of its micro-batch; the vocabulary is scored at every
position; cross-entropy is taken in fp32 at all of them and weighed to nothing where no token is masked. Rows of
packed documents, the other usual way, would let documents attend to each other and so compute something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from common.models.config import ModelConfig
from learner.stages.noise import Noised


def loss(
    stock: Any, config: ModelConfig, segments: Sequence[Noised], visible: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Return the sum of the weighted cross-entropies of a micro-batch.

    ``visible`` [C, C] is as in annealing; with None every position sees all.
    """
    device, rows, width = stock.device, len(segments), max(map(len, segments))
    ids = torch.full((rows, width), config.pad_token_id, device=device)
    canvas, weights = ids.clone(), torch.zeros(rows, width, device=device)
    for row, segment in enumerate(segments):
        length = len(segment)
        ids[row, :length] = torch.from_numpy(segment.ids)
        canvas[row, :length] = torch.from_numpy(segment.canvas(config.mask_token_id))
        weights[row, :length] = torch.from_numpy(segment.weights)
    real = torch.arange(width, device=device) < torch.tensor([[len(s)] for s in segments], device=device)
    seen = real[:, None, :].expand(rows, width, width)
    if visible is not None:
        seen = seen & visible[:width, :width]
    bias = torch.zeros(seen.shape, device=device).masked_fill(~seen, torch.finfo(torch.float32).min)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        logits: Tensor = stock(canvas, attention_mask=bias.unsqueeze(1), use_cache=False).logits
    logits = logits[:, :-1].float()
    logits = logits.index_fill(-1, torch.tensor(config.forbidden_token_ids, device=device), -torch.inf)
    # The first token, which has none before it to be predicted from, weighs nothing.
    losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (losses * weights[:, 1:].flatten()).sum()
