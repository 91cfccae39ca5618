"""Make what judges completions as a configuration asks for: a scorer, and the sandbox that it uses."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from common.config import RewardConfig
from reward_service.built_in import built_in_rewards
from reward_service.isolation.reward import start_reward_functions
from reward_service.results import Scored
from reward_service.rewards import RewardRule
from reward_service.scoring import Scorer
from sandbox.jail.backend import JailSandbox
from sandbox.types import Limits, Sandbox

_log = logging.getLogger(__name__)


def make_scorer(
    config: RewardConfig,
    sandbox: Sandbox | None = None,
    on_scored: Callable[[Sequence[Scored]], None] | None = None,
    functions_output: Path | None = None,
    note: Callable[[str], None] = _log.warning,
    groups_at_once: int = 1,
) -> Scorer:
    """Make a scorer over ``sandbox``, by default a new one; ``on_scored`` is called with each group's results.

    ``functions_output``: the folder of files to which reward functions of the user's print, by default this
    process's standard error; ``note`` is told of processes of theirs that had to be replaced. ``groups_at_once``:
    groups that will be scored at the same time.
    Raises SandboxUnavailable where the machine's isolation is too weak, ConfigError for a reward function.
    """
    sandbox = sandbox or make_sandbox(config)
    limits = Limits(
        cpu_s=config.cpu_seconds,
        wall_s=config.wall_seconds,
        memory_mb=config.memory_mb,
        out_bytes=config.output_mb << 20,
    )
    rule = RewardRule(
        tests=config.tests,
        tests_weight=config.tests_weight,
        format_weight=config.format_weight,
        code_needs_format=config.code_needs_format,
        hide_shown_test=config.hide_shown_test,
        functions=start_reward_functions(
            config.functions, built_in_rewards(sandbox, limits), functions_output, note
        ),
    )
    return Scorer(
        sandbox,
        limits=limits,
        rule=rule,
        allow_forgeable=config.allow_forgeable,
        own_process=config.own_process,
        hacking_probe=config.hacking_probe,
        timeouts=config.timeouts,
        program_s=config.program_seconds,
        deadline_s=config.group_seconds,
        groups_at_once=groups_at_once,
        on_scored=on_scored,
    )


def make_sandbox(config: RewardConfig) -> Sandbox:
    """Make the sandbox that the rewards ask for. Raises SandboxUnavailable where this machine has none so good."""
    slots = config.sandbox_slots or len(os.sched_getaffinity(0))
    if config.backend == "docker":
        from sandbox.docker.backend import DockerSandbox

        return DockerSandbox(
            slots,
            image=config.docker_image,
            runtime=config.docker_runtime,
            memory_mb=config.memory_mb,
            preload=config.preload,
        )
    return JailSandbox(slots, minimum_level=config.sandbox_level, packages=config.packages, preload=config.preload)
