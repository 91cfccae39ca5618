"""Published algorithms and rewards as values of the fields of the learner and of the reward.

What a paper or its released code does not fix keeps our default. Learning rate, batch and ranks are a recipe's
part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal[
    "diffucoder",
    "diffucoder_loo",
    "d1",
    "unigrpo",
    "espo",
    "gdpo",
    "wd1",
    "tracerl",
    "justgrpo",
    "spg",
    "vrpo",
    "bgpo",
    "gdsd",
    "stable_drl",
]

RewardPreset = Literal["diffucoder"]

#: What most have in common, and what each therefore says, so that nothing of another algorithm is left beside it.
_COMMON = {
    "positions": "text",
    "advantage": "mean",
    "minibatches": 1,
    "zero_variance_groups": "score",
    "reference_sync_steps": 64,
    "reference_sync_share": 0.6,
}

_DIFFUCODER = {
    "estimator": {"kind": "coupled", "mask_pairs": 1, "mask_ratio": (0.2, 0.8), "weighting": "paper"},
    "objective": {"kind": "grpo", "clip": 0.5, "kl_weight": 0.01, "kl": "k3"},
    "inner_iterations": 2,
}

_PRESETS: Mapping[str, Mapping[str, Any]] = {
    # arXiv 2506.20639, algorithm 1.
    "diffucoder": _DIFFUCODER,
    # The same as its code was released.
    "diffucoder_loo": {**_DIFFUCODER, "advantage": "loo"},
    # arXiv 2504.12216 (diffu-GRPO) with the values of its released runs.
    "d1": {
        "estimator": {"kind": "full_mask", "prompt_mask": 0.15},
        "objective": {"kind": "grpo", "clip": 0.5, "kl_weight": 0.04},
        "inner_iterations": 12,
    },
    # arXiv 2505.15809 (MMaDA), section 3.3: random mask ratios, evenly spaced over the inner iterations.
    "unigrpo": {
        "estimator": {"kind": "random_mask"},
        "objective": {"kind": "grpo", "clip": 0.2, "kl_weight": 0.01},
        "advantage": "mean_std",
        "inner_iterations": 4,
    },
    # arXiv 2512.03759 with the values of its released run on code.
    "espo": {
        "estimator": {"kind": "elbo", "mask_pairs": 2},
        "objective": {"kind": "sequence", "clip": 0.2, "kl_weight": 0.01, "kl": "k2"},
        "positions": "all",
        "advantage": "loo",
        "inner_iterations": 8,
    },
    # arXiv 2510.08554 with the values of its released run.
    "gdpo": {
        "estimator": {"kind": "elbo_quadrature", "nodes": 3},
        "objective": {"kind": "sequence", "clip": 0.5, "kl_weight": 0.0},
        "positions": "all",
        "inner_iterations": 12,
    },
    # arXiv 2507.08838 with the values of its released runs: neither old nor reference policy.
    "wd1": {
        "estimator": {"kind": "full_mask", "prompt_mask": 0.15},
        "objective": {"kind": "wd1"},
        "inner_iterations": 12,
    },
    # arXiv 2509.06949 with the values of its released run of Dream: about 16 updates a step, and a KL whose weight
    # of 0.01 is of the sum over a view's 8 tokens, where ours is of their mean.
    "tracerl": {
        "estimator": {"kind": "trace", "merged_steps": 8},
        "objective": {"kind": "grpo", "clip": 0.2, "kl_weight": 0.08, "kl_to": "step_start", "kl": "k3"},
        "advantage": "mean_std",
        "inner_iterations": 1,
        "minibatches": 16,
        "zero_variance_groups": "skip",
    },
    # arXiv 2601.15165 as its code was released; its rollouts go from left to right as well.
    "justgrpo": {
        "estimator": {"kind": "left_to_right"},
        "objective": {"kind": "grpo", "clip": 0.2, "kl_weight": 0.0},
        "positions": "all",
        "advantage": "mean_sample_std",
        "inner_iterations": 1,
        "zero_variance_groups": "skip",
    },
    # arXiv 2510.09541 with the values of its released runs with the mixed bound.
    "spg": {
        "estimator": {"kind": "elbo_blocks", "blocks": 2, "block_length": 32, "prompt_mask": 0.15},
        "objective": {"kind": "spg", "beta": 1.5, "mix": 0.5},
        "inner_iterations": 4,
    },
    # arXiv 2505.19223 (LLaDA 1.5), on pairs from the rollouts in place of a data set of preferences.
    "vrpo": {
        "estimator": {"kind": "elbo", "mask_pairs": 4},
        "objective": {"kind": "vrpo", "beta": 0.2},
        "inner_iterations": 1,
        "reference_sync_steps": 0,
    },
    # arXiv 2510.11683 as DARE runs it: one update a step, in which the ratio is 1 and clips nothing.
    "bgpo": {
        "estimator": {"kind": "elbo_systematic", "subsets": 16},
        "objective": {"kind": "bgpo", "clip": 0.2, "dual_clip": 3.0},
        "advantage": "mean_sample_std",
        "inner_iterations": 1,
    },
    # arXiv 2605.29398 with the values of its released run on code.
    "gdsd": {
        "estimator": {"kind": "elbo", "mask_pairs": 4},
        "objective": {"kind": "gdsd", "psi": 10.0, "clip": 0.0004, "kl_weight": 0.05},
        "positions": "all",
        "advantage": "loo",
        "inner_iterations": 8,
    },
    # arXiv 2603.06743 with the values of its released runs.
    "stable_drl": {
        "estimator": {"kind": "elbo_blocks", "blocks": 2, "block_length": 32, "prompt_mask": 0.15},
        "objective": {"kind": "stable_drl", "beta": 1.5, "mix": 0.5, "ratio_cap": 5.0},
        "inner_iterations": 2,
    },
}

#: Each preset has an ``estimator`` and an ``objective`` with their kinds, and says all else of an algorithm.
PRESETS: Mapping[str | None, Mapping[str, Any]] = {
    name: {**_COMMON, **preset} for name, preset in _PRESETS.items()
}

REWARD_PRESETS: Mapping[str | None, Mapping[str, Any]] = {
    # arXiv 2506.20639 with the weights and the rule of its released code.
    "diffucoder": {
        "tests": "pass_rate",
        "tests_weight": 2.0,
        "format_weight": 0.5,
        "code_needs_format": True,
    },
}
