"""Which masked positions a step commits: a confidence per position, and the most confident ones of each row.

``entropy``, ``topk_margin`` and ``maskgit_plus`` are Dream's and DiffuCoder's, ``low_confidence`` is LLaDA's,
``threshold`` Fast-dLLM's. ``origin`` and ``random`` need none (:func:`rollout_workers.schedule.random_steps`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from common import rng
from common.records import Decoder, NoiseKey
from rollout_workers.sampling import Draws, TokenSampler


def confidence_of_logits(sampler: TokenSampler, logits: Tensor) -> Tensor:
    """[n] for the decoders whose confidence depends on the distribution alone, from logits [n, V]."""
    if sampler.sampler.decoder == "topk_margin":
        return sampler.margins(logits)
    return -sampler.entropies(logits)


def confidence_of_draws(decoder: Decoder, draws: Draws) -> Tensor:
    """[n] for the decoders that rank by the drawn token: its probability as sampled, or the model's own."""
    return draws.probabilities if decoder == "maskgit_plus" else draws.model_logprobs.exp()


def perturb(confidence: Tensor, temperature: float, keys: Sequence[NoiseKey], steps: Sequence[int]) -> Tensor:
    """Confidence [n, L] with Gumbel noise: the largest k are draws without replacement from softmax(c / T)."""
    length = confidence.shape[1]
    noise = np.stack(
        [
            rng.stream(key.seed, f"{key.purpose}-rank", *key.indices, step).gumbel(size=length)
            for key, step in zip(keys, steps, strict=True)
        ]
    )
    return confidence / temperature + torch.from_numpy(noise).to(confidence.device)


def most_confident(confidence: Tensor, counts: Tensor) -> Tensor:
    """[n, L] bool: the ``counts`` [n] most confident positions of each row; ties go to the left.

    Ties are common (a nucleus of one token has entropy 0), and topk would break them as each device pleases.
    """
    order = confidence.sort(dim=1, descending=True, stable=True).indices
    within = torch.arange(confidence.shape[1], device=confidence.device) < counts.unsqueeze(1)
    return torch.zeros_like(within).scatter_(1, order, within)
