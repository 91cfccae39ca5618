"""A tiny model whose every canvas is scored once, and every outcome of a shipped estimator's random draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from math import comb, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from common import rng
from common.likelihood.views import Estimator, SampleKey, Text, Views
from common.models.config import ModelConfig
from common.models.packing import Packing
from common.models.transformer import MaskedDiffusionModel, initialize

LENGTH = 4
MASK_ID, END_ID = 0, 1
TEXT = Text(prompt_ids=(3, 6, 2), completion_ids=(5, 2, 4, 4), valid_tokens=LENGTH)
KEY = SampleKey(0, 0, 0, 0)
#: What the scripted source's ``uniform``, ``random``, ``integers`` and ``permutation`` return, in this order.
Draws = Sequence[Any]
#: A probability, and the draws that have it.
Outcome = tuple[float, Draws]


def tiny_model(seed: int = 0) -> MaskedDiffusionModel:
    """Five words besides the mask and the end token; its predictions depend on what is masked."""
    config = ModelConfig(
        vocab_size=7,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        rope_theta=10_000.0,
        mask_token_id=MASK_ID,
        eos_token_id=END_ID,
        pad_token_id=END_ID,
    )
    model = MaskedDiffusionModel(config)
    initialize(model, torch.Generator().manual_seed(seed), std=0.4)
    return model.eval().requires_grad_(False)


class Canvases:
    """log p of every token of :data:`TEXT` on every canvas, its prompt masked in part too. Looked up, not
    computed."""

    def __init__(self, seed: int = 0) -> None:
        model = tiny_model(seed)
        tokens = (*TEXT.prompt_ids, *TEXT.completion_ids)
        canvases = [
            tuple(MASK_ID if hidden else token for hidden, token in zip(pattern, tokens, strict=True))
            for pattern in product((False, True), repeat=len(tokens))
        ]
        packing = Packing.of([len(tokens)] * len(canvases))
        with torch.inference_mode():
            hidden = model.hidden(packing.pack(canvases), packing)
            logits = model.logits(hidden).double().log_softmax(-1).view(len(canvases), len(tokens), -1)
        first = len(TEXT.prompt_ids)
        self._found = {
            canvas: tuple(float(logits[i, first + k - 1, TEXT.completion_ids[k]]) for k in range(LENGTH))
            for i, canvas in enumerate(canvases)
        }

    def logprob(self, masked: Sequence[int] | frozenset[int], k: int, hidden: Sequence[int] = ()) -> float:
        """log p of token k where the positions ``masked``, and ``hidden`` of the prompt, are masked."""
        prompt = (MASK_ID if i in hidden else token for i, token in enumerate(TEXT.prompt_ids))
        completion = (MASK_ID if i in masked else token for i, token in enumerate(TEXT.completion_ids))
        return self._found[(*prompt, *completion)][k]

    def estimate(self, views: Views) -> list[float]:
        """The estimate of each token's log-likelihood that the views and their weights make."""
        canvases = [tuple(row) for row in views.canvases(TEXT, MASK_ID).tolist()]
        rows = list(zip(canvases, views.weights.tolist(), strict=True))
        return [sum(weights[k] * self._found[canvas][k] for canvas, weights in rows) for k in range(LENGTH)]


class _Script:
    """In place of a numpy Generator: returns what it was given, after a look at what it was asked for."""

    def __init__(self, draws: Draws) -> None:
        self.left = list(draws)

    def uniform(self, low: float, high: float) -> float:
        value: float = self.left.pop(0)
        assert low <= value <= high
        return value

    def random(self, size: int | tuple[int, ...] = ()) -> npt.NDArray[np.float64]:
        values = np.asarray(self.left.pop(0), dtype=float)
        assert values.shape == np.empty(size).shape
        assert (values >= 0).all()
        assert (values < 1).all()
        return values

    def integers(self, low: int, high: int) -> int:
        value: int = self.left.pop(0)
        assert low <= value < high
        return value

    def permutation(self, count: int) -> npt.NDArray[np.int64]:
        order = self.left.pop(0)
        assert sorted(order) == list(range(count))
        return np.asarray(order)


def scripted_views(
    patch: pytest.MonkeyPatch, estimator: Estimator, draws: Draws, key: SampleKey = KEY, **streams: Draws
) -> Views:
    """What the estimator makes of chosen random numbers; ``streams`` are those of other purposes, by name."""
    given = streams | {"masks": draws}
    scripts = {purpose.replace("_", "-"): _Script(numbers) for purpose, numbers in given.items()}
    patch.setattr(rng, "stream", lambda seed, purpose, *indices: scripts[purpose])
    views = estimator.views(key, TEXT)
    assert not any(script.left for script in scripts.values())
    return views


def bits(mask: Sequence[bool] | npt.NDArray[np.bool_]) -> list[float]:
    """Uniform numbers that mask exactly this, whatever the ratio."""
    return [0.0 if masked else float(np.nextafter(1.0, 0.0)) for masked in mask]


def masks(size: int = LENGTH) -> Iterator[tuple[bool, ...]]:
    return product((False, True), repeat=size)


def chance(mask: Sequence[bool], ratio: float) -> float:
    """The probability of a mask where every position is masked with probability ``ratio``."""
    return prod(ratio if masked else 1.0 - ratio for masked in mask)


def one_mask(ratios: Sequence[tuple[float, float]]) -> list[Outcome]:
    """Every draw of a ratio, given (ratio, probability), and of a mask at that ratio."""
    return [(share * chance(m, ratio), (ratio, bits(m))) for ratio, share in ratios for m in masks()]


def one_subset() -> list[Outcome]:
    """Every draw of a count l, uniform in 0..L, and of l positions."""
    found: list[Outcome] = []
    for count in range(LENGTH + 1):
        for chosen in combinations(range(LENGTH), count):
            order = [*chosen, *(k for k in range(LENGTH) if k not in chosen)]
            found.append((1 / (LENGTH + 1) / comb(LENGTH, count), (count, order)))
    return found


def joint(*parts: Sequence[Outcome]) -> Iterator[Outcome]:
    """All combinations of independent draws."""
    for chosen in product(*parts):
        yield prod(p for p, _ in chosen), [number for _, draws in chosen for number in draws]


def gauss(low: float, high: float, nodes: int) -> list[tuple[float, float]]:
    """Gauss-Legendre nodes of a uniform ratio, and their shares."""
    points, shares = np.polynomial.legendre.leggauss(nodes)
    return [(low + (high - low) * (1 + float(x)) / 2, float(w) / 2) for x, w in zip(points, shares, strict=True)]


def mean(outcomes: Iterator[tuple[float, list[float]]]) -> list[float]:
    """The mean of vectors over outcomes whose probabilities add up to 1."""
    totals, whole = [0.0] * LENGTH, 0.0
    for p, values in outcomes:
        whole += p
        totals = [total + p * value for total, value in zip(totals, values, strict=True)]
    assert abs(whole - 1) < 1e-12
    return totals
