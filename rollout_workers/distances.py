"""How far two distributions over the vocabulary are apart."""

from __future__ import annotations

import torch
from torch import Tensor

from common.models.canvas_logprobs import TokenModel

#: Logits of one side that are held at once.
_LOGITS = {"cpu": 2**22, "cuda": 2**27}


def divergences(model: TokenModel, first: Tensor, second: Tensor) -> Tensor:
    """Compute KL(first || second) [n], in nats, of what hidden rows [n, H] predict at temperature 1.

    Takes two products with the output layer.
    """
    size = max(1, _LOGITS[first.device.type] // model.config.vocab_size)
    pairs = zip(torch.split(first, size), torch.split(second, size), strict=True)
    return torch.cat([divergence(log_probs(model, one), log_probs(model, other)) for one, other in pairs])


def log_probs(model: TokenModel, rows: Tensor) -> Tensor:
    """Compute the log-probabilities [n, V] that hidden rows [n, H] predict; -inf at tokens never predicted."""
    return model.logits(rows).log_softmax(-1)


def divergence(first: Tensor, second: Tensor) -> Tensor:
    """Compute KL(first || second) [n] of log-probabilities [n, V]; a token the first rules out adds nothing."""
    terms = torch.where(first > -torch.inf, first.exp() * (first - second), 0.0)
    return terms.sum(-1).clamp(min=0.0)
