"""Every outcome of an estimator's random draws for a short completion, with its probability.

A draw falls into parts that are independent of each other: the full mask, each pair, each node's mask. All masks
are enumerated; a ratio is integrated over by quadrature.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

from common.likelihood.coupled import CoupledEstimator
from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.elbo_quadrature import QuadratureElboEstimator
from common.likelihood.full_mask import FullMaskEstimator
from common.likelihood.views import Estimator, Masks

Array = npt.NDArray[np.float64]
#: Nodes over the ratio. Weights have their poles at 0 and 1; over (0.2, 0.8) the error falls as 9^-nodes.
_NODES = 16


@dataclass(frozen=True)
class DrawPart:
    """N outcomes of a draw: ``probability`` [N], and ``masks`` and ``weights`` [N, V, L] of its V views."""

    probability: Array
    masks: Masks
    weights: Array


def parts_of(estimator: Estimator, length: int) -> list[DrawPart]:
    """The independent parts of an estimator's draw. Raises TypeError for one that is not in the table."""
    masks = every_mask(length)
    sizes = masks.sum(1)
    full = DrawPart(np.ones(1), np.ones((1, 1, length), dtype=bool), np.ones((1, 1, length)))
    match estimator:
        case FullMaskEstimator(prompt_mask=0.0):
            return [full]
        case CoupledEstimator(pairs=pairs, ratio=ratio, weighting=weighting, complements=complements):
            total = 1.0 + (2 * pairs if weighting == "normalized" else pairs)
            pair = _coupled_pair(ratio, masks) if complements else _decoupled_pair(ratio, masks)
            return [_scaled(part, 1.0 / total) for part in (full, *[pair] * pairs)]
        case CountedElboEstimator(pairs=pairs):
            probability = np.array([1.0 / ((length + 1) * comb(length, size)) for size in sizes.tolist()])
            both = np.stack([masks, ~masks], 1)
            weights: Array = both * ((length + 1) / np.maximum(1, both.sum(2, keepdims=True))) / (2 * pairs)
            return [DrawPart(probability, both, weights)] * pairs
        case QuadratureElboEstimator(nodes=nodes):
            return [_scaled(_mask_at(t, masks), share) for t, share in _gauss(0.0, 1.0, nodes)]
    raise TypeError(f"no enumeration for {estimator}")


def _coupled_pair(ratio: tuple[float, float], masks: Masks) -> DrawPart:
    drawn = _one_mask(ratio, masks)
    inverse = np.repeat([1.0 / (1.0 - r) for r, _ in _gauss(*ratio, _NODES)], len(masks))
    others = ~drawn.masks
    return DrawPart(
        drawn.probability,
        np.concatenate([drawn.masks, others], 1),
        np.concatenate([drawn.weights, others * inverse[:, None, None]], 1),
    )


def _decoupled_pair(ratio: tuple[float, float], masks: Masks) -> DrawPart:
    """Every two masks at every two ratios."""
    drawn = _one_mask(ratio, masks)
    one, other = (i.reshape(-1) for i in np.indices((len(drawn.masks),) * 2))
    return DrawPart(
        drawn.probability[one] * drawn.probability[other],
        np.concatenate([drawn.masks[one], drawn.masks[other]], 1),
        np.concatenate([drawn.weights[one], drawn.weights[other]], 1),
    )


def _one_mask(ratio: tuple[float, float], masks: Masks) -> DrawPart:
    """A ratio, uniform in a range, and a mask at that ratio; ratios in the order of their nodes."""
    rule = _gauss(*ratio, _NODES)
    parts = [_mask_at(r, masks) for r, _ in rule]
    return DrawPart(
        np.concatenate([share * part.probability for part, (_, share) in zip(parts, rule, strict=True)]),
        np.concatenate([part.masks for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )


def _mask_at(ratio: float, masks: Masks) -> DrawPart:
    """A mask of every position with probability ``ratio``, and a masked token's weight of 1 / ratio."""
    sizes = masks.sum(1)
    chances: Array = ratio**sizes * (1.0 - ratio) ** (masks.shape[1] - sizes)
    return DrawPart(chances, masks[:, None], masks[:, None] / np.float64(ratio))


def _scaled(part: DrawPart, factor: float) -> DrawPart:
    return DrawPart(part.probability, part.masks, part.weights * factor)


def every_mask(length: int) -> Masks:
    """[2^L, L]; row i masks the bits of i."""
    found: Masks = (np.arange(2**length)[:, None] >> np.arange(length)) & 1 == 1
    return found


def codes(masks: Masks) -> npt.NDArray[np.int64]:
    """The rows of masks [..., L] in :func:`every_mask`."""
    found: npt.NDArray[np.int64] = masks @ (1 << np.arange(masks.shape[-1]))
    return found


def _gauss(low: float, high: float, nodes: int) -> list[tuple[float, float]]:
    """Gauss-Legendre nodes over a range, and their shares of it."""
    points, shares = np.polynomial.legendre.leggauss(nodes)
    return [
        (low + (high - low) * (1.0 + x) / 2.0, w / 2.0)
        for x, w in zip(points.tolist(), shares.tolist(), strict=True)
    ]
