"""The objective that a configuration asks for."""

from __future__ import annotations

from common.config import LearnerConfig
from learner.objective import Clip, Objective, TokenGrpo
from learner.sequence_objectives import PreferenceLoss, SandwichedGradient, SequenceGrpo, WeightedLikelihood


def make_objective(config: LearnerConfig) -> Objective:
    clip = Clip(config.clip, config.clip if config.clip_high is None else config.clip_high)
    match config.objective:
        case "grpo":
            return TokenGrpo(clip, config.kl_weight, config.kl)
        case "sequence":
            return SequenceGrpo(clip, config.kl_weight, config.kl)
        case "wd1":
            return WeightedLikelihood()
        case "spg":
            return SandwichedGradient(config.spg_beta, config.spg_mix)
        case "vrpo":
            return PreferenceLoss(config.vrpo_beta)
