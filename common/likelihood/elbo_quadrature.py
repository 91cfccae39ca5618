"""The evidence lower bound by quadrature over the mask ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.likelihood.views import SampleKey, Text, Views


@dataclass(frozen=True)
class QuadratureElboEstimator:
    """The evidence lower bound by Gauss-Legendre quadrature over the mask ratio, as in GDPO (arXiv 2510.08554).

    At each of ``nodes`` fixed ratios t one subset is drawn, every position with probability t; a masked token
    counts 1/t times the node's weight. The integral over t is exact for likelihoods that are polynomials in t of
    degree up to 2 ``nodes`` - 1.
    """

    nodes: int = 2

    complete = False

    def views(self, key: SampleKey, text: Text) -> Views:
        points, shares = np.polynomial.legendre.leggauss(self.nodes)
        ratios = (points[:, None] + 1.0) / 2.0
        masks = key.mask_generator().random((self.nodes, len(text.completion_ids))) < ratios
        return Views(masks, masks * (shares[:, None] / 2.0) / ratios)
