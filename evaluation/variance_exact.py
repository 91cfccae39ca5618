"""The variance of likelihood estimates, exactly: over all masks, on a tiny model."""

from __future__ import annotations

import numpy as np
import torch

from common import rng
from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.views import Text, Views
from common.models.config import ModelConfig
from common.models.transformer import MaskedDiffusionModel, initialize
from evaluation.mask_outcomes import Array, DrawPart, codes, every_mask, parts_of
from evaluation.token_log_probs import token_log_probs
from evaluation.variance import CONTENDERS, COUPLED, COUPLED_TOTAL, Analysis, Figure, Spread, compare

_PROMPT, _LENGTH, _WORDS = 3, 4, 5
_MASK_ID, _END_ID = 0, 1


def tiny_case(seed: int) -> tuple[MaskedDiffusionModel, Text]:
    """A random model of five words whose predictions depend on what is masked, and a text of four tokens."""
    config = ModelConfig(
        vocab_size=2 + _WORDS,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        rope_theta=10_000.0,
        mask_token_id=_MASK_ID,
        eos_token_id=_END_ID,
        pad_token_id=_END_ID,
    )
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(seed), std=0.4)
    words = rng.stream(seed, "tiny-text").integers(2, 2 + _WORDS, _PROMPT + _LENGTH).tolist()
    return model.eval(), Text(tuple(words[:_PROMPT]), tuple(words[_PROMPT:]), _LENGTH)


def analyze_exactly(model: MaskedDiffusionModel, text: Text) -> Analysis:
    """The table for one text, without an error. It takes 2^L forward views: for a few tokens only."""
    length = len(text.completion_ids)
    masks = every_mask(length)
    views = Views(masks, masks.astype(float))
    log_probs = token_log_probs(model, text, views.canvases(text, model.config.mask_token_id))
    spreads = {c: _spread(parts_of(c.estimator, length), log_probs) for c in CONTENDERS}
    (subset,) = parts_of(CountedElboEstimator(), length)
    bound = _expected(subset, log_probs)
    pair = parts_of(COUPLED.estimator, length)[1]
    halves = COUPLED_TOTAL * pair.weights * log_probs[codes(pair.masks)]
    away = halves - np.tensordot(pair.probability, halves, 1)
    first, second = away[:, 0], away[:, 1]
    return compare(
        spreads,
        elbo={"token": Figure(float(bound.mean())), "sequence": Figure(float(bound.sum()))},
        pair_covariance={
            "token": Figure(float(pair.probability @ (first * second).mean(1))),
            "sequence": Figure(float(pair.probability @ (first.sum(1) * second.sum(1)))),
        },
    )


def _estimates(part: DrawPart, log_probs: Array) -> Array:
    """Compute what each outcome adds to the estimate, [N, L]; ``log_probs`` [2^L, L] are those of all masks."""
    found: Array = (part.weights * log_probs[codes(part.masks)]).sum(1)
    return found


def _expected(part: DrawPart, log_probs: Array) -> Array:
    mean: Array = part.probability @ _estimates(part, log_probs)
    return mean


def _spread(parts: list[DrawPart], log_probs: Array) -> dict[str, Spread]:
    mean, token, sequence = np.zeros(log_probs.shape[1]), 0.0, 0.0
    for part in parts:
        expected = _expected(part, log_probs)
        away = _estimates(part, log_probs) - expected
        mean += expected
        token += float(part.probability @ (away**2).mean(1))
        sequence += float(part.probability @ away.sum(1) ** 2)
    return {
        "token": Spread(Figure(float(mean.mean())), Figure(token)),
        "sequence": Spread(Figure(float(mean.sum())), Figure(sequence)),
    }
