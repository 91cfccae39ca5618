"""Settings of the learner: how the model learns from scored completions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import model_validator

from common.config.algorithms import (
    ESTIMATORS,
    OBJECTIVES,
    BgpoConfig,
    CoupledConfig,
    ElboBlocksConfig,
    ElboConfig,
    ElboQuadratureConfig,
    ElboSystematicConfig,
    EstimatorConfig,
    GdsdConfig,
    GrpoConfig,
    ObjectiveConfig,
    PluginConfig,
    RandomMaskConfig,
    SpgConfig,
    StableDrlConfig,
    TraceConfig,
    VrpoConfig,
    carried,
)
from common.config.base import NonNegative, Positive, Rate, Section, Share, with_kind
from common.config.engine import EngineConfig
from common.plugins import Kind, PluginError, plugin_path
from common.presets import PRESETS, Preset

#: Estimators that leave some tokens without a likelihood, depending on the masks.
_INCOMPLETE = RandomMaskConfig | ElboSystematicConfig | ElboQuadratureConfig | ElboBlocksConfig
#: Estimators of the evidence lower bound, and objectives that are made of it.
_BOUNDS = ElboConfig | ElboSystematicConfig | ElboQuadratureConfig | ElboBlocksConfig
_OF_BOUNDS = SpgConfig | VrpoConfig | BgpoConfig | GdsdConfig | StableDrlConfig

#: Fields by the names that they had when the learner's section was flat.
MOVED_FIELDS = {
    "mask_pairs": "estimator.mask_pairs",
    "mask_ratio": "estimator.mask_ratio",
    "weighting": "estimator.weighting",
    "prompt_mask": "estimator.prompt_mask",
    "quadrature_nodes": "estimator.nodes",
    "trace_merged_steps": "estimator.merged_steps",
    "clip": "objective.clip",
    "clip_high": "objective.clip_high",
    "kl_weight": "objective.kl_weight",
    "kl": "objective.kl",
    "spg_beta": "objective.beta",
    "spg_mix": "objective.mix",
    "vrpo_beta": "objective.beta",
}


class LearnerConfig(EngineConfig):
    preset: Preset | None = None
    """A published algorithm: gives the fields below the values of its paper, where the recipe does not set them.
    As an override it replaces what the recipe says of the algorithm."""
    groups_per_step: Positive = 8
    """Groups (tasks) of one learner step."""
    inner_iterations: Positive = 2
    """mu, passes over the groups of a step, each with fresh masks."""
    minibatches: Positive = 1
    """Updates of one such pass, each on its share of the groups, or of their completions where groups are fewer.
    Ratios, and a KL to ``step_start``, compare with the weights that the step began with."""
    estimator: EstimatorConfig = CoupledConfig()
    """How token likelihoods are measured."""
    positions: Literal["text", "all"] = "text"
    """What is trained on of a completion: its text, up to and including what ends it, or all its positions, with
    the padding after the end."""
    objective: ObjectiveConfig = GrpoConfig()
    """The loss."""
    advantage: Literal["mean", "loo", "mean_std", "mean_sample_std", "per_reward"] = "mean"
    """Baseline of a group: its mean (paper) or leave-one-out; ``mean_std`` divides what is above the mean by the
    group's standard deviation, ``mean_sample_std`` by that with n - 1 for n. ``per_reward`` does the
    latter to every reward by itself, adds them up by their weights, and normalizes the sum over the step."""
    reference_sync_steps: NonNegative = 64
    """Optimizer steps between syncs of the reference; 0 keeps it as it was at the start of the run."""
    reference_sync_share: Share = 0.6
    """Share of the current weights in a sync; the rest stays."""
    off_policy_cap: Rate | None = None
    """Truncated importance weights against staleness: rollouts also carry the token likelihoods of the weights
    that sampled, and a token of ``grpo`` counts min(cap, old / sampling). Without a value nothing is corrected."""
    approximation_cap: Rate | None = None
    """Truncated importance weights against approximate sampling: the advantage of a completion counts
    min(cap, exact / approximate likelihood), as far as its rollout has measured it, which takes
    ``rollout.approximate_measured_share``. Without a value nothing is corrected."""
    zero_variance_groups: Literal["score", "skip", "replace"] = "score"
    """Groups whose samples all have one reward: ``score`` them like others, so that with advantages of 0 they
    count in the average of the loss and in the KL (as released); ``skip`` them, so that the loss is that of the
    others; or ``replace`` them, so that others are trained in their place."""
    mismatch_steps: NonNegative = 10
    """Learner steps between two measurements of how far the log-probabilities of the rollout workers are from the
    learner's, each with forward passes over at most 16 canvases of one rollout. 0: never."""
    weights_transport: Literal["auto", "object_store", "collective"] = "auto"
    """How rollout workers get new weights: each out of Ray's ``object_store``, or by ``collective`` broadcast from
    rank 0 (NCCL between GPUs, gloo otherwise). ``auto`` broadcasts where some worker is on another machine than
    rank 0, or each process has a GPU of its own, and else goes through shared memory. A worker that missed a
    broadcast loads the weights out of shared memory or, on another machine, the object store."""

    @property
    def updates_per_step(self) -> int:
        """Count the optimizer steps of a learner step that has completions enough for all its minibatches."""
        return self.inner_iterations * self.minibatches

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        name = values.get("preset") if isinstance(values, dict) else None
        preset = PRESETS.get(name) if isinstance(name, str) else None
        if preset is None:
            return values
        filled = {**preset, **values}
        for field, kinds in (("estimator", ESTIMATORS), ("objective", OBJECTIVES)):
            stated = with_kind(values.get(field, {}), preset[field]["kind"])
            if isinstance(stated, dict):
                filled[field] = {**carried(kinds, preset[field], stated["kind"]), **stated}
        return filled

    @model_validator(mode="after")
    def _plugins_can_be_found(self) -> Self:
        chosen: tuple[tuple[Kind, Section, Iterable[str]], ...] = (
            ("estimator", self.estimator, ESTIMATORS),
            ("objective", self.objective, OBJECTIVES),
        )
        for field, section, ours in chosen:
            if isinstance(section, PluginConfig):
                try:
                    plugin_path(field, section.kind, tuple(ours))
                except PluginError as error:
                    raise ValueError(f"{field}.kind: {error}") from error
        return self

    @model_validator(mode="after")
    def _algorithm_is_consistent(self) -> Self:
        if self.off_policy_cap:
            if not isinstance(self.objective, GrpoConfig | PluginConfig):
                raise ValueError("off_policy_cap: only the grpo objective weighs tokens; leave it out")
            if isinstance(self.estimator, _INCOMPLETE):
                raise ValueError(
                    f"off_policy_cap: {self.estimator.kind} does not measure every token; leave it out"
                )
            if self.positions == "all":
                raise ValueError("off_policy_cap: rollouts record it for their text alone; set positions: text")
        if self.approximation_cap and not isinstance(self.objective, GrpoConfig | PluginConfig):
            raise ValueError("approximation_cap: only the grpo objective takes weighed advantages; leave it out")
        if self.positions == "all" and isinstance(self.estimator, TraceConfig):
            raise ValueError("positions: no step of a rollout commits what follows its end; set positions: text")
        if isinstance(self.objective, _OF_BOUNDS) and not isinstance(self.estimator, _BOUNDS | PluginConfig):
            raise ValueError(
                f"objective: {self.objective.kind} is made of evidence lower bounds; set estimator to elbo"
            )
        return self
