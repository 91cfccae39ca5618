"""Metrics of a step of reinforcement learning: a line of metrics.jsonl, gauges of the driver in Prometheus."""

from __future__ import annotations

from common.metrics.metric import Metric
from common.metrics.training import OPTIMIZATION

#: Name of the whole reward beside its components.
TOTAL = "total"
#: Quantiles of the reward and its components.
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}
#: Parts of a text whose place in the decoding order is followed.
TENTHS = 10

_APPROXIMATE = "rollout.approximate_measured_share is above 0"

REWARD = (
    Metric("reward/mean", "Mean reward of the step's samples"),
    Metric("reward/std", "Standard deviation of the reward"),
    Metric(
        "reward/plateau",
        "Steps since the mean reward of ten steps last rose by a tenth of the reward's standard deviation",
        "steps",
    ),
    Metric("reward/solved", "Share of samples that pass all tests"),
    Metric("reward/pass_rate", "Share of tests passed"),
    Metric("reward/excluded", "Samples left out because the sandbox failed"),
    Metric("groups/trained", "Groups of the step"),
    Metric("groups/zero_variance", "Share of groups whose samples have one reward"),
    Metric("response/length_mean", "Mean completion length", "tokens"),
    Metric("response/truncated", "Share of completions without an end-of-text"),
    Metric(
        "reward/{component}",
        "Mean of a part of the reward, before weighting: tests, format, or a reward function of the recipe",
        labels=("component",),
        name="reward_component",
    ),
    Metric(
        "reward/{component}/{quantile}",
        "Quantile of a part of the reward over the step's samples, or of the total",
        labels=("component", "quantile"),
        name="reward_quantile",
    ),
)

DIFFUSION = (
    Metric("diffusion/ar_ness_local", "Local AR-ness at 1 of the text"),
    Metric("diffusion/ar_ness_global", "Global AR-ness at 1 of the text"),
    Metric("diffusion/ar_ness_local_at_4", "Local AR-ness at 4 of the text"),
    Metric("diffusion/ar_ness_global_at_4", "Global AR-ness at 4 of the text"),
    Metric("diffusion/executed_ar_ness_local", "Local AR-ness at 1 of all commits, after the end of the text too"),
    Metric(
        "diffusion/executed_ar_ness_global", "Global AR-ness at 1 of all commits, after the end of the text too"
    ),
    Metric(
        "diffusion/executed_ar_ness_local_at_4", "Local AR-ness at 4 of all commits, after the end of the text too"
    ),
    Metric(
        "diffusion/executed_ar_ness_global_at_4",
        "Global AR-ness at 4 of all commits, after the end of the text too",
    ),
    Metric("diffusion/steps", "Mean forward passes per completion"),
    Metric("diffusion/tokens_per_forward", "Text tokens per forward pass of a completion"),
    Metric("diffusion/surprisal", "Mean of -log p of a text token under the model at temperature 1", "nats"),
    Metric("diffusion/approximate", "Share of groups denoised by an approximate sampler"),
    Metric(
        "approximation/log_ratio",
        "Mean log p_exact - log p_approximate of the committed tokens that were measured",
        "nats",
        when=_APPROXIMATE,
    ),
    Metric(
        "approximation/kl",
        "Mean KL from the approximate to the exact distribution of the committed tokens that were measured",
        "nats",
        when=_APPROXIMATE,
    ),
    Metric("approximation/tokens", "Committed tokens that were measured", when=_APPROXIMATE),
    Metric(
        "diffusion/order/{tenth}",
        "Mean rank in the decoding order, 0 first to 1 last, of the tokens in a tenth of the text",
        labels=("tenth",),
        name="decode_order",
    ),
)

