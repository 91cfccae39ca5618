"""Which masked positions a step commits: a confidence per position, and the most confident ones of each row.

``entropy``, ``topk_margin`` and ``maskgit_plus`` are Dream's and DiffuCoder's, ``low_confidence`` is LLaDA's,
``threshold`` Fast-dLLM's. ``origin`` and ``random`` need none (:func:`rollout_workers.schedule.random_steps`). A
decoder from outside is a function from :class:`Candidates` to their confidence (:mod:`common.plugins`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from common import rng
from common.plugins import PluginError, load_plugin
from common.records import NoiseKey
from common.sampler import DECODERS
from rollout_workers.sampling import Draws, Filtered, TokenSampler


@dataclass(frozen=True)
class Candidates:
    """m masked positions that a step may commit, of one or several completions.

    ``local_logits`` [m, size] are this process's columns of the model's logits
    (:class:`rollout_workers.vocabulary.Vocabulary`), all of them unless the model is tensor-parallel;
    ``positions`` [m] are the places in the completions, from 0.
    """

    local_logits: Tensor
    positions: Tensor
    tokens: TokenSampler

    @cached_property
    def logits(self) -> Tensor:
        """The model's logits [m, V], fp32 and unfiltered, -inf at tokens that are never predicted.

        Under tensor parallelism every rank gathers them when they are first asked for, which moves and takes
        4 m V bytes; entropies and margins do without.
        """
        return self.tokens.vocabulary.join(self.local_logits)

    @cached_property
    def _filtered(self) -> Filtered:
        return self.tokens.filtered(self.local_logits)

    @property
    def floor(self) -> Tensor | None:
        """The smallest weight [m] that temperature, top-p and top-k keep, if a confidence has asked for it."""
        return self._filtered.floor if "_filtered" in vars(self) else None

    def entropies(self) -> Tensor:
        """Compute the entropy [m], in nats, of each distribution under temperature, top-p and top-k."""
        return self.tokens.entropies(self._filtered)

    def margins(self) -> Tensor:
        """Compute the gap [m] between the two largest probabilities under temperature, top-p and top-k."""
        return self.tokens.margins(self._filtered)


#: Gives each of m candidates a confidence [m]. The largest of each completion are committed; ties go to the left.
#: The same candidates must always get the same: under tensor parallelism every rank computes it for itself.
Confidence = Callable[[Candidates], Tensor]


def low_entropy(candidates: Candidates) -> Tensor:
    """Prefer the positions of lowest entropy: [m] confidences."""
    return -candidates.entropies()


def wide_margin(candidates: Candidates) -> Tensor:
    """Prefer the positions with the largest gap between the two likeliest tokens: [m] confidences."""
    return candidates.margins()


_BY_DISTRIBUTION: dict[str, Confidence] = {"entropy": low_entropy, "topk_margin": wide_margin}


def find_confidence(decoder: str) -> Confidence:
    """Return the confidence of a decoder that ranks by the distribution; load it if it is from outside.

    Raises PluginError for a decoder that cannot be loaded or called. What it returns is checked at every step.
    """
    known = _BY_DISTRIBUTION.get(decoder)
    if known is not None:
        return known
    confidence = load_plugin("decoder", decoder, DECODERS)
    if not callable(confidence):
        raise PluginError(f"the decoder {decoder!r} is no function; it must take Candidates and return a tensor")

    def checked(candidates: Candidates) -> Tensor:
        found = confidence(candidates)
        wanted = candidates.positions.shape
        if not isinstance(found, Tensor) or found.shape != wanted or not found.is_floating_point():
            what = f"{found.dtype} of {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise PluginError(
                f"the decoder {decoder!r} returned {what}; return one floating-point number for each of the "
                f"{len(candidates.positions)} candidates"
            )
        if not bool(found.isfinite().all()):
            raise PluginError(f"the decoder {decoder!r} returned a confidence that is not finite")
        return found

    return checked


def confidence_of_draws(decoder: str, draws: Draws) -> Tensor:
    """Compute the confidence [m] of a decoder that ranks by the drawn token: its probability, sampled or own."""
    return draws.probabilities if decoder == "maskgit_plus" else draws.model_logprobs.exp()


def perturb(confidence: Tensor, temperature: float, keys: Sequence[NoiseKey], steps: Sequence[int]) -> Tensor:
    """Add Gumbel noise to confidence [n, L]: the largest k are draws without replacement from softmax(c / T)."""
    length = confidence.shape[1]
    noise = np.stack(
        [
            rng.stream(key.seed, f"{key.purpose}-rank", *key.indices, step).gumbel(size=length)
            for key, step in zip(keys, steps, strict=True)
        ]
    )
    return confidence / temperature + torch.from_numpy(noise).to(confidence.device)


def most_confident(confidence: Tensor, counts: Tensor) -> Tensor:
    """Mark the ``counts`` [n] most confident positions of each row of [n, L]: [n, L] bool; ties go to the left.

    Ties are common (a nucleus of one token has entropy 0), and topk would break them as each device pleases.
    """
    order = confidence.sort(dim=1, descending=True, stable=True).indices
    within = torch.arange(confidence.shape[1], device=confidence.device) < counts.unsqueeze(1)
    return torch.zeros_like(within).scatter_(1, order, within)
