"""Supervised denoising: the masked-diffusion loss on given completions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from common.likelihood.views import Views
from learner.batch import pack_views
from learner.partition import Piece
from learner.policy import Policy
from learner.samples import TrainingSample

_SMALLEST_RATIO = 1e-3


def denoising_loss(
    policy: Policy, samples: Sequence[TrainingSample], random: np.random.Generator, device: torch.device
) -> Tensor:
    """Compute the masked cross-entropy weighted by 1/t, with t stratified in (0, 1), as a mean over tokens.

    One ratio t per sample; every token of the completion is a target, the end-of-text tail included.
    """
    count = len(samples)
    length = len(samples[0].completion_ids)
    strata = (np.arange(count) + random.random(count)) / count
    ratios = _SMALLEST_RATIO + (1.0 - _SMALLEST_RATIO) * random.permutation(strata)
    views = []
    for ratio in ratios:
        mask = random.random((1, length)) < ratio
        views.append(Views(mask, mask / ratio))
    pieces = [Piece(sample, (0,)) for sample in samples]
    packed = pack_views(pieces, views, policy.model.config.mask_token_id, device)
    loss = policy.loss(packed, lambda rows, log_probs: -packed.part(rows).estimates(log_probs).sum()).value
    return loss / (count * length)