POLICY = (
    Metric("staleness/mean", "Mean versions between the start of a group's sampling and its training"),
    Metric("staleness/max", "Largest number of versions between the start of a group's sampling and its training"),
    Metric("policy/loss", "Loss per unit of the objective: token, completion, group or pair"),
    Metric("policy/kl", "KL to the reference per token or completion", when="learner.objective.kind: not vrpo"),
    Metric("policy/ratio_mean", "Mean likelihood ratio", when="learner.objective.kind: not vrpo"),
    Metric("policy/clip_fraction", "Share of ratios that the clip stops", when="learner.objective.kind: not vrpo"),
    Metric(
        "policy/clip_low_fraction",
        "Share of ratios that the clip stops from below",
        when="learner.objective.kind: not vrpo",
    ),
    Metric(
        "policy/clip_high_fraction",
        "Share of ratios that the clip stops from above",
        when="learner.objective.kind: not vrpo",
    ),
    Metric("policy/entropy", "Mean entropy of the model at the rows that are scored", "nats"),
    Metric("policy/estimator_variance", "Variance over masks of a token's estimate, mean over tokens"),
    Metric(
        "policy/importance_mean", "Mean weight of a token against staleness", when="learner.off_policy_cap is set"
    ),
    Metric(
        "policy/preference_accuracy",
        "Share of pairs whose better completion gained on the reference",
        when="learner.objective.kind: vrpo",
    ),
    Metric(
        "policy/preference_margin",
        "Mean scaled gain of the better completion over the worse one",
        when="learner.objective.kind: vrpo",
    ),
    Metric(
        "objective/{metric}",
        "Metric of an objective of the user's, per unit of the objective",
        labels=("metric",),
        name="objective_metric",
    ),
    Metric("policy/valid_tokens", "Completion tokens trained on"),
)

_MEASURED = "learner.mismatch_steps is above 0, at steps with a rollout of the version that they train"
MISMATCH = (
    Metric(
        "mismatch/mean",
        "Mean absolute difference of a token's log-probability between rollout worker and learner",
        "nats",
        when=_MEASURED,
    ),
    Metric(
        "mismatch/max",
        "Largest absolute difference of a token's log-probability between rollout worker and learner",
        "nats",
        when=_MEASURED,
    ),
    Metric(
        "mismatch/kl",
        "Mean of log p under the rollout worker less log p under the learner, over sampled tokens",
        "nats",
        when=_MEASURED,
    ),
    Metric(
        "mismatch/effective_share",
        "Effective sample size of tokens weighed by p of the learner / p of the worker, as a share of all",
        when=_MEASURED,
    ),
)

PACE = (
    Metric("seconds/wait", "Learner waiting for groups", "seconds", name="step_wait"),
    Metric("seconds/update", "Learner updating", "seconds", name="step_update"),
    Metric("seconds/log_probs", "Part of the update: old and reference policy", "seconds", name="step_log_probs"),
    Metric("seconds/backward", "Part of the update: forward and backward passes", "seconds", name="step_backward"),
    Metric(
        "seconds/rollout", "Rollout work in the step's groups, over all workers", "seconds", name="step_rollout"
    ),
    Metric("seconds/reward", "Reward work in the step's groups, over all workers", "seconds", name="step_reward"),
    Metric("seconds/weights", "Learner publishing its weights", "seconds", name="step_weights"),
    Metric(
        "seconds/switch",
        "Devices going from the learner to the rollout workers and back",
        "seconds",
        name="step_switch",
        when="rollout.placement is shared",
    ),
    Metric(
        "seconds/weights_delay",
        "From the publication of weights to the first denoising step under them, of the slowest rollout worker",
        "seconds",
        name="weights_delay",
        when="a rollout worker has denoised with weights that it took while it worked",
    ),
    Metric("perf/samples_per_second", "Samples trained per second"),
    Metric("perf/spare_groups", "Groups that had come before the step began beyond its own"),
    Metric("ledger/admitted", "Groups admitted"),
    Metric("ledger/trained", "Groups trained"),
    Metric("ledger/filtered", "Groups filtered for lack of variance"),
    Metric("ledger/dropped", "Groups dropped as stale or lost"),
    Metric("ledger/in_flight", "Groups in flight"),
    Metric("evaluation/pass_rate", "Held-out pass rate"),
)

STEP_METRICS = REWARD + DIFFUSION + POLICY + MISMATCH + PACE + OPTIMIZATION
