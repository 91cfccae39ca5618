"""The estimator that a configuration asks for."""

from __future__ import annotations

from common.config import (
    CoupledConfig,
    DecoupledConfig,
    ElboBlocksConfig,
    ElboConfig,
    ElboQuadratureConfig,
    ElboSystematicConfig,
    EstimatorConfig,
    FullMaskConfig,
    LeftToRightConfig,
    PluginConfig,
    RandomMaskConfig,
    TraceConfig,
)
from common.likelihood.coupled import CoupledEstimator
from common.likelihood.elbo import CountedElboEstimator
from common.likelihood.elbo_blocks import BlockElboEstimator
from common.likelihood.elbo_quadrature import QuadratureElboEstimator
from common.likelihood.elbo_systematic import SystematicElboEstimator
from common.likelihood.full_mask import FullMaskEstimator
from common.likelihood.left_to_right import LeftToRightEstimator
from common.likelihood.random_mask import RandomMaskEstimator
from common.likelihood.trace import TraceEstimator
from common.likelihood.views import Estimator
from common.plugins import make_plugin


def make_estimator(config: EstimatorConfig, inner_iterations: int) -> Estimator:
    """Make the estimator of a learner with so many inner iterations.

    Raises PluginError for one of the user's that cannot be found or refuses its options.
    """
    match config:
        case DecoupledConfig(mask_pairs=pairs, mask_ratio=ratio, weighting=weighting):
            return CoupledEstimator(pairs, ratio, weighting, complements=False)
        case CoupledConfig(mask_pairs=pairs, mask_ratio=ratio, weighting=weighting):
            return CoupledEstimator(pairs, ratio, weighting)
        case FullMaskConfig(prompt_mask=prompt_mask):
            return FullMaskEstimator(prompt_mask)
        case RandomMaskConfig():
            return RandomMaskEstimator(inner_iterations)
        case ElboConfig(mask_pairs=pairs):
            return CountedElboEstimator(pairs)
        case ElboSystematicConfig(subsets=subsets):
            return SystematicElboEstimator(subsets)
        case ElboQuadratureConfig(nodes=nodes):
            return QuadratureElboEstimator(nodes)
        case ElboBlocksConfig(blocks=blocks, block_length=block_length, prompt_mask=prompt_mask):
            return BlockElboEstimator(blocks, block_length, prompt_mask)
        case TraceConfig(merged_steps=merged_steps):
            return TraceEstimator(merged_steps)
        case LeftToRightConfig():
            return LeftToRightEstimator()
        case PluginConfig(kind=name, options=options):
            estimator: Estimator = make_plugin("estimator", name, options, needs=("complete", "views"))
            return estimator
