"""The objective that a configuration asks for."""

from __future__ import annotations

from common.config import (
    BgpoConfig,
    GdsdConfig,
    GrpoConfig,
    ObjectiveConfig,
    PluginConfig,
    SequenceConfig,
    SpgConfig,
    StableDrlConfig,
    VrpoConfig,
    Wd1Config,
)
from common.plugins import make_plugin
from learner.objectives.bgpo import BoundaryGuided
from learner.objectives.gdsd import GuidedDistillation
from learner.objectives.grpo import TokenGrpo
from learner.objectives.objective import Objective
from learner.objectives.ratios import Clip
from learner.objectives.sequence import SequenceGrpo
from learner.objectives.spg import SandwichedGradient
from learner.objectives.stable_drl import SelfNormalizedGradient
from learner.objectives.vrpo import PreferenceLoss
from learner.objectives.wd1 import WeightedLikelihood

#: What every objective of the user's has; :class:`Objective` says what each is.
_INTERFACE = ("by_token", "needs_old", "needs_reference", "metric_names", "link", "count", "sums")


def make_objective(config: ObjectiveConfig) -> Objective:
    """Make an objective. Raises PluginError for one of the user's that is missing or refuses its options."""
    match config:
        case SequenceConfig():
            return SequenceGrpo(_clip(config), config.kl_weight, config.kl, config.kl_to)
        case GrpoConfig():
            return TokenGrpo(_clip(config), config.kl_weight, config.kl, config.kl_to)
        case Wd1Config():
            return WeightedLikelihood()
        case SpgConfig():
            return SandwichedGradient(config.beta, config.mix)
        case VrpoConfig():
            return PreferenceLoss(config.beta)
        case BgpoConfig():
            return BoundaryGuided(_clip(config), config.dual_clip)
        case GdsdConfig():
            return GuidedDistillation(config.psi, config.clip, config.kl_weight)
        case StableDrlConfig():
            return SelfNormalizedGradient(SandwichedGradient(config.beta, config.mix), config.ratio_cap)
        case PluginConfig(kind=name, options=options):
            objective: Objective = make_plugin("objective", name, options, needs=_INTERFACE)
            return objective


def _clip(config: GrpoConfig | SequenceConfig | BgpoConfig) -> Clip:
    return Clip(config.clip, config.clip if config.clip_high is None else config.clip_high)
