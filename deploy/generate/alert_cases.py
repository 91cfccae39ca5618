"""For each alert courses of the metrics at which it fires, and others at which it does not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """``series``: values a minute, as promtool writes them: ``a+bxn`` is a, a + b, … with n steps, ``_`` none.

    ``at``: when the alert is looked at. ``labels`` and ``value``: those of the alert that fires then, the value as
    its summary prints it; without labels none fires.
    """

    story: str
    at: str
    series: dict[str, str]
    labels: dict[str, str] = field(default_factory=dict)
    value: str = ""

    def rendered(self, text: str) -> str:
        """An annotation of the alert as Prometheus fills it in."""
        text = re.sub(r"{{ \$labels\.(\w+) }}", lambda found: self.labels.get(found[1], ""), text)
        return re.sub(r"{{ \$value[^}]*}}", self.value, text)


_RUN = {"run": "mbpp-1"}
_REWARD = {"run": "mbpp-1", "role": "reward"}


def _run(name: str, **labels: str) -> str:
    """A series of the run; the name without its prefix."""
    text = ",".join(f'{key}="{value}"' for key, value in {**_RUN, **labels}.items())
    return f"couplet_{name}{{{text}}}"


def _learning(reward: str) -> dict[str, str]:
    return {_run("reward_mean"): reward, _run("reward_std"): "0.5x240"}


def _plateau(steps: str) -> dict[str, str]:
    return {_run("reward_plateau_steps"): steps, _run("reward_solved"): "0.4x900"}


def _scored(part: str, growth: int, whole: str, of: int = 100) -> dict[str, str]:
    return {
        _run(f"scoring_{part}_total", role="reward"): f"0+{growth}x120",
        _run(f"scoring_{whole}_total", role="reward"): f"0+{of}x120",
    }


def _queue(messages: str, delivered: str) -> dict[str, str]:
    return {
        _run("stream_messages", stream="prompts"): messages,
        _run("stream_pending", stream="prompts"): "2x60",
        _run("stream_delivered_total", stream="prompts"): delivered,
    }


def _disk(free: str) -> dict[str, str]:
    return {_run("run_disk_free_bytes"): free, _run("run_disk_size_bytes"): "1000x240"}


def _steps(done: str) -> dict[str, str]:
    return {_run("training_step"): done, _run("training_steps_planned"): "100x30"}


def _seconds(of_step: str, bound: int = 2) -> dict[str, str]:
    """A part of the step's seconds; the whole step takes 100."""
    return {
        _run(f"step_{of_step}_seconds"): "70x90",
        _run("step_seconds"): "100x90",
        _run("run_max_staleness"): f"{bound}x90",
    }


_REDIS = {"namespace": "ml", "instance": "10.0.0.7:9121"}


def _redis(name: str) -> str:
    """A series of redis_exporter."""
    return f'redis_{name}{{namespace="ml",instance="10.0.0.7:9121",job="redis"}}'


def _memory(used: str, most: str) -> dict[str, str]:
    return {_redis("memory_used_bytes"): f"{used}x60", _redis("memory_max_bytes"): f"{most}x60"}


def _gpus(pod: str = "demo-couplet-learner-worker-x1") -> dict[str, str]:
    """A GPU of a pod as DCGM's exporter tells of it, beside a run."""
    return {
        f'DCGM_FI_DEV_GPU_UTIL{{namespace="ml",pod="{pod}",gpu="0"}}': "0x90",
        'couplet_training_step{namespace="ml",run="mbpp-1"}': "0+1x90",
    }


