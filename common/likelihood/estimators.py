"""The estimator that a configuration asks for."""

from __future__ import annotations

from common.config import LearnerConfig
from common.likelihood.ordered import LeftToRightEstimator, TraceEstimator
from common.likelihood.random_masks import (
    CountedElboEstimator,
    CoupledEstimator,
    FullMaskEstimator,
    QuadratureElboEstimator,
    RandomMaskEstimator,
)
from common.likelihood.views import Estimator


def make_estimator(config: LearnerConfig) -> Estimator:
    match config.estimator:
        case "coupled":
            return CoupledEstimator(config.mask_pairs, config.mask_ratio, config.weighting)
        case "decoupled":
            return CoupledEstimator(config.mask_pairs, config.mask_ratio, config.weighting, complements=False)
        case "full_mask":
            return FullMaskEstimator(config.prompt_mask)
        case "random_mask":
            return RandomMaskEstimator(config.inner_iterations)
        case "elbo":
            return CountedElboEstimator(config.mask_pairs)
        case "elbo_quadrature":
            return QuadratureElboEstimator(config.quadrature_nodes)
        case "trace":
            return TraceEstimator(config.trace_merged_steps)
        case "left_to_right":
            return LeftToRightEstimator()
