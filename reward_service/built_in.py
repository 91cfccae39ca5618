"""Reward functions of ours that a recipe asks for by name, in ``reward.functions``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.config import RewardFunctionConfig
from common.config.reward import BUILT_IN_REWARDS, STATIC_CHECK, TOKENS_PER_FORWARD
from common.records import Task
from reward_service.isolation.reward import start_reward_functions
from reward_service.offered_imports import OfferedImports
from reward_service.static_check import StaticCheck
from reward_service.user_rewards import Completion, RewardFunction
from sandbox.types import Limits, Sandbox


def built_in_rewards(sandbox: Sandbox, limits: Limits) -> Mapping[str, RewardFunction]:
    """Make them, by name, over the sandbox and the limits under which programs run."""
    return {
        STATIC_CHECK: StaticCheck(OfferedImports(sandbox, limits)),
        TOKENS_PER_FORWARD: tokens_per_forward,
    }


def check_reward_functions(settings: Sequence[RewardFunctionConfig]) -> None:
    """Import the user's functions, in processes that end at once: a mistake in one is seen before a run starts.

    Raises ConfigError, naming the field.
    """
    ours: Mapping[str, RewardFunction] = dict.fromkeys(BUILT_IN_REWARDS, tokens_per_forward)
    for function in start_reward_functions(settings, ours):
        function.close()


def tokens_per_forward(task: Task, completion: Completion) -> float:
    """Return the text tokens per forward pass of a completion, as LightningRL rewards (arXiv 2603.13319).

    Raises ValueError where nothing is known of how it was decoded.
    """
    if completion.decoding is None:
        raise ValueError("it is not known how the completion was decoded; give the group its decodings")
    return completion.decoding.tokens / completion.decoding.forwards
