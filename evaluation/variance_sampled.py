"""The variance of likelihood estimates of a real model: Monte Carlo over masks, text by text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import sqrt

import numpy as np
import numpy.typing as npt

from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.views import Estimator, SampleKey, Text
from common.models.folder import load_tokenizer
from common.models.transformer import MaskedDiffusionModel
from evaluation.token_log_probs import token_log_probs
from evaluation.variance import CONTENDERS, COUPLED, COUPLED_TOTAL, Analysis, Figure, Spread, average, compare

Array = npt.NDArray[np.float64]
#: Estimates the evidence lower bound that biases are taken against, by draws of its own.
_BOUND = CountedElboEstimator(4)
#: Estimators that are run on each text.
STAGES = len(CONTENDERS) + 1


def reference_texts(
    path: str, model: MaskedDiffusionModel, solved: Sequence[tuple[str, str]], length: int
) -> list[Text]:
    """Pairs of a prompt and its right solution as texts, each with a completion of ``length`` tokens.

    Ended and padded as a rollout would be; a solution that is longer is cut off, as a rollout would be.
    Raises ModelError where the model has no tokenizer.
    """
    tokenizer = load_tokenizer(path)
    texts = []
    for pair in solved:
        prompt, solution = (tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in pair)
        ended = (*solution, model.config.eos_token_id)[:length]
        padding = (model.config.pad_token_id,) * (length - len(ended))
        texts.append(Text(prompt, ended + padding, valid_tokens=len(ended)))
    return texts


def analyze_by_sampling(
    model: MaskedDiffusionModel,
    texts: Sequence[Text],
    draws: int,
    seed: int,
    progress: Callable[[str], None] = lambda stage: None,
) -> Analysis:
    """The table, averaged over the texts, from ``draws`` (two at least) mask draws of every estimator on each.

    Standard errors are those of the draws: the texts are taken as given. ``progress`` hears of every stage done,
    :data:`STAGES` for each text.
    """
    bounds: list[dict[str, Spread]] = []
    spreads: list[list[dict[str, Spread]]] = []
    covariances: list[dict[str, Figure]] = []
    for index, text in enumerate(texts):
        draw = partial(_contributions, model, text, draws=draws, seed=seed, group=index)
        bounds.append(_spread(draw(_BOUND, number=0).sum(1)))
        progress("evidence lower bound")
        spreads.append([])
        for number, contender in enumerate(CONTENDERS, 1):
            found = draw(contender.estimator, number=number)
            spreads[-1].append(_spread(found.sum(1)))
            if contender is COUPLED:
                covariances.append(_covariance(COUPLED_TOTAL * found[:, 1:]))
            progress(contender.name)
    levels = ("token", "sequence")
    by_contender = dict(zip(CONTENDERS, zip(*spreads, strict=True), strict=True))
    return compare(
        {
            contender: {
                level: Spread(
                    average([spread[level].mean for spread in found]),
                    average([spread[level].variance for spread in found]),
                )
                for level in levels
            }
            for contender, found in by_contender.items()
        },
        elbo={level: average([spread[level].mean for spread in bounds]) for level in levels},
        pair_covariance={level: average([found[level] for found in covariances]) for level in levels},
    )


def _contributions(
    model: MaskedDiffusionModel,
    text: Text,
    estimator: Estimator,
    *,
    draws: int,
    seed: int,
    group: int,
    number: int,
) -> Array:
    """Compute what each view adds to the estimates of the valid tokens, [draws, V, n].

    ``number`` keeps the draws of different estimators apart.
    """
    drawn = [estimator.views(SampleKey(seed, group, draw, number), text) for draw in range(draws)]
    canvases = np.concatenate([views.canvases(text, model.config.mask_token_id) for views in drawn])
    weights = np.stack([views.weights for views in drawn])
    found: Array = weights * token_log_probs(model, text, canvases).reshape(weights.shape)
    return found[:, :, : text.valid_tokens]


def _spread(estimates: Array) -> dict[str, Spread]:
    """Compute mean and variance of estimates [draws, n], as the mean over tokens and for their sum."""
    shifted = estimates - estimates[0]  # exactly 0 where nothing is drawn
    away = shifted - shifted.mean(0)
    return {
        "token": Spread(_mean(estimates.mean(1)), _corrected((away**2).mean(1))),
        "sequence": Spread(_mean(estimates.sum(1)), _corrected(away.sum(1) ** 2)),
    }


def _covariance(halves: Array) -> dict[str, Figure]:
    """Compute the covariance of two views' contributions [draws, 2, n]."""
    first, second = np.moveaxis(halves - halves.mean(0), 1, 0)
    return {
        "token": _corrected((first * second).mean(1)),
        "sequence": _corrected(first.sum(1) * second.sum(1)),
    }


def _mean(values: Array) -> Figure:
    shifted = values - values[0]  # exactly 0 where nothing is drawn
    return Figure(float(values[0] + shifted.mean()), float(shifted.std(ddof=1)) / sqrt(len(values)))


def _corrected(products: Array) -> Figure:
    """A variance or covariance from products [draws] of deviations from the sample's own mean."""
    figure, scale = _mean(products), len(products) / (len(products) - 1)
    return Figure(figure.value * scale, figure.error * scale)