CASES: dict[str, tuple[Case, ...]] = {
    "RewardFlat": (
        Case("no rise for 115 steps of a minute each", "115m", _plateau("0+1x120"), _RUN, "115"),
        Case("long steps: the 30th of half an hour each", "15h", _plateau(" ".join(f"{n}x29" for n in range(31)))),
        Case("nearly every task is solved", "115m", {**_plateau("0+1x120"), _run("reward_solved"): "0.95x900"}),
    ),
    "RewardFalling": (
        Case("it falls by 1 with a spread of 0.5", "4h", _learning("2x120 1x120"), _RUN, "1"),
        Case("it wavers", "4h", _learning("2x120 1.8x120")),
    ),
    "InfraFailures": (
        Case("5 of 100 completions are excluded", "1h", _scored("excluded", 5, "completions"), _REWARD, "5%"),
        Case("1 of 1,000 is", "1h", _scored("excluded", 1, "completions", of=1000)),
    ),
    "StalenessAtBound": (
        Case(
            "two versions behind, and two are allowed",
            "2h",
            {_run("staleness_mean"): "2x120", _run("run_max_staleness"): "2x120"},
            _RUN,
            "2",
        ),
        Case("a synchronous run", "2h", {_run("staleness_mean"): "0x120", _run("run_max_staleness"): "0x120"}),
        Case(
            "one version behind, as where rollouts and updates overlap",
            "2h",
            {_run("staleness_mean"): "1x120", _run("run_max_staleness"): "1x120"},
        ),
    ),
    "QueueStuck": (
        Case(
            "five messages wait, and none is taken",
            "40m",
            _queue("7x60", "10x60"),
            {**_RUN, "stream": "prompts"},
            "5",
        ),
        Case("as many wait, and others are taken", "40m", _queue("7x60", "10+1x60")),
        Case(
            "as many wait for the learner, whose steps take an hour",
            "40m",
            {
                **_queue("7x60", "10x60"),
                _run("run_step_end_timestamp_seconds"): "0x60",
                _run("step_seconds"): "3600x60",
            },
        ),
    ),
    "DeadLetters": (
        Case(
            "one message was given up", "5m", {_run("stream_messages", stream="dead-letters"): "0 1x10"}, _RUN, "1"
        ),
        Case(
            "none was, and other streams are full",
            "5m",
            {
                _run("stream_messages", stream="dead-letters"): "0x10",
                _run("stream_messages", stream="prompts"): "9x10",
            },
        ),
    ),
    "WorkerFlapping": (
        Case(
            "a restart every ten minutes",
            "2h",
            {_run("fleet_restarts_total", pool="rollout"): " ".join(f"{n}x9" for n in range(13))},
            {**_RUN, "pool": "rollout"},
            "6",
        ),
        Case("a single restart", "2h", {_run("fleet_restarts_total", pool="rollout"): "0x60 1x60"}),
    ),
    "DiskFilling": (
        Case("a quarter is left, and 0.1 % goes a minute", "4h", _disk("490-1x240"), _RUN, "25%"),
        Case("a quarter is left, and stays", "4h", _disk("250x240")),
    ),
    "RunGone": (
        Case("it was at step 40 of 100", "25m", _steps("30+1x10 _x20"), _RUN, "40"),
        Case("it had done none", "25m", _steps("0x10 _x20"), _RUN, "0"),
        Case("it had done its last step", "25m", _steps("90+1x10 _x20")),
        Case(
            "it did its last ten steps, of a second each, after the last scrape",
            "25m",
            {**_steps("80+1x10 _x20"), _run("step_seconds"): "1x10"},
        ),
        Case("that was an hour and a half ago", "100m", _steps("30+1x10 _x100")),
    ),
    "RunStalled": (
        Case(
            "the last step was an hour ago and took a minute",
            "1h",
            {_run("run_step_end_timestamp_seconds"): "0x90", _run("step_seconds"): "60x90"},
            _RUN,
            "1h 0m 0s",
        ),
        Case(
            "a step takes half an hour",
            "1h",
            {_run("run_step_end_timestamp_seconds"): "0x90", _run("step_seconds"): "1800x90"},
        ),
    ),
    "PolicyDrift": (
        Case("2 nats for an hour", "1h", {_run("policy_kl"): "2x90"}, _RUN, "2"),
        Case("a tenth of a nat", "1h", {_run("policy_kl"): "0.1x90"}),
    ),
    "EntropyCollapse": (
        Case("from 1 nat to a tenth", "4h", {_run("policy_entropy_nats"): "1x120 0.1x120"}, _RUN, "100m"),
        Case("to a half", "4h", {_run("policy_entropy_nats"): "1x120 0.5x120"}),
    ),
    "RedisDown": (
        Case("it is gone", "30m", {_redis("up"): "1x10 0x20"}, _REDIS),
        Case("it is up", "30m", {_redis("up"): "1x30"}),
    ),
    "RedisFull": (
        Case("95 of 100", "30m", _memory("95", "100"), _REDIS, "95%"),
        Case("there is no limit", "30m", _memory("95", "0")),
    ),
    "GpusIdle": (
        Case("a run, and idle GPUs", "1h", _gpus(), {"namespace": "ml"}, "0"),
        Case("another workload's are", "1h", _gpus("notebook-0")),
    ),
    "NotFinite": (
        Case(
            "the gradient is not a number, the loss still is",
            "20m",
            {_run("denoising_loss"): "2x30", _run("optim_grad_norm"): "0.5x9" + " NaN" * 20},
            _RUN,
        ),
        Case("both are large", "20m", {_run("denoising_loss"): "900x30", _run("optim_grad_norm"): "1e9x30"}),
    ),
    "RolloutMismatch": (
        Case("half a nat a token", "20m", {_run("mismatch_mean_nats"): "0.01x9 0.5x20"}, _RUN, "0.50"),
        Case(
            "what bf16 rounds, and one token that it moves far",
            "20m",
            {_run("mismatch_mean_nats"): "0.02x30", _run("mismatch_max_nats"): "0.6x30"},
        ),
    ),
    "WeightSyncSlow": (
        Case("70 of 100 seconds", "1h", _seconds("weights"), _RUN, "70%"),
        Case("7 of 100", "1h", {**_seconds("weights"), _run("step_weights_seconds"): "7x90"}),
    ),
    "RewardHackingSuspected": (
        Case(
            "4 of 100 failed programs, in a service that has no run",
            "1h30m",
            {
                'couplet_scoring_hacking_detected_total{role="reward-service"}': "0+4x120",
                'couplet_scoring_hacking_probes_total{role="reward-service"}': "0+100x120",
            },
            {"role": "reward-service"},
            "4%",
        ),
        Case("1 of 100", "1h30m", _scored("hacking_detected", 1, "hacking_probes")),
    ),
    "LearnerStarved": (
        Case("it waits for 70 of 100 seconds", "1h20m", _seconds("wait"), _RUN, "70%"),
        Case("so it does in a synchronous run", "1h20m", _seconds("wait", bound=0)),
    ),
}
