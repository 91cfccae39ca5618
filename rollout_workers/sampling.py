"""From logits to tokens: temperature, nucleus, entropy, and inverse-CDF sampling.

A token is drawn from one uniform number, so a sample's noise does not depend on the batch it runs in.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Rows whose nucleus lies within this many most likely tokens need no sort of the vocabulary.
_FAST_WIDTH = 64


def token_probabilities(logits: Tensor, temperature: float) -> Tensor:
    """softmax(logits / T) [n, V] in fp32; at T = 0, where the choice is greedy, softmax(logits)."""
    return (logits / temperature if temperature > 0 else logits).softmax(-1)


def nucleus_entropy(probabilities: Tensor, top_p: float) -> Tensor:
    """Entropy [n] in nats of each row [n, V] restricted to its nucleus and renormalized."""
    vocabulary = probabilities.shape[-1]
    top = probabilities.topk(min(_FAST_WIDTH, vocabulary)).values
    entropy = _entropy_of_sorted(top, top_p)
    wide = (top.sum(-1) < top_p).nonzero().squeeze(-1)
    if wide.numel() and vocabulary > _FAST_WIDTH:
        entropy[wide] = _entropy_of_sorted(probabilities[wide].sort(descending=True).values, top_p)
    return entropy


def draw(probabilities: Tensor, top_p: float, uniforms: Tensor, greedy: bool) -> tuple[Tensor, Tensor]:
    """One token per row, and its log-probability under the sampler.

    ``probabilities`` [n, V], ``uniforms`` [n] in [0, 1). Greedy rows take the most likely token, whose
    log-probability is then 0.
    """
    if greedy:
        return probabilities.argmax(-1), torch.zeros(len(probabilities), device=probabilities.device)
    ordered, ids = probabilities.sort(descending=True)
    kept = _nucleus(ordered, top_p).double()
    cumulative = kept.cumsum(-1)
    targets = uniforms.double().unsqueeze(-1) * cumulative[:, -1:]
    choice = torch.searchsorted(cumulative, targets, right=True)
    last = (kept > 0).sum(-1, keepdim=True) - 1  # rounding must not carry the choice past the nucleus
    choice = torch.minimum(choice, last)
    chosen = kept.gather(-1, choice) / cumulative[:, -1:]
    return ids.gather(-1, choice).squeeze(-1), chosen.log().squeeze(-1).float()


def _nucleus(ordered: Tensor, top_p: float) -> Tensor:
    """Zero what lies outside the smallest set of most likely tokens with mass >= top_p. [n, K] sorted."""
    before = ordered.cumsum(-1) - ordered
    return torch.where(before < top_p, ordered, 0.0)


def _entropy_of_sorted(ordered: Tensor, top_p: float) -> Tensor:
    kept = _nucleus(ordered, top_p)
    normalized = kept / kept.sum(-1, keepdim=True)
    entropy: Tensor = torch.special.entr(normalized).sum(-1)
    return entropy
