"""``couplet bench``: this project's parts beside the plain way to do the same, measured in one run."""

from __future__ import annotations

from orchestrator.commands.lazy import LazyGroup

bench = LazyGroup(
    name="bench",
    help="Measure parts of the project on this machine.",
    lazy={
        "agreement": ("benchmarks.command_agreement:agreement", "Compare an approximate sampler with the exact."),
        "flood": (
            "benchmarks.command_flood:flood_command",
            "Flood a reward service with clients, half of them hostile.",
        ),
        "flops": ("benchmarks.command_flops:flops", "Count the operations of training on a token."),
        "learn": (
            "benchmarks.command_learn:learn",
            "Measure how soon the quick start reaches a held-out pass rate.",
        ),
        "loop": ("benchmarks.command_loop:loop", "Measure what overlap of rollouts and training brings."),
        "reward-functions": (
            "benchmarks.command_reward_functions:reward_functions",
            "Time a cheap reward function in a process of its own, and in the process that asks.",
        ),
        "rollout": (
            "benchmarks.command_rollout:rollout",
            "Time the denoising engine and the published sampler, or both backends.",
        ),
        "sandbox": ("benchmarks.command_sandbox:sandbox", "Count isolated programs per second."),
        "soak": ("benchmarks.command_soak:soak", "Watch a run of tiny steps for a while."),
        "stages": (
            "benchmarks.command_stages:stages",
            "Time a step of each supervised stage beside a plain training loop.",
        ),
        "streams": (
            "benchmarks.command_streams:streams",
            "Count groups per second through a run's streams, and time them with a backlog.",
        ),
        "update": ("benchmarks.command_update:update", "Time the learner's passes beside naive ones."),
        "weights": ("benchmarks.command_weights:weights", "Time new weights on their way between Ray actors."),
    },
)
